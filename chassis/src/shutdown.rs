//! How a process ends: one value, handed down to everything that has to know.
//!
//! First it drains (readiness 503, health NOT_SERVING, go-away to call streams) while it still serves; then it stops
//! (listeners close, background work ends, requests in flight finish); at the deadline it ends all the same.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The stages of a shutdown, and the tasks that it waits for.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    stopping: CancellationToken,
    tracker: TaskTracker,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process is asked to end. It still serves.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when listeners close and background work ends.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// The tasks that the end waits for, up to the deadline.
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Runs a task that the shutdown waits for. A task without an end of its own has to watch `stopping`.
    #[expect(clippy::disallowed_methods, reason = "this is where tasks become tracked")]
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(task))
    }

    /// Runs a task that ends, wherever it is, when the process stops.
    pub fn spawn_background<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping.clone();
        self.spawn(async move {
            stopping.run_until_cancelled(task).await;
        });
    }

    /// Begins the shutdown: drains at once, stops after `delay`. A second call changes nothing.
    pub async fn begin(&self, delay: Duration) {
        self.draining.cancel();
        tokio::time::sleep(delay).await;
        self.stopping.cancel();
    }

    /// Waits for SIGTERM or SIGINT, then begins the shutdown. A second signal skips the delay.
    pub async fn on_signal(self, delay: Duration) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        tracing::info!(delay_ms = delay.as_millis() as u64, "draining");
        tokio::select! {
            () = self.begin(delay) => {}
            () = next() => self.stopping.cancel(),
        }
        Ok(())
    }

    /// Waits until every tracked task has ended; tells whether they did within the time.
    pub async fn finished(&self, within: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(within, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_drains_before_it_stops() {
        let shutdown = Shutdown::new();
        let begun = shutdown.spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.begin(Duration::from_millis(50)).await }
        });
        shutdown.draining().cancelled().await;
        assert!(!shutdown.stopping().is_cancelled());
        shutdown.stopping().cancelled().await;
        begun.await.unwrap();
    }

    #[tokio::test]
    async fn the_end_waits_for_tracked_tasks_and_no_longer_than_its_deadline() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        assert!(!shutdown.finished(Duration::from_millis(20)).await);

        let shutdown = Shutdown::new();
        shutdown.spawn_background(std::future::pending());
        shutdown.begin(Duration::ZERO).await;
        assert!(shutdown.finished(Duration::from_secs(10)).await);
    }
}
