//! The report of a run: tables on the terminal and in Markdown, plots, and a JSON file with every round.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::bench::Settings;
use crate::machine::Machine;
use crate::output::say;
use crate::results::Results;

mod bars;
mod markdown;
mod plot;
mod tables;

use bars::Bar;

/// What the JSON file holds.
#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    bars: &'a [Bar],
    #[serde(flatten)]
    results: &'a Results,
}

/// Prints every table. Bars that are missed are told, and fail nothing.
pub fn print(results: &Results) {
    for table in tables::all(results).iter().chain(&[bars::table(&bars::judge(results))]) {
        say(&table.for_a_terminal());
    }
}

/// Writes everything into a folder.
pub fn write(folder: &Path, machine: &Machine, settings: &Settings, results: &Results) -> anyhow::Result<()> {
    let (tables, bars) = (tables::all(results), bars::judge(results));
    let plots = plot::all(results);
    let text = markdown::render(machine, settings, &bars, &tables, &plots);
    let document = Document { machine, bars: &bars, results };
    save(&folder.join("BENCHMARKS.md"), &text)?;
    save(&folder.join("benchmarks.json"), &format!("{}\n", serde_json::to_string_pretty(&document)?))?;
    for plot in plots {
        save(&folder.join("benchmarks").join(plot.file), &plot.svg)?;
    }
    Ok(())
}

fn save(file: &Path, text: &str) -> anyhow::Result<()> {
    let folder = file.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Some rows under a title.
pub struct Table {
    pub title: String,
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Self {
            title: title.into(),
            header: header.iter().map(|&it| it.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    fn for_a_terminal(&self) -> String {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let width =
            |column: usize| lines().map(|line| line[column].chars().count()).max().unwrap_or_default();
        let mut text = format!("\n{}\n", self.title);
        for line in lines() {
            for (column, cell) in line.iter().enumerate() {
                let width = width(column);
                // Names to the left, figures to the right.
                let _ = if column == 0 {
                    write!(text, "  {cell:width$}")
                } else {
                    write!(text, "  {cell:>width$}")
                };
            }
            text.push('\n');
        }
        text
    }

    fn in_markdown(&self) -> String {
        let mut text = format!("| {} |\n|", self.header.join(" | "));
        for column in 0..self.header.len() {
            text.push_str(if column == 0 { " --- |" } else { " --: |" });
        }
        for row in &self.rows {
            let _ = write!(text, "\n| {} |", row.join(" | "));
        }
        text.push('\n');
        text
    }
}
