//! A whole Sallyport of one test's own: gateways, services, Redis and databases, all of them real.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use local::output::Output;
use tempfile::TempDir;

use crate::api::Api;
use crate::controlled::{Replica, Store};
use crate::database::Database;

mod builder;

pub use builder::{Builder, migrate};

/// Lines of each process that a failing test shows.
const LINES_SHOWN: usize = 12;

/// The three kinds of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Gateway,
    Auth,
    Profile,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Auth, Self::Profile];

    /// The name of the program.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Auth => "auth-svc",
            Self::Profile => "profile-svc",
        }
    }
}

/// A way to a server, of processes of ours or, where it is a gateway, of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hop {
    State,
    Cache,
    AuthDatabase,
    ProfileDatabase,
    Gateway(usize),
    /// From the gateways to one replica.
    Auth(usize),
    Profile(usize),
}

/// A running stack. Everything ends when it is dropped, in the order of the fields.
pub struct Stack {
    pub gateways: Vec<Replica>,
    pub auths: Vec<Replica>,
    pub profiles: Vec<Replica>,
    pub state: Store,
    pub cache: Store,
    pub auth_database: Database,
    pub profile_database: Database,
    /// Where clients find each gateway.
    entrances: Vec<SocketAddr>,
    folder: TempDir,
}

impl Stack {
    /// One process of each kind, with the settings that the binaries ship with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Three gateways and two of each service without rate limits, shared by the tests that change nothing but their own users.
    /// It ends with the last test that holds it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Stack>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let stack = Arc::new(Self::builder().gateways(3).auths(2).profiles(2).without_limits().start());
            *shared = Arc::downgrade(&stack);
            stack
        })
    }

    /// A client of one gateway. Its connections belong to the test that asks: they die with its runtime.
    pub fn api(&self, gateway: usize) -> Api {
        Api::new(self.entrances[gateway])
    }

    /// A client of each gateway.
    pub fn apis(&self) -> Vec<Api> {
        (0..self.gateways.len()).map(|gateway| self.api(gateway)).collect()
    }

    /// The processes of one kind.
    pub fn of(&self, part: Part) -> &[Replica] {
        match part {
            Part::Gateway => &self.gateways,
            Part::Auth => &self.auths,
            Part::Profile => &self.profiles,
        }
    }

    /// All processes of ours.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.gateways.iter().chain(&self.auths).chain(&self.profiles)
    }

    /// What all processes of ours have printed, with their names.
    pub fn logs(&self) -> Vec<(&str, Vec<String>)> {
        self.replicas().map(|replica| (replica.name(), replica.output().lines())).collect()
    }

    /// Where auth-svc writes mails, unless it was told otherwise.
    pub fn mail_folder(&self) -> PathBuf {
        self.folder.path().join("mail")
    }

    /// Where the data of both Redis lies.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

impl Drop for Stack {
    /// A test that fails shows what the processes said last.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for replica in self.replicas() {
                eprintln!("{} said last:{}", replica.name(), Output::tail(replica.output(), LINES_SHOWN));
            }
        }
    }
}
