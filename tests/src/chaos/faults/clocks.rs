//! Replicas whose wall clocks are wrong.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::generous;
use crate::chaos::bars::Bars;
use crate::chaos::load::Crowd;
use crate::chaos::report::Chapter;
use crate::chaos::stage::{Form, Stage};
use crate::controlled::Replica;
use crate::stack::{Builder, Part};
use crate::wait;

const TEXT: &str = "Two of each. The wall clocks of the first gateway and of the first replica of each service jump 400 days ahead while they serve, \
    further than any session lasts, and later back (libfaketime). Nothing fails and nobody is logged out: sessions and limits live by the \
    clock of Redis, rows by that of Postgres.";

const AHEAD: &str = "+400d";
const RIGHT: &str = "+0";

pub(super) async fn run(form: Form) -> Chapter {
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    match local::faketime::library() {
        None => skipped.push("replicas whose clocks are ahead: libfaketime is not installed.".to_owned()),
        Some(library) => {
            let clock = Clock::new();
            let stack =
                Part::ALL.into_iter().fold(generous().gateways(2).auths(2).profiles(2), |stack, part| {
                    clock.of(stack.env_of(part, 0, "LD_PRELOAD", library.to_string_lossy()), part)
                });
            let mut stage = Stage::set(stack.start(), form, Crowd::USUAL).await;
            let ahead = async |stage: &Stage| {
                clock.set(AHEAD);
                wait::until_true("the clocks are ahead", async || years_apart(stage).await == [true; 3])
                    .await;
                stage.hold(Duration::from_secs(8)).await;
            };
            stage
                .fault("Clocks of one replica of each jump 400 days ahead", Bars::nothing_fails(), ahead)
                .await;
            // Nothing tells when they have: the HTTP server keeps a `Date` that is later than now.
            let back = async |stage: &Stage| {
                clock.set(RIGHT);
                stage.hold(Duration::from_secs(8)).await;
            };
            stage.fault("The clocks jump back", Bars::nothing_fails(), back).await;
            rows = stage.end().await;
        }
    }
    Chapter { title: "Clocks", text: TEXT, rows, skipped }
}

/// A wall clock that is told how wrong it is.
struct Clock {
    path: PathBuf,
    _folder: TempDir,
}

impl Clock {
    fn new() -> Self {
        let folder = local::temporary::folder().unwrap_or_else(|error| panic!("no folder: {error:#}"));
        let clock = Self { path: folder.path().join("clock"), _folder: folder };
        clock.set(RIGHT);
        clock
    }

    fn set(&self, offset: &str) {
        // Renamed, so that nobody reads half of it.
        let new = self.path.with_extension("new");
        let set = std::fs::write(&new, offset).and_then(|()| std::fs::rename(&new, &self.path));
        set.unwrap_or_else(|error| panic!("a clock cannot be set: {error}"));
    }

    /// The clock of the first replica. Time-outs, which a monotonic clock tells, stay what they are.
    fn of(&self, stack: Builder, part: Part) -> Builder {
        stack
            .env_of(part, 0, "FAKETIME_TIMESTAMP_FILE", self.path.to_string_lossy())
            .env_of(part, 0, "FAKETIME_CACHE_DURATION", "1")
            .env_of(part, 0, "FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

/// Of each kind, whether the first replica is in another year than the second.
async fn years_apart(stage: &Stage) -> [bool; 3] {
    let mut apart = [false; 3];
    for (apart, part) in apart.iter_mut().zip(Part::ALL) {
        let replicas = stage.stack.of(part);
        *apart = year(&replicas[0]).await != year(&replicas[1]).await;
    }
    apart
}

/// By the `Date` of what it answers.
async fn year(replica: &Replica) -> String {
    let url = format!("http://{}/livez", replica.admin_address());
    let answer = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok()).unwrap_or_default();
    date.split(' ').nth(3).unwrap_or_else(|| panic!("{url}: no date in {date:?}")).to_owned()
}
