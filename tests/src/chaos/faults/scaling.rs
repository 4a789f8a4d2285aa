//! Replicas are added and taken away under load.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::future::join_all;

use super::generous;
use crate::chaos::bars::Bars;
use crate::chaos::load::Crowd;
use crate::chaos::report::Chapter;
use crate::chaos::stage::{Form, Stage};
use crate::controlled::Replica;
use crate::metrics::Metrics;
use crate::stack::Part;

const MOST: usize = 4;
/// How far from even a share may be, ten seconds after the replicas came.
const UNEVEN: f64 = 0.15;
const SETTLING: Duration = Duration::from_secs(10);
const COUNTED: Duration = Duration::from_secs(10);
/// After this long a load balancer has seen that a gateway drains: within its drain delay.
const NOTICED: Duration = Duration::from_millis(100);

const TEXT: &str = "One of each kind, then four of one kind, then one again. Nothing fails and nobody is logged out. Ten seconds after three \
    more have come, each of the four has its share of the requests of the next ten seconds, within 15 % of even. The gateways know all four \
    addresses of a service (a static list) and find out who is there. The clients choose among the gateways that are ready at random, as a load balancer \
    does; they hear of a gateway that drains 100 ms after it began to.";

pub(super) async fn run(form: Form) -> Chapter {
    let stack = generous().gateways(MOST).auths(MOST).profiles(MOST).start();
    let crowd = Crowd { readers: 20, pause: Duration::from_millis(50), ..Crowd::USUAL };
    let mut stage = Stage::set(stack, form, crowd).await;
    for part in Part::ALL {
        shrink(&stage, part).await;
    }
    for part in Part::ALL {
        let shares = RefCell::new(Vec::new());
        let scale = async |stage: &Stage| {
            grow(stage, part).await;
            stage.hold(SETTLING).await;
            let before = served(stage, part).await;
            stage.hold(COUNTED).await;
            let after = served(stage, part).await;
            shares.replace(after.iter().zip(&before).map(|(after, before)| after - before).collect());
            shrink(stage, part).await;
        };
        stage.fault(format!("{}: 1 → 4 → 1", part.binary()), Bars::nothing_fails(), scale).await;
        let (note, missed) = evenness(&shares.take());
        stage.note(note, missed);
    }
    Chapter { title: "Scaling", text: TEXT, rows: stage.end().await, skipped: Vec::new() }
}

async fn grow(stage: &Stage, part: Part) {
    join_all(stage.stack.of(part)[1..].iter().map(Replica::start)).await;
    if part == Part::Gateway {
        stage.ground().use_gateways((0..MOST).collect());
    }
}

async fn shrink(stage: &Stage, part: Part) {
    let notice = async {
        if part == Part::Gateway {
            tokio::time::sleep(NOTICED).await;
            stage.ground().use_gateways(vec![0]);
        }
    };
    tokio::join!(join_all(stage.stack.of(part)[1..].iter().map(Replica::stop)), notice);
}

/// Requests that each replica has answered since it started.
async fn served(stage: &Stage, part: Part) -> Vec<f64> {
    let count = async |replica: &Replica| {
        let metrics = Metrics::of(replica).await;
        match part {
            Part::Gateway => metrics.total("http_server_request_duration_seconds_count", &[]),
            _ => metrics.total("rpc_server_call_duration_seconds_count", &[]),
        }
    };
    join_all(stage.stack.of(part).iter().map(count)).await
}

/// What each has of the whole, and what of that is too much or too little.
fn evenness(counts: &[f64]) -> (String, Option<String>) {
    let even = counts.iter().sum::<f64>() / counts.len() as f64;
    let shares: Vec<_> = counts.iter().map(|count| format!("{:.0}", 25.0 * count / even)).collect();
    let worst = counts.iter().map(|count| (count / even - 1.0).abs()).fold(0.0, f64::max);
    let note = format!("shares {} %", shares.join(", "));
    let is_even = even > 0.0 && worst <= UNEVEN;
    (note, (!is_even).then(|| format!("a share is {:.0} % off even", worst * 100.0)))
}
