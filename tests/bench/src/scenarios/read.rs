//! Reads by people who are signed in: the hot path, and `/me`.

use crate::bench::{Bench, Clients};
use crate::contestants::{Contestant, HELLO};
use crate::load::clients::{Greeter, Popularity, Reader, Route};

/// The scenario that most bars are about, and the peak for the open loop.
pub const PEAK: &str = "profile-64-zipf";
pub const ONE: &str = "profile-1-zipf";
const CONNECTIONS: [usize; 3] = [1, 64, 256];

/// Those who come by zipf's law.
pub const POPULAR: usize = 1_000;

pub async fn profile(bench: &mut Bench) -> anyhow::Result<()> {
    let populations = [
        ("zipf", Popularity::zipf(POPULAR.min(bench.world.people.count()))),
        ("uniform", Popularity::Uniform(bench.world.people.count())),
    ];
    for (name, popularity) in populations {
        for connections in CONNECTIONS {
            let scenario = format!("profile-{connections}-{name}");
            let with_floor = scenario == PEAK;
            read(bench, &scenario, with_floor, connections, &popularity, Route::Profile).await?;
        }
    }
    Ok(())
}

pub async fn peak(bench: &mut Bench) -> anyhow::Result<()> {
    let popularity = Popularity::zipf(POPULAR.min(bench.world.people.count()));
    read(bench, PEAK, true, 64, &popularity, Route::Profile).await
}

pub async fn me(bench: &mut Bench) -> anyhow::Result<()> {
    let popularity = Popularity::zipf(POPULAR.min(bench.world.people.count()));
    read(bench, "me-64-zipf", false, 64, &popularity, Route::Me).await
}

async fn read(
    bench: &mut Bench,
    scenario: &str,
    with_floor: bool,
    connections: usize,
    popularity: &Popularity,
    route: Route,
) -> anyhow::Result<()> {
    let people = bench.world.people.clone();
    let clients = |contestant: &Contestant| -> Clients {
        if contestant.name == HELLO {
            return (0..connections).map(|_| Box::new(Greeter) as _).collect();
        }
        readers(connections, &people, popularity, route)
    };
    let rounds =
        if scenario == PEAK { bench.settings.rounds_of_a_close_comparison() } else { bench.settings.rounds };
    bench.alternate(scenario, rounds, |it| with_floor || it.name != HELLO, clients).await
}

/// So many clients that read.
pub fn readers(
    count: usize,
    people: &std::sync::Arc<crate::people::People>,
    popularity: &Popularity,
    route: Route,
) -> Clients {
    (0..count).map(|_| Box::new(Reader::new(people.clone(), popularity.clone(), route)) as _).collect()
}
