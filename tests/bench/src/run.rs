//! From the command line to the report: which scenarios, how long, and where the results go.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args as ClapArgs;

use crate::bench::{Bench, Settings};
use crate::collector::Collector;
use crate::contestants::{self, BASELINE, Contestant, EXPRESS, FASTIFY, HELLO, MONOLITH, SALLYPORT, node};
use crate::machine::Machine;
use crate::output::say;
use crate::people::Person;
use crate::report;
use crate::results::Results;
use crate::scenarios::{Scenario, growth};
use crate::seed;
use crate::walkthrough;
use crate::world::World;

/// With fewer rounds the report is for whoever runs it, not for the repository.
const ROUNDS_OF_A_FULL_RUN: usize = 5;

/// Where a full run is written to, and any other one.
const PUBLISHED: &str = "docs";
const UNPUBLISHED: &str = ".local/bench";

#[derive(ClapArgs)]
pub struct Args {
    /// The scenarios to run, separated by commas. Default: all.
    #[arg(long, env = "SCENARIOS", value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// Who takes part, separated by commas. Default: everybody.
    #[arg(long, env = "CONTESTANTS", value_delimiter = ',', value_parser = contestant)]
    contestants: Vec<&'static str>,
    /// A folder with the binaries of another build, for the contestant `baseline`.
    #[arg(long, env = "BASELINE")]
    baseline: Option<PathBuf>,
    /// How often each contestant is measured in each scenario.
    #[arg(long, env = "ROUNDS", default_value_t = ROUNDS_OF_A_FULL_RUN)]
    rounds: usize,
    /// Seconds of a measured window.
    #[arg(long, env = "SECONDS_PER_WINDOW", default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of the same load before it.
    #[arg(long, env = "WARM_UP_SECONDS", default_value_t = 0.7)]
    warm_up: f64,
    /// The largest world of the scenario `growth`.
    #[arg(long, env = "LARGEST_WORLD", default_value_t = 1_000_000)]
    largest_world: usize,
    /// The folder of the report. Default: `docs` after a full run, else `.local/bench`.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Everybody, in the order of the tables.
const EVERYBODY: [&str; 5] = [EXPRESS, FASTIFY, MONOLITH, SALLYPORT, HELLO];

fn contestant(name: &str) -> Result<&'static str, String> {
    let known = EVERYBODY.into_iter().chain([BASELINE]).find(|known| *known == name);
    known.ok_or_else(|| format!("nobody here is called {name}"))
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(reason) = node::missing() {
        anyhow::bail!("{reason}: two of the contestants need it");
    }
    let began = Instant::now();
    let scenarios = if args.scenarios.is_empty() { Scenario::ALL.to_vec() } else { args.scenarios };
    let names = if args.contestants.is_empty() { EVERYBODY.to_vec() } else { args.contestants };
    let full = scenarios == Scenario::ALL && names == EVERYBODY && args.rounds >= ROUNDS_OF_A_FULL_RUN;
    let settings = Settings {
        rounds: args.rounds.max(1),
        warm_up: Duration::from_secs_f64(args.warm_up),
        window: Duration::from_secs_f64(args.seconds),
        people: 100_000,
        growth: sizes(args.largest_world),
        baseline: args.baseline,
    };
    let (machine, results) = perform(settings.clone(), &names, &scenarios).await?;
    report::print(&results);
    let folder = args.out.unwrap_or_else(|| PathBuf::from(if full { PUBLISHED } else { UNPUBLISHED }));
    report::write(&folder, &machine, &settings, &results)?;
    say(&format!("Written to {}, after {} s.", folder.display(), began.elapsed().as_secs()));
    Ok(())
}

/// From a thousand on, ten times more each.
fn sizes(largest: usize) -> Vec<usize> {
    std::iter::successors(Some(1_000), |size| Some(size * 10)).take_while(|size| *size <= largest).collect()
}

/// Everything once and briefly.
pub async fn check() -> anyhow::Result<()> {
    let began = Instant::now();
    let mut names = EVERYBODY.to_vec();
    if let Some(reason) = node::missing() {
        say(&format!("{reason}: express and fastify are NOT checked"));
        names.retain(|name| ![EXPRESS, FASTIFY].contains(name));
    }
    let settings = Settings {
        rounds: 1,
        warm_up: Duration::ZERO,
        window: Duration::from_millis(400),
        people: 5_000,
        growth: vec![100, 1_000],
        baseline: None,
    };
    let (machine, results) = perform(settings.clone(), &names, &Scenario::ALL).await?;
    let folder = tempfile::tempdir()?;
    report::write(folder.path(), &machine, &settings, &results)?;
    let (count, seconds) = (names.len(), began.elapsed().as_secs());
    say(&format!("All {count} contestants answered correctly in every scenario, within {seconds} s."));
    Ok(())
}

async fn perform(
    settings: Settings,
    names: &[&'static str],
    scenarios: &[Scenario],
) -> anyhow::Result<(Machine, Results)> {
    let mut bench = prepare(settings, names).await?;
    let machine = Machine::describe(&bench.world, names)?;
    for scenario in scenarios {
        scenario
            .run(&mut bench)
            .await
            .with_context(|| format!("the scenario {scenario:?} could not be measured"))?;
    }
    let Bench { contestants, wrong, results, .. } = bench;
    contestants.into_iter().try_for_each(Contestant::stop)?;
    anyhow::ensure!(wrong.is_empty(), "wrong answers disqualify the run:\n  {}", wrong.join("\n  "));
    Ok((machine, results))
}

/// The world with everybody signed in everywhere, and the contestants in it.
async fn prepare(settings: Settings, names: &[&'static str]) -> anyhow::Result<Bench> {
    if names.contains(&EXPRESS) {
        say("Installing the Node contestants' packages ...");
        node::install()?;
    }
    say(&format!("Starting the servers, with {} people ...", settings.people));
    let world = World::start(settings.people)?;
    let collector = Collector::start()?;
    seed::write_json(&world)?;
    let mut running = Vec::new();
    for name in names {
        running.push(contestants::start(name, &world, collector.address(), settings.baseline.as_deref())?);
    }
    for sallyport in running.iter().filter(|it| [SALLYPORT, BASELINE].contains(&it.name)) {
        growth::sign_everybody_in(&world, sallyport).await?;
    }
    for contestant in running.iter().filter(|it| it.name != HELLO) {
        let (person, stranger) = (Person(world.people.count() - 1), Person(world.people.count()));
        let walked = walkthrough::walk(contestant.address, person, stranger).await;
        walked.with_context(|| format!("{} does not do the work", contestant.name))?;
    }
    Ok(Bench {
        settings,
        world,
        contestants: running,
        collector,
        results: Results::default(),
        wrong: Vec::new(),
    })
}
