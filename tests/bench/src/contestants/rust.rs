//! The two floors: a monolith that does the same work, and a server that does none.

use std::process::Command;

use local::service;

use super::{Contestant, HELLO, MONOLITH, variables};
use crate::world::World;

pub fn monolith(world: &World) -> anyhow::Result<Contestant> {
    start(MONOLITH, "bench-monolith", variables(world))
}

pub fn hello() -> anyhow::Result<Contestant> {
    start(HELLO, "bench-hello", Vec::new())
}

fn start(
    name: &'static str,
    binary: &str,
    variables: Vec<(&'static str, String)>,
) -> anyhow::Result<Contestant> {
    let binary = service::binary(binary)?;
    let command = move |address: std::net::SocketAddr| {
        let mut command = Command::new(&binary);
        command
            .env("PORT", address.port().to_string())
            .envs(variables.iter().map(|(name, value)| (name, value)));
        command
    };
    Contestant::of_program(name, command)
}
