//! Those who only read.

use std::time::Duration;

use super::writer::Watched;
use super::{Client, Ground};
use crate::chaos::journal::Op;
use crate::chaos::model::Wrong;

/// Reads of every kind, of a user whom nobody changes.
pub(super) async fn run(mut client: Client, pause: Duration) {
    let public = client.person.public_profile();
    // A profile that was read once is in the cache.
    for op in [Op::Profile, Op::Me, Op::Public].into_iter().cycle() {
        if client.ground.stopped() {
            return;
        }
        match op {
            Op::Profile => {
                let answer = client.ask(Op::Profile, |api| api.get("/v1/profile")).await;
                check(&client.ground, answer);
            }
            Op::Me => {
                let answer = client.ask(Op::Me, |api| api.get("/v1/me")).await;
                let other = answer.filter(|answer| {
                    answer.status != 200 || answer.json()["username"] != client.person.username.as_str()
                });
                if let Some(answer) = other {
                    client.ground.wrong(Wrong::Unexpected, &answer);
                }
            }
            _ => {
                let answer = client.ground.ask(Op::Public, |api| api.get(&public)).await;
                check(&client.ground, answer);
            }
        }
        client.pause(pause).await;
    }
}

/// Nobody has ever changed this one.
fn check(ground: &Ground, answer: Option<crate::api::Answer>) {
    let Some(answer) = answer else { return };
    if answer.status != 200 {
        ground.wrong(Wrong::Unexpected, &answer);
    } else if answer.version() != 1 || answer.json()["bio"] != "" {
        ground.wrong(Wrong::Lost, &answer);
    }
}

/// Reads what is being written: no answer may be older than what was acknowledged before it was asked for.
pub(super) async fn watch(ground: Ground, written: Vec<Watched>, pause: Duration) {
    while !ground.stopped() {
        let of = &written[fastrand::usize(..written.len())];
        let floor = of.floor();
        if let Some(answer) = ground.ask(Op::Fresh, |api| api.get(&of.path)).await {
            if answer.status != 200 {
                ground.wrong(Wrong::Unexpected, &answer);
            } else if answer.version() < floor {
                ground.wrong(Wrong::Stale, &answer);
            }
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
    }
}
