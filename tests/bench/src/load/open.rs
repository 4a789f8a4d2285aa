//! The open loop: requests begin at a constant rate, as people come who do not wait for each other.
//!
//! A latency counts from the moment when the request was due, not when a connection was free for it, so that a server that stalls is
//! charged for all who would have come meanwhile (no coordinated omission).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::timer::Timer;
use super::{Client, Connection, Judgement, Tally, Window, exchange, join};

/// How long what was due may still take after the end, before it counts as never served.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Requests that are due from `start` on, one after the other.
struct Schedule {
    start: Instant,
    interval: Duration,
    count: u64,
    taken: AtomicU64,
    /// One permit for each request that is due.
    due: Semaphore,
}

impl Schedule {
    fn new(rate: f64, start: Instant, end: Instant) -> Self {
        let interval = Duration::from_secs_f64(1.0 / rate);
        let count = ((end - start).as_secs_f64() * rate) as u64;
        Self { start, interval, count, taken: AtomicU64::new(0), due: Semaphore::new(0) }
    }

    fn moment(&self, number: u64) -> Instant {
        self.start + Duration::from_nanos(self.interval.as_nanos() as u64 * number)
    }

    /// The moment when the next request was due, as soon as that has come. None: there are no more.
    async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then(|| self.moment(number))
    }

    /// Hands the requests out as they become due; at the end a permit for everybody who still waits.
    async fn run(&self, waiting: usize) -> std::io::Result<()> {
        let mut timer = Timer::new()?;
        let mut given = 0;
        while given < self.count {
            timer.until(self.moment(given)).await?;
            let passed = Instant::now().saturating_duration_since(self.start);
            let due = (passed.as_nanos() / self.interval.as_nanos().max(1)) as u64 + 1;
            let due = due.clamp(given + 1, self.count);
            self.due.add_permits((due - given) as usize);
            given = due;
        }
        self.due.add_permits(waiting);
        Ok(())
    }
}

/// Asks `rate` times a second from now until the window ends. What is due in the window and is never answered counts as wrong.
pub async fn open_loop(
    address: SocketAddr,
    clients: Vec<Box<dyn Client>>,
    window: Window,
    rate: f64,
) -> Tally {
    let schedule = Arc::new(Schedule::new(rate, Instant::now(), window.end));
    let (count, give_up) = (clients.len(), window.end + DRAIN_LIMIT);
    let mut running = JoinSet::new();
    for mut client in clients {
        let schedule = schedule.clone();
        running.spawn(async move {
            let mut tally = Tally::default();
            let mut connection = Connection::new(address);
            while let Some(due) = schedule.next().await {
                if Instant::now() >= give_up {
                    tally.note_wrong("was due, and not even begun seconds after the end".to_owned());
                    continue;
                }
                let judgement = exchange(&mut connection, client.as_mut()).await;
                let stop = matches!(judgement, Judgement::Wrong(_));
                tally.note(judgement, due.elapsed(), due >= window.begin);
                if stop {
                    break;
                }
            }
            tally
        });
    }
    let scheduled = schedule.run(count).await;
    let mut tally = join(running).await;
    if let Err(error) = scheduled {
        tally.note_wrong(format!("the timer failed: {error}"));
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_become_due_one_after_the_other_and_then_no_more() {
        let start = Instant::now();
        let schedule = Schedule::new(10_000.0, start, start + Duration::from_millis(5));
        let (outcome, taken) = tokio::join!(schedule.run(1), async {
            let mut taken = Vec::new();
            while let Some(due) = schedule.next().await {
                assert!(Instant::now() >= due);
                taken.push((due - start).as_micros());
            }
            taken
        });
        outcome.unwrap();
        assert_eq!(taken, (0..50).map(|number| number * 100).collect::<Vec<_>>());
    }
}
