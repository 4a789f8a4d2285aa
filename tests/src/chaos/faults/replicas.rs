//! Replicas of our own processes go: in good order, killed, or frozen.

use std::time::{Duration, Instant};

use super::generous;
use crate::chaos::bars::{Bars, Excuse};
use crate::chaos::load::Crowd;
use crate::chaos::report::Chapter;
use crate::chaos::stage::{Form, Stage};
use crate::controlled::Replica;
use crate::stack::Part;

const GATEWAYS: usize = 3;
/// A replica that hangs is given up within this time.
pub(super) const NOTICED: Duration = Duration::from_secs(1);
const TEXT: &str = "Three gateways, two replicas of each service. Rolling restarts fail nothing and log nobody out. A kill fails no \
    read; writes fail only when they were in flight on the killed replica, as 503 (excused). A replica that hangs costs no read either; a \
    write that was sent to it within the second in which that is noticed is 504 when its time is up (excused). Clients go on asking a gateway that is away, \
    as if no load balancer had noticed yet: its socket keeps their connections until it is back, and only requests on connections that it held \
    break (excused).";

pub(super) async fn run(form: Form) -> Chapter {
    let stack = generous().gateways(GATEWAYS).auths(2).profiles(2).start();
    let mut stage = Stage::set(stack, form, Crowd::USUAL).await;
    for part in Part::ALL {
        let name = format!("Rolling restart of every {}", part.binary());
        stage.fault(name, Bars::nothing_fails(), async |stage| restart_all(stage, &[part]).await).await;
    }
    if form == Form::Full {
        let name = "Rolling restart of everything";
        stage.fault(name, Bars::nothing_fails(), async |stage| restart_all(stage, &Part::ALL).await).await;
    }
    for part in Part::ALL {
        let (name, rounds) = match form {
            Form::Full => {
                (format!("`kill -9` of every {}, one at a time, three times over", part.binary()), 3)
            }
            Form::Short => (format!("`kill -9` of every {}, one at a time", part.binary()), 1),
        };
        let kills = async |stage: &Stage| {
            for _ in 0..rounds {
                for (index, replica) in stage.stack.of(part).iter().enumerate() {
                    kill(stage, part, index, replica).await;
                }
            }
        };
        stage.fault(name, Bars::nothing_fails(), kills).await;
    }
    for part in Part::ALL {
        let name = format!("One {} hangs (SIGSTOP)", part.binary());
        stage.fault(name, Bars::nothing_fails(), async |stage| freeze(stage, part).await).await;
    }
    Chapter { title: "Replicas", text: TEXT, rows: stage.end().await, skipped: Vec::new() }
}

async fn restart_all(stage: &Stage, parts: &[Part]) {
    for part in parts {
        for replica in stage.stack.of(*part) {
            replica.restart().await;
            stage.settle().await;
        }
    }
}

async fn kill(stage: &Stage, part: Part, index: usize, replica: &Replica) {
    let began = Instant::now();
    replica.kill().await;
    let ended = Instant::now();
    stage.hold(Duration::from_secs(1)).await;
    replica.start().await;
    stage.excuse(match part {
        Part::Gateway => Excuse::HeldBy { gateway: index, began, ended },
        _ => Excuse::WriteInFlight { status: 503, began, ended },
    });
    stage.settle().await;
}

async fn freeze(stage: &Stage, part: Part) {
    let replica = &stage.stack.of(part)[0];
    let began = Instant::now();
    replica.pause().await;
    let noticed = Instant::now() + NOTICED;
    // Everybody comes to wait for a gateway that stands still.
    stage.hold(Duration::from_secs(if part == Part::Gateway { 1 } else { 5 })).await;
    replica.resume().await;
    stage.excuse(match part {
        Part::Gateway => Excuse::HeldBy { gateway: 0, began, ended: Instant::now() },
        _ => Excuse::WriteInFlight { status: 504, began, ended: noticed },
    });
}
