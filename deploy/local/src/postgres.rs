//! A private PostgreSQL server: a data folder of our own, one role with a generated password, loopback only. Knows
//! no table; migrations belong to the services.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::output::Output;
use crate::process::{self, Program, Signal};
use crate::server::{Running, Server};
use crate::{identity, random, sockets};

mod account;
mod programs;
mod standby;

pub use account::Account;
pub use programs::Programs;

/// The one role. It owns the cluster, so it may create databases.
const ROLE: &str = "sallyport";

/// How long initdb may take.
const INIT_LIMIT: Duration = Duration::from_secs(60);

/// How long one statement of ours may take.
const STATEMENT_LIMIT: Duration = Duration::from_secs(60);

/// How long a temporary server may take until it accepts connections.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running PostgreSQL server.
pub type Postgres = Running<Cluster>;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Committed data survives a crash of the machine. Without it (for temporary servers) it still survives a
    /// crash of the server.
    pub durable: bool,
    pub max_connections: u16,
}

impl Options {
    pub const DURABLE: Self = Self { durable: true, max_connections: 200 };
    pub const TEMPORARY: Self = Self { durable: false, max_connections: 400 };
}

/// An initialised data folder and how to serve it.
pub struct Cluster {
    programs: Programs,
    account: Option<Account>,
    folder: PathBuf,
    password: String,
    port: u16,
    options: Options,
    output: Output,
}

impl Postgres {
    /// A server on a free port with its data in `folder`, which the caller removes at the end. For tests.
    pub fn temporary(folder: &Path) -> anyhow::Result<Self> {
        let port = sockets::free_port()?;
        let cluster = Cluster::open(folder, port, Options::TEMPORARY, Output::kept())?;
        Self::start(cluster, START_LIMIT)
    }
}

impl Cluster {
    /// Opens the data in `folder`, creating it when there is none. As root, PostgreSQL's own user must be able to
    /// reach the folder: see [`Account::reaches`].
    pub fn open(folder: &Path, port: u16, options: Options, output: Output) -> anyhow::Result<Self> {
        let data = folder.join("cluster");
        let version = match fs::read_to_string(data.join("PG_VERSION")) {
            Ok(version) => Some(version),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot read {}: run this as the user it belongs to", data.display())
                });
            }
        };
        let account = Account::for_data_in(folder)?;
        let programs = Programs::for_data(version.as_deref())?;
        let mut cluster = Self {
            programs,
            account,
            folder: folder.to_owned(),
            password: String::new(),
            port,
            options,
            output,
        };
        if version.is_none() {
            cluster.initialise().with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let password = cluster.password_file();
        cluster.password =
            fs::read_to_string(&password).with_context(|| format!("cannot read {}", password.display()))?;
        Ok(cluster)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The connection URL of one database, password included.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Creates the databases that do not exist yet. The server must be running.
    pub fn create_databases(&self, names: &[&str]) -> anyhow::Result<()> {
        let existing = self.execute("postgres", &["SELECT datname FROM pg_database"])?;
        for name in names {
            if !existing.iter().any(|line| line == name) {
                self.execute("postgres", &[&format!("CREATE DATABASE {name}")])?;
            }
        }
        Ok(())
    }

    /// Runs statements, each in a transaction of its own, and returns the lines they answer.
    pub fn execute(&self, database: &str, statements: &[&str]) -> anyhow::Result<Vec<String>> {
        self.psql(database, statements.iter().flat_map(|statement| ["--command", *statement]))
    }

    /// Runs the statements of a file in one transaction, or one by one when `atomic` is false.
    pub fn execute_file(&self, database: &str, file: &Path, atomic: bool) -> anyhow::Result<()> {
        let file = file.to_str().context("a path that is not UTF-8")?;
        let atomic = atomic.then_some("--single-transaction");
        self.psql(database, atomic.into_iter().chain(["--file", file])).map(drop)
    }

    fn psql<'a>(
        &self,
        database: &str,
        args: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Vec<String>> {
        let mut command = self.programs.command("psql");
        command
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"])
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string(), "--username", ROLE])
            .args(["--dbname", database])
            .args(args)
            .env("PGPASSWORD", &self.password)
            .env_remove("PGOPTIONS")
            .env_remove("PGSERVICE");
        process::run(command, STATEMENT_LIMIT)
    }

    /// Runs initdb. The data appears under its final name only when it is complete.
    fn initialise(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder)?;
        Account::let_through(&self.folder)?;
        if let Some(account) = &self.account {
            account.check_reaches(&self.folder)?;
        }
        let unfinished = self.folder.join("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir(&unfinished)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o700))?;
        let password_file = self.password_file();
        write_private(&password_file, &random::password()?)?;
        if let Some(account) = &self.account {
            account.give(&unfinished)?;
            account.give(&password_file)?;
        }

        let mut command = self.command("initdb");
        command.arg("--pgdata").arg(&unfinished).arg("--pwfile").arg(&password_file).args([
            "--username",
            ROLE,
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        if !self.options.durable {
            command.arg("--no-sync");
        }
        process::run(command, INIT_LIMIT)?;
        fs::rename(&unfinished, self.data())?;
        Ok(())
    }

    /// One of PostgreSQL's programs, to run as the user that owns the data.
    fn command(&self, program: &str) -> Command {
        let mut command = self.programs.command(program);
        // Not everyone may look into our own working folder, and a locale the machine lacks would stop the server.
        command.current_dir(&self.folder).env("LC_ALL", "C");
        if let Some(account) = &self.account {
            account.run_as(&mut command);
        }
        command
    }

    /// PostgreSQL refuses to start when the process in its pid file exists. After a crash of the machine that may be
    /// any process that happens to have the id now.
    fn forget_stale_process(&self) -> io::Result<()> {
        let file = self.pid_file();
        let content = fs::read_to_string(&file).unwrap_or_default();
        let pid: Option<u32> = content.lines().next().and_then(|line| line.trim().parse().ok());
        match pid.and_then(identity::program_of) {
            Some(program) if program != "postgres" => fs::remove_file(&file),
            _ => Ok(()),
        }
    }

    fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    fn password_file(&self) -> PathBuf {
        self.folder.join("password")
    }
}

impl Server for Cluster {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn program(&self) -> anyhow::Result<Program> {
        self.forget_stale_process()?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        let connections = format!("max_connections={}", self.options.max_connections);
        let mut settings = vec![
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            &connections,
            // A refused duplicate is an answer, not an incident; and its details would put e-mail addresses on screen.
            "log_min_messages=fatal",
            "log_error_verbosity=terse",
        ];
        if !self.options.durable {
            settings.extend(["fsync=off", "full_page_writes=off"]);
        }
        command.args(settings.iter().flat_map(|setting| ["-c", setting]));
        Ok(Program::new(command, self.output.clone()).death_signal(Signal::Interrupt))
    }

    /// Asks as pg_ctl does: the server's pid file names the process on line 1 and its state on line 8.
    fn is_ready(&self, pid: u32) -> bool {
        let content = fs::read_to_string(self.pid_file()).unwrap_or_default();
        let mut lines = content.lines();
        lines.next().is_some_and(|line| line.trim() == pid.to_string())
            && lines.nth(6).is_some_and(|state| matches!(state.trim(), "ready" | "standby"))
    }

    /// SIGINT is a "fast" shutdown: SIGTERM would wait for every client to leave.
    fn stop_signal(&self) -> Signal {
        Signal::Interrupt
    }
}

fn write_private(file: &Path, content: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    /// Asks whether the server speaks TLS, which it answers with one byte before anything else.
    fn answers(postgres: &Postgres) -> bool {
        let mut stream = TcpStream::connect(postgres.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
        stream.read_exact(&mut [0]).is_ok()
    }

    #[test]
    fn committed_data_survives_a_kill_and_a_stop() {
        let folder = crate::temporary::folder().unwrap();
        let mut postgres = Postgres::temporary(folder.path()).unwrap();
        postgres.create_databases(&["auth", "profile"]).unwrap();
        postgres.create_databases(&["auth", "profile"]).unwrap();
        postgres.execute("auth", &["CREATE TABLE t (n int)", "INSERT INTO t VALUES (42)"]).unwrap();
        let url = postgres.url("auth");

        postgres.kill();
        postgres.start_again(START_LIMIT).unwrap();
        assert_eq!(postgres.execute("auth", &["SELECT n FROM t"]).unwrap(), ["42"]);
        assert!(postgres.stop());
        postgres.start_again(START_LIMIT).unwrap();
        assert_eq!(postgres.execute("auth", &["SELECT n FROM t"]).unwrap(), ["42"]);
        assert_eq!(postgres.url("auth"), url);
    }

    #[test]
    fn a_pid_file_that_names_another_program_does_not_keep_it_from_starting() {
        let folder = crate::temporary::folder().unwrap();
        let mut postgres = Postgres::temporary(folder.path()).unwrap();
        let file = postgres.pid_file();
        let content = fs::read_to_string(&file).unwrap();
        let (_, rest) = content.split_once('\n').unwrap();
        postgres.kill();
        fs::write(&file, format!("{}\n{rest}", std::process::id())).unwrap();

        postgres.start_again(START_LIMIT).unwrap();
    }

    #[test]
    fn a_paused_server_answers_nobody_until_it_is_resumed() {
        let folder = crate::temporary::folder().unwrap();
        let postgres = Postgres::temporary(folder.path()).unwrap();

        postgres.pause();
        assert!(!answers(&postgres));
        postgres.resume();
        assert!(answers(&postgres));
    }

    #[test]
    fn nobody_gets_in_without_the_password() {
        let folder = crate::temporary::folder().unwrap();
        let mut postgres = Postgres::temporary(folder.path()).unwrap();
        postgres.stop();
        let mut cluster =
            Cluster::open(folder.path(), postgres.port(), Options::TEMPORARY, Output::kept()).unwrap();
        let correct = std::mem::replace(&mut cluster.password, "guess".into());
        let stranger = Postgres::start(cluster, START_LIMIT).unwrap();

        let error = stranger.execute("postgres", &["SELECT 1"]).unwrap_err().to_string();

        assert!(error.contains("password authentication failed"), "{error}");
        assert_ne!(correct, "guess");
    }
}
