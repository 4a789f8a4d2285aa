//! Everything in turn, as people do it.

use crate::bench::{Bench, Clients};
use crate::contestants::HELLO;
use crate::load::clients::Mixed;

pub const SCENARIO: &str = "mixed-64";
const CONNECTIONS: usize = 64;
const PEOPLE: usize = 1_000;

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let people = bench.world.people.clone();
    let count = PEOPLE.min(people.count());
    let clients = |_: &_| -> Clients {
        (0..CONNECTIONS)
            .map(|it| Box::new(Mixed::new(people.clone(), 0, count, it, CONNECTIONS)) as _)
            .collect()
    };
    bench.alternate(SCENARIO, bench.settings.rounds, |it| it.name != HELLO, clients).await
}
