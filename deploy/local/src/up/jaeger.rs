//! The Jaeger that is started along when one is on PATH and nothing else was told to take traces.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use crate::output::Output;
use crate::process::Program;
use crate::server::Server;

/// What Jaeger's all-in-one program is called: its second and its first major version.
const NAMES: [&str; 2] = ["jaeger", "jaeger-all-in-one"];

/// Where it takes OTLP over gRPC, as the OpenTelemetry collector does.
const OTLP_PORT: u16 = 4317;

const UI_PORT: u16 = 16686;

pub(super) struct Jaeger {
    program: &'static str,
    output: Output,
}

impl Jaeger {
    pub(super) const ENDPOINT: &str = "http://127.0.0.1:4317";

    /// The program on PATH, unless its ports are taken.
    pub(super) fn find() -> Option<Self> {
        let program = NAMES.into_iter().find(|name| {
            let mut command = Command::new(name);
            command.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        })?;
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (is_free(OTLP_PORT) && is_free(UI_PORT)).then(|| Self { program, output: Output::hidden() })
    }
}

impl Server for Jaeger {
    fn name(&self) -> &'static str {
        "jaeger"
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{UI_PORT}")
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn program(&self) -> anyhow::Result<Program> {
        let mut command = Command::new(self.program);
        if self.program == NAMES[1] {
            command.env("COLLECTOR_OTLP_ENABLED", "true");
        }
        Ok(Program::new(command, self.output.clone()))
    }

    /// Nothing waits for it: traces are exported in the background, and without it the services serve all the same.
    fn is_ready(&self, _pid: u32) -> bool {
        true
    }
}
