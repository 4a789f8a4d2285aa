//! A program of the benchmark's own, that is told its port and prints `ready` once it serves there.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use local::output::Output;
use local::process::Program;
use local::server::{Running, Server};
use local::sockets;

/// A program and its port.
pub struct ReadyPrinter {
    name: &'static str,
    address: SocketAddr,
    command: Box<dyn Fn(SocketAddr) -> Command + Send + Sync>,
    output: Output,
}

impl ReadyPrinter {
    /// Starts what `command` makes for an address, and waits until it is ready.
    pub fn start(
        name: &'static str,
        limit: Duration,
        command: impl Fn(SocketAddr) -> Command + Send + Sync + 'static,
    ) -> anyhow::Result<Running<Self>> {
        let address = (Ipv4Addr::LOCALHOST, sockets::free_port()?).into();
        Running::start(Self { name, address, command: Box::new(command), output: Output::hidden() }, limit)
    }

    pub fn socket_address(&self) -> SocketAddr {
        self.address
    }
}

impl Server for ReadyPrinter {
    fn name(&self) -> &str {
        self.name
    }

    fn address(&self) -> String {
        self.address.to_string()
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn program(&self) -> anyhow::Result<Program> {
        Ok(Program::new((self.command)(self.address), self.output.clone()))
    }

    fn is_ready(&self, _pid: u32) -> bool {
        self.output.lines().iter().any(|line| line == "ready")
    }
}
