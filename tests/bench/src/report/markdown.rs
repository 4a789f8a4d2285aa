//! `BENCHMARKS.md`: the method, the machine, the bars, every table and plot.

use std::fmt::Write as _;

use super::{Bar, Table, bars};
use crate::bench::Settings;
use crate::machine::Machine;
use crate::report::plot::Plot;

const METHOD: &str = include_str!("method.md");

pub fn render(
    machine: &Machine,
    settings: &Settings,
    judged: &[Bar],
    tables: &[Table],
    plots: &[Plot],
) -> String {
    let mut text =
        "# Benchmarks\n\nWritten by `make bench`; every round is in [benchmarks.json](benchmarks.json).\n"
            .to_owned();
    let missed = judged.iter().filter(|bar| !bar.passed).count();
    let _ = write!(
        text,
        "\n## Bars\n\nSallyport whole against each contestant in the same run: {} of {} bars passed. Ratios are taken within a \
         round; judged is the median.\n\n{}",
        judged.len() - missed,
        judged.len(),
        bars::table(judged).in_markdown()
    );
    for plot in plots {
        let _ = write!(text, "\n![{}](benchmarks/{})\n", plot.title, plot.file);
    }
    let (rounds, window, warm_up) =
        (settings.rounds, settings.window.as_secs_f64(), settings.warm_up.as_secs_f64());
    let _ = write!(
        text,
        "\n{METHOD}\nThis run: {rounds} rounds, {window} s a window after {warm_up} s of the same load, {} people.\n",
        settings.people
    );
    let versions: Vec<String> =
        machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = write!(
        text,
        "\n## The machine\n\n{}, {} cores, {} GiB of memory, {}. Load generator, contestants, Redis and PostgreSQL share \
         it.\n\n{}.\n\n## Results\n\nMedians of the rounds; ± is half of what lies between the least and the most.\n",
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        versions.join(", ")
    );
    for table in tables {
        let _ = write!(text, "\n### {}\n\n{}", table.title, table.in_markdown());
    }
    text
}
