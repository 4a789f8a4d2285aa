//! The three forms in which a server goes away.

use local::server::Server;

use super::proxy::Weather;
use crate::controlled::Controlled;

/// How a server is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    Killed,
    /// SIGSTOP: its connections stay open, and it knows nothing of the time that passes.
    Frozen,
    /// It goes on, and nothing gets through to it or back.
    BlackHole,
}

impl Absence {
    pub const ALL: [Self; 3] = [Self::Killed, Self::Frozen, Self::BlackHole];

    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::BlackHole => "in a black hole",
        }
    }

    /// Takes the server away. `turn` changes the network around it.
    pub async fn begin<S: Server + 'static>(self, server: &Controlled<S>, turn: impl Fn(Weather)) {
        match self {
            Self::Killed => server.kill().await,
            Self::Frozen => server.pause().await,
            Self::BlackHole => turn(Weather::BlackHole),
        }
    }

    /// Brings it back as it was.
    pub async fn end<S: Server + 'static>(self, server: &Controlled<S>, turn: impl Fn(Weather)) {
        match self {
            Self::Killed => server.start().await,
            Self::Frozen => server.resume().await,
            Self::BlackHole => turn(Weather::Fair),
        }
    }
}
