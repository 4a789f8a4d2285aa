//! `chaos`: takes parts of a running Sallyport away under load, prints what that costs, and writes `docs/RESILIENCE.md`. Fails when a
//! bar is missed.
//!
//! Run through `make chaos`; an argument picks the groups of faults whose name contains it, and then nothing is written.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use tests::chaos::GROUPS;
use tests::chaos::report::{self, Chapter};
use tests::chaos::stage::Form;

fn main() -> anyhow::Result<ExitCode> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut chapters: Vec<Chapter> = Vec::new();
    for group in GROUPS.iter().filter(|group| group.name.contains(&wanted)) {
        eprintln!("{}", group.name);
        let chapter = runtime.block_on(group.run(Form::Full));
        for skipped in &chapter.skipped {
            eprintln!("not run here: {skipped}");
        }
        chapters.push(chapter);
    }
    let text = report::markdown(&chapters);
    if wanted.is_empty() {
        let project =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests are within the project")?;
        let folder = project.join("docs");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("RESILIENCE.md"), &text)?;
    }
    let missed =
        chapters.iter().flat_map(|chapter| &chapter.rows).filter(|row| !row.missed.is_empty()).count();
    eprintln!("{missed} rows missed a bar");
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
