//! What every answer has to be, given what was acknowledged before. Sends nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// An answer that must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// A session that nobody ended is refused, or a password that is right.
    LoggedOut,
    /// A session is accepted after its end was acknowledged.
    Revived,
    /// A profile is older than an acknowledged change.
    Stale,
    /// An acknowledged change is not there, or there is one that nobody made, or one was made twice.
    Lost,
    /// A status that nothing explains.
    Unexpected,
}

impl Wrong {
    pub fn name(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged out",
            Self::Revived => "ended session accepted",
            Self::Stale => "stale profile",
            Self::Lost => "lost or doubled change",
            Self::Unexpected => "unexplained answer",
        }
    }
}

/// Wrong answers of each kind that are shown as they come.
const TOLD: usize = 10;

/// The wrong answers so far. Clones are the same one.
#[derive(Clone, Default)]
pub struct Verdicts {
    found: Arc<Mutex<Vec<Wrong>>>,
}

impl Verdicts {
    pub fn note(&self, wrong: Wrong, what: impl Into<String>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.iter().filter(|kind| **kind == wrong).count() < TOLD {
            eprintln!("wrong answer: {}: {}", wrong.name(), what.into());
        }
        found.push(wrong);
    }

    /// How many there are of each kind, after so many others.
    pub fn since(&self, position: usize) -> BTreeMap<Wrong, usize> {
        let mut counts = BTreeMap::new();
        for wrong in &self.found.lock().unwrap_or_else(PoisonError::into_inner)[position..] {
            *counts.entry(*wrong).or_default() += 1;
        }
        counts
    }

    pub fn len(&self) -> usize {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a profile with one writer may be. Each change is made from the version that the writer knows (`If-Match`), so of several whose
/// fate is unknown one has been made at most.
#[derive(Debug)]
pub struct Profile {
    version: u64,
    bio: String,
    /// Changes from this version without an answer.
    pending: Vec<String>,
    /// One of them has been made.
    moved: bool,
    /// The version that readers may rely on.
    floor: Arc<AtomicU64>,
}

impl Profile {
    pub fn new(version: u64, bio: impl Into<String>) -> Self {
        let floor = Arc::new(AtomicU64::new(version));
        Self { version, bio: bio.into(), pending: Vec::new(), moved: false, floor }
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version that was acknowledged last: a read that begins after this was asked for may not tell an older one.
    pub fn floor(&self) -> Arc<AtomicU64> {
        self.floor.clone()
    }

    /// The change was acknowledged as this version.
    pub fn acknowledged(&mut self, version: u64, bio: &str) -> Result<(), Wrong> {
        let right = version == self.version + 1 && !self.moved;
        self.settle(version, bio);
        if right { Ok(()) } else { Err(Wrong::Lost) }
    }

    /// The change has no answer, or a failure: it may be made until somebody knows better.
    pub fn unanswered(&mut self, bio: &str) {
        self.pending.push(bio.to_owned());
    }

    /// The change was refused because the version has moved on, which only one of unknown fate can have done.
    pub fn refused(&mut self) -> Result<(), Wrong> {
        if self.pending.is_empty() {
            return Err(Wrong::Lost);
        }
        self.moved = true;
        Ok(())
    }

    /// The owner reads, with no change in flight.
    pub fn read(&mut self, version: u64, bio: &str) -> Result<(), Wrong> {
        if version < self.version || (version == self.version && self.moved) {
            return Err(Wrong::Stale);
        }
        if version == self.version {
            return if bio == self.bio { Ok(()) } else { Err(Wrong::Lost) };
        }
        let known = version == self.version + 1 && self.pending.iter().any(|pending| pending == bio);
        self.settle(version, bio);
        if known { Ok(()) } else { Err(Wrong::Lost) }
    }

    fn settle(&mut self, version: u64, bio: &str) {
        (self.version, self.moved) = (version, false);
        bio.clone_into(&mut self.bio);
        self.pending.clear();
        self.floor.fetch_max(version, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile::new(1, "")
    }

    #[test]
    fn what_was_acknowledged_is_there() {
        let mut ada = profile();
        assert_eq!(ada.acknowledged(2, "a"), Ok(()));
        assert_eq!(ada.read(2, "a"), Ok(()));
        assert_eq!(ada.read(1, ""), Err(Wrong::Stale));
        assert_eq!(ada.read(2, "b"), Err(Wrong::Lost));
        assert_eq!(ada.read(3, "c"), Err(Wrong::Lost));
        assert_eq!(profile().acknowledged(3, "a"), Err(Wrong::Lost));
        assert_eq!(profile().refused(), Err(Wrong::Lost));
    }

    #[test]
    fn a_change_of_unknown_fate_is_made_once_or_never_and_stays_made() {
        let mut ada = profile();
        ada.unanswered("a");
        ada.unanswered("b");
        assert_eq!(ada.read(1, ""), Ok(()));
        assert_eq!(ada.read(2, "b"), Ok(()));
        assert_eq!(ada.read(1, ""), Err(Wrong::Stale));
        assert_eq!(ada.read(3, "a"), Err(Wrong::Lost));
        let mut ada = profile();
        ada.unanswered("a");
        assert_eq!(ada.acknowledged(2, "b"), Ok(()));
        assert_eq!(ada.read(3, "a"), Err(Wrong::Lost));
    }

    #[test]
    fn after_a_conflict_the_old_version_is_stale() {
        let mut ada = profile();
        ada.unanswered("a");
        assert_eq!(ada.refused(), Ok(()));
        assert_eq!(ada.read(1, ""), Err(Wrong::Stale));
        assert_eq!(ada.read(2, "a"), Ok(()));
    }
}
