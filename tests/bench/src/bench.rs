//! One run: the world, the contestants, how long and how often; and the one way in which a window of load is measured.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use crate::collector::Collector;
use crate::contestants::Contestant;
use crate::load::{Client, Tally, Window, closed_loop};
use crate::output::say;
use crate::processes::{cpu_seconds, family, resident_bytes};
use crate::results::{Results, Sample};
use crate::world::World;

/// How thorough a run is.
#[derive(Debug, Clone)]
pub struct Settings {
    pub rounds: usize,
    pub warm_up: Duration,
    /// The length of a measured window.
    pub window: Duration,
    /// People of the common world.
    pub people: usize,
    /// Sizes of the worlds whose cost is compared.
    pub growth: Vec<usize>,
    /// Where the binaries of another build are.
    pub baseline: Option<PathBuf>,
}

impl Settings {
    /// How many rounds a comparison takes whose bar is nearer than one round is to the next.
    pub fn rounds_of_a_close_comparison(&self) -> usize {
        3 * self.rounds
    }
}

/// A run in progress.
pub struct Bench {
    pub settings: Settings,
    pub world: World,
    pub contestants: Vec<Contestant>,
    pub collector: Collector,
    pub results: Results,
    /// What disqualifies the run.
    pub wrong: Vec<String>,
}

/// The clients of one window, made anew for each.
pub type Clients = Vec<Box<dyn Client>>;

impl Bench {
    /// Runs a scenario for all contestants that `takes_part` in so many rounds, each round beginning with another one.
    pub async fn alternate(
        &mut self,
        scenario: &str,
        rounds: usize,
        takes_part: impl Fn(&Contestant) -> bool,
        clients: impl Fn(&Contestant) -> Clients,
    ) -> anyhow::Result<()> {
        let taking_part: Vec<usize> =
            (0..self.contestants.len()).filter(|index| takes_part(&self.contestants[*index])).collect();
        for round in 0..rounds {
            for turn in 0..taking_part.len() {
                let contestant = &self.contestants[taking_part[(round + turn) % taking_part.len()]];
                let (name, address) = (contestant.name, contestant.address);
                let clients = clients(contestant);
                let load = async |window| closed_loop(address, clients, window).await;
                let (sample, tally) = measure(&self.settings, &self.world, contestant, load).await?;
                self.note(scenario, name, sample, &tally);
            }
        }
        Ok(())
    }

    /// Keeps a sample, and holds wrong answers against the run.
    pub fn note(&mut self, scenario: &str, contestant: &str, sample: Sample, tally: &Tally) {
        say(&format!(
            "  {scenario:<24} {contestant:<18} {:>8.0} req/s  p50 {:>7.0}  p99 {:>8.0} us  {:.4} CPU s/1,000",
            sample.rate, sample.p50_us, sample.p99_us, sample.cpu
        ));
        let silent = if tally.right == 0 { Some("no right answer at all".to_owned()) } else { None };
        for why in tally.wrong_told.iter().chain(&silent) {
            let wrong = format!("{contestant} in {scenario}: {why}");
            say(&format!("  WRONG: {wrong}"));
            self.wrong.push(wrong);
        }
        self.results.note(scenario, contestant, sample);
    }

    /// For a load that runs beside another one, which has the cost of both.
    pub fn sample_without_cost(&self, tally: &Tally) -> Sample {
        Sample::of_tally(tally, self.settings.window)
    }
}

/// Puts a contestant under a load, and reads what it costs from the first to the last moment of the window.
pub async fn measure<F: Future<Output = Tally>>(
    settings: &Settings,
    world: &World,
    contestant: &Contestant,
    load: impl FnOnce(Window) -> F,
) -> anyhow::Result<(Sample, Tally)> {
    let families = contestant.families()?;
    let redis = [&world.servers.state, &world.servers.cache];
    let redis: Vec<u32> =
        redis.iter().filter_map(|it| it.process()).map(local::process::Process::id).collect();
    let postgres = || world.servers.postgres.process().map(|it| family(it.id())).unwrap_or_default();
    let me = [std::process::id()];

    let window = Window::after(settings.warm_up, settings.window);
    let probe = async {
        tokio::time::sleep_until(window.begin.into()).await;
        // Backends that come or go within the window are left out.
        let postgres = postgres();
        let read = || -> anyhow::Result<Vec<f64>> {
            let own = families.iter().map(|it| cpu_seconds(&it.pids));
            let others =
                [cpu_seconds(&redis), Ok(cpu_seconds(&postgres).unwrap_or_default()), cpu_seconds(&me)];
            own.chain(others).collect()
        };
        let before = read()?;
        tokio::time::sleep_until(window.end.into()).await;
        let after = read()?;
        let used: Vec<f64> =
            after.iter().zip(&before).map(|(after, before)| (after - before).max(0.0)).collect();
        let resident = families.iter().map(|it| resident_bytes(&it.pids)).sum::<anyhow::Result<u64>>()?;
        anyhow::Ok((used, resident))
    };
    let (tally, probed) = tokio::join!(load(window), probe);
    let (used, resident) = probed?;

    let requests = tally.latencies.count().max(1) as f64;
    let per_thousand: Vec<f64> = used.iter().map(|seconds| seconds / requests * 1_000.0).collect();
    let (own, others) = per_thousand.split_at(families.len());
    let mut cpu_by_process = BTreeMap::new();
    for (family, cpu) in families.iter().zip(own) {
        *cpu_by_process.entry(family.name.clone()).or_default() += cpu;
    }
    let sample = Sample {
        cpu: own.iter().sum(),
        cpu_by_process,
        cpu_redis: others[0],
        cpu_postgres: others[1],
        cpu_load: others[2],
        resident_mib: resident as f64 / f64::from(1 << 20),
        ..Sample::of_tally(&tally, settings.window)
    };
    Ok((sample, tally))
}
