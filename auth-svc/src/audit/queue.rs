//! Entries on their way into the trail: one queue and one writer a process, so that many entries are one transaction.
//!
//! While the database is away they stay here, in order, up to a bound. An attempt that got no answer is made again; an entry
//! that was written by the first one is recognised by its salt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chassis::postgres::{self, Postgres};
use chassis::shutdown::Shutdown;
use chassis::status::cause_chain;
use metrics::{Counter, Gauge};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::Entry;

/// Entries that wait at most, some 300 bytes each: an hour of two a second.
const CAPACITY: usize = 8192;
/// Entries in one transaction at most.
const BATCH: usize = 256;
/// How long whoever adds an entry waits for it to be written.
const PATIENCE: Duration = Duration::from_millis(500);
/// How soon the writer tries again, give or take a half; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Attempts that may fail once the process is ending.
const LAST_ATTEMPTS: u32 = 3;

/// The way in. The writer ends when the last of these is gone.
#[derive(Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Waiting>,
    /// The last attempt failed: nobody waits for the next one.
    stuck: Arc<AtomicBool>,
    dropped: Counter,
}

struct Waiting {
    entry: Entry,
    happened: Instant,
    salt: Uuid,
    written: Option<oneshot::Sender<()>>,
}

impl Queue {
    pub fn start(postgres: Postgres, shutdown: &Shutdown) -> Self {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let stuck = Arc::<AtomicBool>::default();
        let dropped = metrics::counter!("audit_entries_dropped_total");
        let writer = Writer {
            postgres,
            receiver,
            stuck: stuck.clone(),
            waiting: metrics::gauge!("audit_entries_waiting"),
            dropped: dropped.clone(),
            shutdown: shutdown.clone(),
        };
        shutdown.spawn(writer.run());
        Self { sender, stuck, dropped }
    }

    pub fn add(&self, entry: Entry) {
        self.send(entry, None);
    }

    pub async fn add_and_wait(&self, entry: Entry) {
        if self.stuck.load(Ordering::Relaxed) {
            return self.add(entry);
        }
        let (written, is_written) = oneshot::channel();
        self.send(entry, Some(written));
        // Written, given up for now, or slow: whichever it is, the entry is on its way.
        let _ = tokio::time::timeout(PATIENCE, is_written).await;
    }

    fn send(&self, entry: Entry, written: Option<oneshot::Sender<()>>) {
        let waiting = Waiting { entry, happened: Instant::now(), salt: Uuid::new_v4(), written };
        if self.sender.try_send(waiting).is_err() {
            self.dropped.increment(1);
        }
    }
}

struct Writer {
    postgres: Postgres,
    receiver: mpsc::Receiver<Waiting>,
    stuck: Arc<AtomicBool>,
    waiting: Gauge,
    dropped: Counter,
    shutdown: Shutdown,
}

impl Writer {
    async fn run(mut self) {
        let mut pending = Vec::with_capacity(BATCH);
        let mut last_attempts = LAST_ATTEMPTS;
        while self.receiver.recv_many(&mut pending, BATCH).await > 0 {
            let (mut pause, mut size) = (FIRST_PAUSE, BATCH);
            while !pending.is_empty() {
                size = size.min(pending.len());
                match self.write(&pending[..size]).await {
                    Ok(()) => {
                        self.stuck.store(false, Ordering::Relaxed);
                        pending.drain(..size).filter_map(|waiting| waiting.written).for_each(|written| {
                            // Whoever waited may have lost patience.
                            let _ = written.send(());
                        });
                    }
                    Err(error) if postgres::is_away(&error) => {
                        self.stuck.store(true, Ordering::Relaxed);
                        // Nobody is to wait for what may take long.
                        for waiting in &mut pending {
                            waiting.written = None;
                        }
                        if self.shutdown.stopping().is_cancelled() {
                            last_attempts -= 1;
                            if last_attempts == 0 {
                                return self.give_up(pending.len());
                            }
                        }
                        tracing::debug!(cause = cause_chain(&error), "audit entries wait: {error}");
                        self.waiting.set((pending.len() + self.receiver.len()) as f64);
                        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                    // One of them is refused; the others do not have to share its fate.
                    Err(_) if size > 1 => size = 1,
                    Err(error) => {
                        self.dropped.increment(1);
                        let event = pending.remove(0).entry.event.name();
                        tracing::error!(event, cause = cause_chain(&error), "audit entry refused: {error}");
                    }
                }
            }
            self.waiting.set(self.receiver.len() as f64);
        }
    }

    /// All of them, in one transaction. Those that an earlier attempt has written are passed over.
    async fn write(&self, batch: &[Waiting]) -> sqlx::Result<()> {
        let entries = || batch.iter().map(|waiting| &waiting.entry);
        let events: Vec<String> = entries().map(|entry| entry.event.name().to_owned()).collect();
        let users: Vec<Option<Uuid>> = entries().map(|entry| entry.user_id).collect();
        let sessions: Vec<Option<Vec<u8>>> =
            entries().map(|entry| entry.session.map(|id| id.0.to_vec())).collect();
        let addresses: Vec<String> = entries().map(|entry| entry.client.address.clone()).collect();
        let user_agents: Vec<String> = entries().map(|entry| entry.client.user_agent.clone()).collect();
        let ages: Vec<f64> = batch.iter().map(|waiting| waiting.happened.elapsed().as_secs_f64()).collect();
        let salts: Vec<Vec<u8>> = batch.iter().map(|waiting| waiting.salt.as_bytes().to_vec()).collect();
        let written = self.postgres.run("audit.write", async |connection| {
            sqlx::query!(
                "SELECT audit_append(event, user_id, session_id, address, user_agent, make_interval(secs => age), salt)
                 FROM (
                     SELECT * FROM unnest(
                         $1::text[], $2::uuid[], $3::bytea[], $4::text[], $5::text[], $6::float8[], $7::bytea[]
                     ) WITH ORDINALITY AS it (event, user_id, session_id, address, user_agent, age, salt, place)
                     ORDER BY place
                 ) AS noted",
                &events,
                &users as _,
                &sessions as _,
                &addresses,
                &user_agents,
                &ages,
                &salts
            )
            .fetch_all(connection)
            .await
        });
        written.await.map(drop)
    }

    fn give_up(&self, pending: usize) {
        let lost = pending + self.receiver.len();
        self.dropped.increment(lost as u64);
        tracing::error!(lost, "audit entries lost: the database is away and the process ends");
    }
}
