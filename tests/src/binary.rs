//! One run of a binary from its start to its end, for what it does with its configuration.

use std::process::{Command, Output, Stdio};

use anyhow::Context as _;
use local::service;

use crate::stack::Part;

/// How a run ended and what it said.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a binary without any of the variables of this process. It has to end by itself.
pub fn run(part: Part, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let output = || -> anyhow::Result<Output> {
        let mut command = Command::new(service::binary(part.binary())?);
        command.args(arguments).env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
        command.output().context("cannot be run")
    };
    let output = output().unwrap_or_else(|error| panic!("{}: {error:#}", part.binary()));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
