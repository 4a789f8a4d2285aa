//! How long each contestant takes from its first process to the last that is ready, and what its processes hold before anybody has
//! asked anything.

use crate::bench::Bench;
use crate::contestants;
use crate::output::say;
use crate::processes::resident_bytes;

/// The name of a figure.
pub fn start_up(contestant: &str) -> String {
    format!("start-up of {contestant}")
}

/// The name of a figure.
pub fn idle_memory(process: &str) -> String {
    format!("idle memory of {process}")
}

pub fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let names: Vec<_> = bench.contestants.iter().map(|it| it.name).collect();
    for _ in 0..bench.settings.rounds {
        for name in &names {
            let baseline = bench.settings.baseline.as_deref();
            let fresh = contestants::start(name, &bench.world, bench.collector.address(), baseline)?;
            let seconds = fresh.started_in.as_secs_f64();
            bench.results.note_figure(&start_up(name), "s", seconds);
            let mut told = Vec::new();
            for family in fresh.families()? {
                let mib = resident_bytes(&family.pids)? as f64 / f64::from(1 << 20);
                bench.results.note_figure(&idle_memory(&family.name), "MiB", mib);
                told.push(format!("{} {mib:.1} MiB", family.name));
            }
            fresh.stop()?;
            say(&format!("  {:<24} {name:<18} ready in {seconds:.2} s; {}", "idle", told.join(", ")));
        }
    }
    Ok(())
}
