//! How a stack comes up: everything that can start at once does, and it is whole when `start` returns.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};

use anyhow::Context as _;
use local::output::Output;
use local::redis::{Redis, Role};
use local::server::Running;
use local::service::{self, Service};
use local::sockets;

use super::{Hop, Part, Stack};
use crate::controlled::{Controlled, Replica, START_LIMIT};
use crate::database::Database;

/// What a stack is to be like.
pub struct Builder {
    counts: [usize; 3],
    variables: Vec<Variable>,
    auth_postgres: Server,
    profile_postgres: Server,
    binaries: Vec<(Part, usize, PathBuf)>,
    /// Whose schema it begins with: this version's unless there is a folder with other programs.
    migrators: Option<PathBuf>,
    sends_mail: bool,
    detour: Detour,
}

/// Where a client is told that a server is, which is at an address.
type Detour = Box<dyn Fn(Hop, SocketAddr) -> SocketAddr>;

/// Where a database is.
enum Server {
    /// On the server of all tests.
    Shared,
    /// On one that nobody else uses.
    Own,
    In(PathBuf),
}

struct Variable {
    part: Option<Part>,
    index: Option<usize>,
    name: &'static str,
    value: String,
}

/// The sockets of one process: open before it starts, so that its address is known.
struct Sockets {
    listener: TcpListener,
    admin: TcpListener,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            counts: [1, 1, 1],
            variables: Vec::new(),
            auth_postgres: Server::Shared,
            profile_postgres: Server::Shared,
            binaries: Vec::new(),
            migrators: None,
            sends_mail: true,
            detour: Box::new(|_, address| address),
        }
        // Whatever the shell that runs the tests has set.
        .env_everywhere("RUST_LOG", "info")
        .env_everywhere("LOG_FORMAT", "json")
    }
}

impl Builder {
    pub fn gateways(mut self, count: usize) -> Self {
        self.counts[Part::Gateway as usize] = count;
        self
    }

    pub fn auths(mut self, count: usize) -> Self {
        self.counts[Part::Auth as usize] = count;
        self
    }

    pub fn profiles(mut self, count: usize) -> Self {
        self.counts[Part::Profile as usize] = count;
        self
    }

    /// Sets an environment variable of all processes of one kind. What is set later wins.
    pub fn env(mut self, part: Part, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push(Variable { part: Some(part), index: None, name, value: value.into() });
        self
    }

    /// Sets an environment variable of one process.
    pub fn env_of(mut self, part: Part, index: usize, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push(Variable { part: Some(part), index: Some(index), name, value: value.into() });
        self
    }

    /// Sets an environment variable of every process.
    pub fn env_everywhere(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push(Variable { part: None, index: None, name, value: value.into() });
        self
    }

    pub fn without_limits(self) -> Self {
        self.env(Part::Gateway, "RATE_LIMITS", "off")
    }

    /// auth-svc is not told where mails go.
    pub fn without_mail(mut self) -> Self {
        self.sends_mail = false;
        self
    }

    /// The gateways believe what the test says about its address, so that it can be many clients.
    pub fn behind_a_trusted_proxy(self) -> Self {
        self.env(Part::Gateway, "TRUSTED_PROXIES", "127.0.0.1")
    }

    /// A PostgreSQL for auth-svc alone, for a test that stops it.
    pub fn own_auth_postgres(mut self) -> Self {
        self.auth_postgres = Server::Own;
        self
    }

    /// The same with its data in a folder that stays.
    pub fn auth_postgres_in(mut self, folder: PathBuf) -> Self {
        self.auth_postgres = Server::In(folder);
        self
    }

    /// A PostgreSQL for profile-svc alone.
    pub fn own_profile_postgres(mut self) -> Self {
        self.profile_postgres = Server::Own;
        self
    }

    /// The same with its data in a folder that stays.
    pub fn profile_postgres_in(mut self, folder: PathBuf) -> Self {
        self.profile_postgres = Server::In(folder);
        self
    }

    /// Another program for one process, such as that of an older version.
    pub fn binary_of(mut self, part: Part, index: usize, binary: PathBuf) -> Self {
        self.binaries.push((part, index, binary));
        self
    }

    /// The programs in a folder make the schema.
    pub fn migrated_by(mut self, folder: PathBuf) -> Self {
        self.migrators = Some(folder);
        self
    }

    /// Has the processes find every server where the test says, such as behind a proxy of its own.
    pub fn through(mut self, detour: impl Fn(Hop, SocketAddr) -> SocketAddr + 'static) -> Self {
        self.detour = Box::new(detour);
        self
    }

    /// Starts everything and waits until it is ready.
    pub fn start(self) -> Stack {
        self.try_start().unwrap_or_else(|error| panic!("the stack did not start: {error:#}"))
    }

    fn try_start(self) -> anyhow::Result<Stack> {
        let folder = local::temporary::folder()?;
        let (state_folder, cache_folder) = (folder.path().join("state"), folder.path().join("cache"));
        let (auth_postgres, profile_postgres) = (&self.auth_postgres, &self.profile_postgres);
        let (auth_database, profile_database, state, cache) = thread::scope(|scope| {
            let migrators = self.migrators.as_deref();
            let auth = scope.spawn(move || database(Part::Auth, "auth", auth_postgres, migrators));
            let profile =
                scope.spawn(move || database(Part::Profile, "profile", profile_postgres, migrators));
            let state = scope.spawn(|| redis(Role::State, &state_folder));
            let cache = scope.spawn(|| redis(Role::Cache, &cache_folder));
            anyhow::Ok((join(auth)?, join(profile)?, join(state)?, join(cache)?))
        })?;

        let gateway_sockets = self.sockets(Part::Gateway)?;
        let auth_sockets = self.sockets(Part::Auth)?;
        let profile_sockets = self.sockets(Part::Profile)?;
        let state_url = self.detoured(Hop::State, state.url())?;
        let cache_url = self.detoured(Hop::Cache, cache.url())?;
        let gateway_variables = [
            ("AUTH_ENDPOINTS", self.endpoints(Hop::Auth, &auth_sockets)?),
            ("PROFILE_ENDPOINTS", self.endpoints(Hop::Profile, &profile_sockets)?),
            ("CACHE_REDIS_URL", cache_url.clone()),
        ];
        let mail_url = format!("file://{}", folder.path().join("mail").display());
        let auth_variables = [
            ("DATABASE_URL", self.detoured(Hop::AuthDatabase, auth_database.url().to_owned())?),
            ("STATE_REDIS_URL", state_url.clone()),
            ("CACHE_REDIS_URL", cache_url.clone()),
            ("MAIL_URL", mail_url),
        ];
        let auth_variables = &auth_variables[..auth_variables.len() - usize::from(!self.sends_mail)];
        let profile_variables = [
            ("DATABASE_URL", self.detoured(Hop::ProfileDatabase, profile_database.url().to_owned())?),
            ("STATE_REDIS_URL", state_url),
            ("CACHE_REDIS_URL", cache_url),
        ];

        let entrances = self.places(Hop::Gateway, &gateway_sockets)?;
        let auths = self.launch(Part::Auth, auth_sockets, auth_variables)?;
        let profiles = self.launch(Part::Profile, profile_sockets, &profile_variables)?;
        let gateways = self.launch(Part::Gateway, gateway_sockets, &gateway_variables)?;
        let stack = Stack {
            gateways,
            auths,
            profiles,
            state: Controlled::new(state),
            cache: Controlled::new(cache),
            auth_database,
            profile_database,
            entrances,
            folder,
        };
        stack.replicas().try_for_each(Replica::wait_ready)?;
        Ok(stack)
    }

    fn sockets(&self, part: Part) -> anyhow::Result<Vec<Sockets>> {
        (0..self.counts[part as usize]).map(|_| Sockets::open()).collect()
    }

    /// Where others are told that each process is.
    fn places(&self, hop: fn(usize) -> Hop, sockets: &[Sockets]) -> anyhow::Result<Vec<SocketAddr>> {
        let places = sockets.iter().enumerate();
        places.map(|(index, sockets)| Ok((self.detour)(hop(index), sockets.listener.local_addr()?))).collect()
    }

    /// The same as the gateway takes it: `host:port` of each, separated by commas.
    fn endpoints(&self, hop: fn(usize) -> Hop, sockets: &[Sockets]) -> anyhow::Result<String> {
        let places = self.places(hop, sockets)?;
        Ok(places.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(","))
    }

    /// The URL of a server with the address that the processes are told.
    fn detoured(&self, hop: Hop, url: String) -> anyhow::Result<String> {
        let (_, after) = url.split_once("://").context("a URL without a scheme")?;
        let place = after.split('/').next().and_then(|authority| authority.rsplit('@').next());
        let Some(address) = place.and_then(|place| place.parse::<SocketAddr>().ok()) else { return Ok(url) };
        Ok(url.replacen(&address.to_string(), &(self.detour)(hop, address).to_string(), 1))
    }

    fn launch(
        &self,
        part: Part,
        sockets: Vec<Sockets>,
        variables: &[(&'static str, String)],
    ) -> anyhow::Result<Vec<Replica>> {
        let launch = |(index, Sockets { listener, admin })| {
            let name = format!("{}-{index}", part.binary());
            let other = self.binaries.iter().find(|(of, at, _)| (*of, *at) == (part, index));
            let binary = match other {
                Some((.., binary)) => binary.clone(),
                None => service::binary(part.binary())?,
            };
            let mut service = Service::new(name, binary, listener, admin, Output::kept());
            for (name, value) in variables {
                service = service.variable(name, value);
            }
            for variable in self.variables.iter().filter(|variable| variable.applies_to(part, index)) {
                service = service.variable(variable.name, &variable.value);
            }
            Ok(Controlled::new(Running::launch(service)?))
        };
        sockets.into_iter().enumerate().map(launch).collect()
    }
}

impl Variable {
    fn applies_to(&self, part: Part, index: usize) -> bool {
        self.part.is_none_or(|only| only == part) && self.index.is_none_or(|only| only == index)
    }
}

impl Sockets {
    fn open() -> anyhow::Result<Self> {
        Ok(Self { listener: sockets::loopback()?, admin: sockets::loopback()? })
    }
}

/// A new database, migrated by the programs in a folder or by ours.
fn database(part: Part, name: &str, server: &Server, migrators: Option<&Path>) -> anyhow::Result<Database> {
    let database = match server {
        Server::Shared => Database::shared(name)?,
        Server::Own => Database::own(name)?,
        Server::In(folder) => Database::own_in(name, folder)?,
    };
    let binary = match migrators {
        Some(folder) => folder.join(part.binary()),
        None => service::binary(part.binary())?,
    };
    migrate(&binary, database.url())?;
    Ok(database)
}

/// Migrates as an operator would.
pub fn migrate(binary: &Path, url: &str) -> anyhow::Result<()> {
    let mut migrate = Command::new(binary);
    migrate.arg("migrate").env("DATABASE_URL", url).env("RUST_LOG", "info");
    local::process::run(migrate, START_LIMIT).map(drop).context("cannot migrate")
}

fn redis(role: Role, folder: &Path) -> anyhow::Result<Redis> {
    Redis::temporary(role, folder)
}

fn join<T>(thread: ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
