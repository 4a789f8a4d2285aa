//! Passwords: logins alone against what the machine can hash, logouts, and reads beside a storm of logins.

use std::ops::Range;

use crate::argon;
use crate::bench::{Bench, Clients, measure};
use crate::contestants::HELLO;
use crate::load::clients::{Leaver, Popularity, Route, Visitor};
use crate::load::closed_loop;
use crate::output::say;
use crate::scenarios::read::{POPULAR, readers};

pub const ALONE: &str = "login-8";
pub const OWN_RATE: &str = "argon2id hashes per second of one thread";
pub const OUT: &str = "logout-1";
pub const CALM: &str = "storm-calm";
pub const STORM: &str = "storm-reads";
pub const STORM_LOGINS: &str = "storm-logins";

/// Enough to keep every hashing thread busy, too few to be refused.
const CONNECTIONS: usize = 8;
const READERS: usize = 64;
const STORMING: usize = 64;

/// Each round measures the machine's own rate just before the contestants.
pub async fn alone(bench: &mut Bench) -> anyhow::Result<()> {
    let visitors = visitors_of(bench);
    for _ in 0..bench.settings.rounds {
        let (rate, _) = argon::rate(bench.settings.window)?;
        say(&format!("  {ALONE:<24} {:<18} {rate:>8.1} hashes/s of one thread", "this machine"));
        bench.results.note_figure(OWN_RATE, "1/s", rate);
        let clients = |_: &_| logins(CONNECTIONS, &visitors);
        bench.alternate(ALONE, 1, |it| it.name != HELLO, clients).await?;
        bench.contestants.rotate_left(1);
    }
    Ok(())
}

/// One client at a time, so that nobody waits for anybody.
pub async fn out(bench: &mut Bench) -> anyhow::Result<()> {
    let visitors = visitors_of(bench);
    let clients = |_: &_| vec![Box::new(Leaver::new(visitors.start, visitors.len())) as _];
    bench.alternate(OUT, bench.settings.rounds, |it| it.name != HELLO, clients).await
}

/// Reads without and with logins beside them, one after the other.
pub async fn storm(bench: &mut Bench) -> anyhow::Result<()> {
    let (people, visitors) = (bench.world.people.clone(), visitors_of(bench));
    let popularity = Popularity::zipf(POPULAR.min(people.count()));
    let reading = || readers(READERS, &people, &popularity, Route::Profile);
    for _ in 0..bench.settings.rounds {
        for index in 0..bench.contestants.len() {
            let contestant = &bench.contestants[index];
            let (name, address) = (contestant.name, contestant.address);
            if name == HELLO {
                continue;
            }
            let load = async |window| closed_loop(address, reading(), window).await;
            let (calm, tally) = measure(&bench.settings, &bench.world, contestant, load).await?;
            let mut logins_tally = None;
            let load = async |window| {
                let storm = closed_loop(address, logins(STORMING, &visitors), window);
                let (reads, logins) = tokio::join!(closed_loop(address, reading(), window), storm);
                logins_tally = Some(logins);
                reads
            };
            let (stormy, stormy_tally) = measure(&bench.settings, &bench.world, contestant, load).await?;
            bench.note(CALM, name, calm, &tally);
            bench.note(STORM, name, stormy, &stormy_tally);
            if let Some(tally) = logins_tally {
                let sample = bench.sample_without_cost(&tally);
                bench.note(STORM_LOGINS, name, sample, &tally);
            }
        }
        bench.contestants.rotate_left(1);
    }
    Ok(())
}

/// People of whom nobody else reads: the later half, so that many logins make few sessions of each.
fn visitors_of(bench: &Bench) -> Range<usize> {
    let count = bench.world.people.count();
    count / 2..count
}

fn logins(connections: usize, people: &Range<usize>) -> Clients {
    (0..connections).map(|_| Box::new(Visitor::new(people.start, people.len())) as _).collect()
}
