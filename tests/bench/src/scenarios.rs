//! What is measured. One file for each group of scenarios; here is their list.

use clap::ValueEnum;

use crate::bench::Bench;
use crate::output::say;

pub mod growth;
pub mod idle;
pub mod login;
pub mod mixed;
pub mod open_loop;
pub mod read;
pub mod tracing;

/// A group of scenarios, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Signed-in reads of the own profile: 1, 64 and 256 connections, few people and many.
    Profile,
    /// The one of these that most bars are about, alone. Not a part of a full run, which has it already.
    Peak,
    /// `GET /v1/me`.
    Me,
    /// 90 % reads, 5 % changes, 4 % logins, 1 % logouts.
    Mixed,
    /// Logins alone, against the machine's own argon2id rate.
    Login,
    /// Logouts, each until it is answered, from when on every replica refuses the session.
    Logout,
    /// Reads while 64 others log in again and again.
    Storm,
    /// Reads at a constant rate, at half and four fifths of the peak.
    OpenLoop,
    /// What a trace costs: off, 1 % and all.
    Tracing,
    /// How long a start takes, and what an idle process holds.
    Idle,
    /// The cost of a read, and the memory of a session, from a thousand people to a million.
    Growth,
}

impl Scenario {
    pub const ALL: [Self; 10] = [
        Self::Profile,
        Self::Me,
        Self::Mixed,
        Self::Login,
        Self::Logout,
        Self::Storm,
        Self::OpenLoop,
        Self::Tracing,
        Self::Idle,
        Self::Growth,
    ];

    pub async fn run(self, bench: &mut Bench) -> anyhow::Result<()> {
        say(&format!("{self:?}"));
        match self {
            Self::Profile => read::profile(bench).await,
            Self::Peak => read::peak(bench).await,
            Self::Me => read::me(bench).await,
            Self::Mixed => mixed::run(bench).await,
            Self::Login => login::alone(bench).await,
            Self::Logout => login::out(bench).await,
            Self::Storm => login::storm(bench).await,
            Self::OpenLoop => open_loop::run(bench).await,
            Self::Tracing => tracing::run(bench).await,
            Self::Idle => idle::run(bench),
            Self::Growth => growth::run(bench).await,
        }
    }
}
