//! Many requests: all at once, or a steady load of reads that goes on while a test takes replicas away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::api::{Answer, Api, Call};
use crate::wait;

/// Failures that are told when there are many.
const FAILURES_TOLD: usize = 5;

/// Sends all calls at once and waits for all answers, which come in the order of the calls.
pub async fn at_once(calls: impl IntoIterator<Item = Call>) -> Vec<Answer> {
    join_all(calls.into_iter().map(IntoFuture::into_future)).await
}

/// How many of the answers have each status.
pub fn by_status(answers: &[Answer]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.status).or_default() += 1;
    }
    counts
}

/// Readers that run until they are stopped.
pub struct Load {
    readers: JoinSet<Vec<String>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Load {
    /// Starts `count` readers, each of which asks one gateway after the other. A read fails when it is not answered, or with
    /// another status than 200.
    pub fn start(count: usize, apis: &[Api], read: impl Fn(&Api) -> Call + Clone + Send + 'static) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut readers = JoinSet::new();
        for first in 0..count {
            let (apis, read, stop, answered) = (apis.to_vec(), read.clone(), stop.clone(), answered.clone());
            readers.spawn(async move {
                let mut failures = Vec::new();
                for api in apis.iter().cycle().skip(first) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match read(api).attempt().await {
                        Ok(answer) if answer.status == 200 => {}
                        Ok(answer) => {
                            failures.push(format!("{}: {}", answer.request, answer.text()));
                        }
                        Err(error) => failures.push(format!("{error:?}")),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                failures
            });
        }
        Self { readers, stop, answered }
    }

    /// Reads that have ended so far.
    pub fn reads(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until `count` more reads have ended.
    pub async fn go_on_for(&self, count: u64) {
        let goal = self.reads() + count;
        wait::until_true("the load has gone on", async || self.reads() >= goal).await;
    }

    /// Stops the readers. Panics when any of their reads has failed.
    pub async fn end(self) {
        let reads = self.reads();
        self.stop.store(true, Ordering::Relaxed);
        let failures: Vec<_> = self.readers.join_all().await.into_iter().flatten().collect();
        let told = &failures[..failures.len().min(FAILURES_TOLD)];
        assert!(failures.is_empty(), "{} of {reads} reads failed, such as {told:#?}", failures.len());
    }
}
