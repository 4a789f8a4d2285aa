//! Latency at a rate that does not wait for answers: half and four fifths of what each contestant can do.

use crate::bench::{Bench, measure};
use crate::contestants::HELLO;
use crate::load::clients::{Popularity, Route};
use crate::load::{closed_loop, open_loop};
use crate::scenarios::read::{PEAK, POPULAR, readers};

/// Enough to carry the rate when answers take their time.
const CONNECTIONS: usize = 256;
const SHARES: [u32; 2] = [50, 80];

pub fn scenario(share: u32) -> String {
    format!("open-loop-{share}")
}

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let people = bench.world.people.clone();
    let popularity = Popularity::zipf(POPULAR.min(people.count()));
    let clients = |count| readers(count, &people, &popularity, Route::Profile);
    let mut peaks = Vec::new();
    for contestant in bench.contestants.iter().filter(|it| it.name != HELLO) {
        let known = bench.results.spread(PEAK, contestant.name, |it| it.rate);
        let peak = if let Some(peak) = known {
            peak.median
        } else {
            let load = async |window| closed_loop(contestant.address, clients(64), window).await;
            measure(&bench.settings, &bench.world, contestant, load).await?.0.rate
        };
        // A peak of nothing has been told as wrong answers already.
        peaks.push(peak.max(1.0));
    }
    for share in SHARES {
        let scenario = scenario(share);
        for round in 0..bench.settings.rounds {
            let taking_part: Vec<usize> =
                (0..bench.contestants.len()).filter(|it| bench.contestants[*it].name != HELLO).collect();
            for turn in 0..taking_part.len() {
                let which = (round + turn) % taking_part.len();
                let contestant = &bench.contestants[taking_part[which]];
                let (name, address) = (contestant.name, contestant.address);
                let rate = peaks[which] * f64::from(share) / 100.0;
                let load = async |window| open_loop(address, clients(CONNECTIONS), window, rate).await;
                let (sample, tally) = measure(&bench.settings, &bench.world, contestant, load).await?;
                bench.note(&scenario, name, sample, &tally);
            }
        }
    }
    Ok(())
}
