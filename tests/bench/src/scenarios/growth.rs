//! Whether a read costs the same among a thousand people and among a million, and what a session takes in Redis.
//!
//! Each size is a world of its own, all of them up at the same time, so that rounds alternate between sizes too.

use std::sync::Arc;
use std::time::Instant;

use crate::bench::{Bench, measure};
use crate::contestants::Contestant;
use crate::contestants::sallyport::{Tracing, sallyport};
use crate::load::clients::{Popularity, Route, sign_in_and_read};
use crate::load::closed_loop;
use crate::output::say;
use crate::people::{People, Person};
use crate::scenarios::read::readers;
use crate::seed;
use crate::world::World;

pub const SCENARIO: &str = "growth";

/// The name of a measure.
pub fn size(people: usize) -> String {
    format!("{people} people")
}

/// The name of a figure.
pub fn bytes_per_session(people: usize) -> String {
    format!("Redis bytes per session among {people}")
}

pub async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut worlds: Vec<(World, Contestant)> = Vec::new();
    for people in bench.settings.growth.clone() {
        let began = Instant::now();
        let world = World::start(people)?;
        let contestant = sallyport(&world, Tracing::as_shipped(bench.collector.address()))?;
        let empty = seed::used_memory(&world.state_url())?;
        sign_everybody_in(&world, &contestant).await?;
        let bytes = seed::used_memory(&world.state_url())?.saturating_sub(empty) as f64 / people as f64;
        bench.results.note_figure(&bytes_per_session(people), "bytes", bytes);
        let seconds = began.elapsed().as_secs();
        say(&format!(
            "  {SCENARIO:<24} {people:<18} made in {seconds} s, {bytes:.0} bytes of Redis per session"
        ));
        worlds.push((world, contestant));
    }
    for _ in 0..bench.settings.rounds_of_a_close_comparison() {
        for (world, contestant) in &worlds {
            let people: &Arc<People> = &world.people;
            let clients = readers(64, people, &Popularity::Uniform(people.count()), Route::Profile);
            let load = async |window| closed_loop(contestant.address, clients, window).await;
            let (sample, tally) = measure(&bench.settings, world, contestant, load).await?;
            bench.note(SCENARIO, &size(people.count()), sample, &tally);
        }
        worlds.rotate_left(1);
    }
    worlds.into_iter().try_for_each(|(_, contestant)| contestant.stop())
}

/// One person through the front door, and everybody like that one.
pub async fn sign_everybody_in(world: &World, sallyport: &Contestant) -> anyhow::Result<()> {
    let model = Person(0);
    let token = sign_in_and_read(sallyport.address, model).await?;
    seed::copy_from(world, model, &token)
}
