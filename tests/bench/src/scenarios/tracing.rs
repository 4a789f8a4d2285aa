//! What following requests costs: three whole Sallyports beside each other on the same data, that trace nothing, as shipped, and all.

use std::time::Duration;

use crate::bench::{Bench, measure};
use crate::contestants::sallyport::{Tracing, sallyport};
use crate::load::clients::{Popularity, Route};
use crate::load::closed_loop;
use crate::scenarios::read::{POPULAR, readers};

pub const SCENARIO: &str = "tracing";
pub const OFF: &str = "off";
pub const AS_SHIPPED: &str = "1 %";
pub const ALL: &str = "100 %";

/// How long the last batch of spans may take to be exported.
const EXPORT_LIMIT: Duration = Duration::from_secs(10);

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let people = bench.world.people.clone();
    let popularity = Popularity::zipf(POPULAR.min(people.count()));
    let collector = bench.collector.address();
    let mut variants = Vec::new();
    for (name, tracing) in [
        (OFF, Tracing::Off),
        (AS_SHIPPED, Tracing::as_shipped(collector)),
        (ALL, Tracing::Sampled(1.0, collector)),
    ] {
        variants.push((name, sallyport(&bench.world, tracing)?));
    }
    let received_before = bench.collector.received().await?;
    for _ in 0..bench.settings.rounds_of_a_close_comparison() {
        for (name, contestant) in &variants {
            let clients = readers(64, &people, &popularity, Route::Profile);
            let load = async |window| closed_loop(contestant.address, clients, window).await;
            let (sample, tally) = measure(&bench.settings, &bench.world, contestant, load).await?;
            bench.note(SCENARIO, name, sample, &tally);
        }
        variants.rotate_left(1);
    }
    // Without traces the comparison would say nothing.
    let deadline = tokio::time::Instant::now() + EXPORT_LIMIT;
    while bench.collector.received().await? == received_before {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "no trace reached the collector");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    variants.into_iter().try_for_each(|(_, contestant)| contestant.stop())
}
