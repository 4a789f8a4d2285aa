//! The table: on the terminal while it comes into being, and in `docs/RESILIENCE.md` when it is whole.

use std::fmt::Write as _;
use std::time::Duration;

use super::machine;
use super::row::Row;

/// What stands before and after the tables.
const HEAD: &str = include_str!("report/head.md");
const TAIL: &str = include_str!("report/tail.md");

/// The rows of one group of faults, under its title.
pub struct Chapter {
    pub title: &'static str,
    /// What it ran on and what its bars are.
    pub text: &'static str,
    pub rows: Vec<Row>,
    /// What could not be run here, and why.
    pub skipped: Vec<String>,
}

/// One line, as soon as it is known. To stderr, which test runners hold back until a test fails.
pub fn tell(row: &Row) {
    let verdict = if row.missed.is_empty() { "ok" } else { "MISSED" };
    eprintln!(
        "{verdict:>6}  {:<58} {:>6} requests {:>5} failed ({} excused) {} wrong  recovery {}  {} -> {} MiB  {} -> {} files  {} {}",
        row.fault,
        row.requests,
        row.failed,
        row.excused,
        row.wrong_answers(),
        recovery(row),
        row.memory_kib.0 / 1024,
        row.memory_kib.1 / 1024,
        row.files.0,
        row.files.1,
        row.note,
        row.missed.join("; "),
    );
}

pub fn markdown(chapters: &[Chapter]) -> String {
    let mut text = HEAD.to_owned();
    let rows = || chapters.iter().flat_map(|chapter| &chapter.rows);
    let missed = rows().filter(|row| !row.missed.is_empty()).count();
    let wrong: usize = rows().map(Row::wrong_answers).sum();
    let _ = writeln!(
        text,
        "\n{} faults, {} requests, {wrong} wrong answers; {} missed{}.\n",
        rows().count(),
        rows().map(|row| row.requests).sum::<usize>(),
        match missed {
            0 => "no bar was".to_owned(),
            1 => "one row has a bar that was".to_owned(),
            many => format!("{many} rows have a bar that was"),
        },
        if chapters.iter().any(|chapter| !chapter.skipped.is_empty()) {
            "; some were not run here"
        } else {
            ""
        },
    );
    for (what, which) in machine::describe() {
        let _ = writeln!(text, "- {what}: {which}");
    }
    for chapter in chapters {
        let _ = write!(text, "\n## {}\n\n{}\n", chapter.title, chapter.text.trim());
        if !chapter.rows.is_empty() {
            text.push_str(
                "\n| Fault | Requests | Failed | of them excused | Slowest failure | Wrong answers | Recovery | Memory | Files | Bars |\n\
                 | --- | --: | --: | --: | --: | --: | --: | --: | --: | --- |\n",
            );
            chapter.rows.iter().for_each(|row| line(&mut text, row));
        }
        for skipped in &chapter.skipped {
            let _ = writeln!(text, "\nNot run here: {skipped}");
        }
    }
    text.push('\n');
    text.push_str(TAIL);
    text
}

fn line(text: &mut String, row: &Row) {
    let bars = if row.missed.is_empty() {
        "met".to_owned()
    } else {
        format!("**missed**: {}", row.missed.join("; "))
    };
    let bars = if row.note.is_empty() { bars } else { format!("{bars}; {}", row.note) };
    let mib = |kib: u64| format!("{:.0}", kib as f64 / 1024.0);
    let _ = writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {} | {} → {} MiB | {} → {} | {bars} |",
        row.fault,
        row.requests,
        row.failed,
        row.excused,
        row.slowest_failure.map(shown).unwrap_or_default(),
        row.wrong_answers(),
        recovery(row),
        mib(row.memory_kib.0),
        mib(row.memory_kib.1),
        row.files.0,
        row.files.1,
    );
}

fn recovery(row: &Row) -> String {
    row.recovery.map_or_else(|| "never".to_owned(), shown)
}

fn shown(time: Duration) -> String {
    if time.is_zero() { "0".to_owned() } else { format!("{:.2} s", time.as_secs_f64()) }
}
