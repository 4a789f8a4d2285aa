//! One replica of a service of ours: its binary, its variables, and the sockets that outlive its process. Knows the
//! conventions all services share, and no service in particular.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::output::Output;
use crate::process::Program;
use crate::server::Server;

/// How long the admin port may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_millis(250);

/// More than any answer to a readiness check has, in bytes.
const ANSWER_MAXIMUM: u64 = 64 * 1024;

/// A service's replica. Started again, it serves on the same sockets.
pub struct Service {
    name: String,
    binary: PathBuf,
    variables: Vec<(&'static str, OsString)>,
    listener: TcpListener,
    admin: TcpListener,
    output: Output,
}

impl Service {
    /// `binary` serves on `listener`, and `/livez`, `/readyz` and `/metrics` on `admin`.
    pub fn new(
        name: impl Into<String>,
        binary: PathBuf,
        listener: TcpListener,
        admin: TcpListener,
        output: Output,
    ) -> Self {
        Self { name: name.into(), binary, variables: Vec::new(), listener, admin, output }
    }

    /// Sets an environment variable; the others are inherited.
    pub fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    pub fn listen_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    pub fn admin_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.admin.local_addr()?)
    }

    /// The status `/readyz` answers with, such as `200`.
    fn readiness(&self) -> Option<String> {
        let address = self.admin.local_addr().ok()?;
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT).ok()?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
        // One segment, so that a server which answers before it has read everything resets nothing.
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAXIMUM).read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer);
        answer.strip_prefix("HTTP/1.1 ")?.split_whitespace().next().map(str::to_owned)
    }
}

impl Server for Service {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> String {
        self.listener.local_addr().map(|address| address.to_string()).unwrap_or_default()
    }

    fn admin(&self) -> Option<String> {
        self.admin.local_addr().map(|address| format!("http://{address}")).ok()
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn program(&self) -> anyhow::Result<Program> {
        let mut command = Command::new(&self.binary);
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.envs(variables).env("OTEL_SERVICE_INSTANCE_ID", &self.name);
        Ok(Program::new(command, self.output.clone()).listeners([&self.listener, &self.admin])?)
    }

    fn is_ready(&self, _pid: u32) -> bool {
        self.readiness().is_some_and(|status| status == "200")
    }
}

/// The binary `name` that was built together with the running program, be that a binary or a test.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let running = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = running.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let binary = folder.context("this program is in no folder")?.join(name);
    anyhow::ensure!(binary.exists(), "{} is not built", binary.display());
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::sockets;

    #[test]
    fn a_service_is_ready_once_its_admin_port_says_200() {
        let (listener, admin) = (sockets::loopback().unwrap(), sockets::loopback().unwrap());
        let answering = admin.try_clone().unwrap();
        answering.set_nonblocking(false).unwrap();
        let service = Service::new("gateway-0", PathBuf::new(), listener, admin, Output::kept());

        for (status, ready) in [("503 Service Unavailable", false), ("200 OK", true)] {
            thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut client, _) = answering.accept().unwrap();
                    let mut request = [0; 512];
                    let read = client.read(&mut request).unwrap();
                    assert!(request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
                    write!(client, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
                });
                assert_eq!(service.is_ready(0), ready);
            });
        }
    }
}
