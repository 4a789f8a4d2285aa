//! argon2id on threads of its own: bounded in memory, in queue and in time.
//!
//! Each thread owns the 19 MiB that a hash works in and uses them again and again. What does not fit into the queue, or has waited
//! too long, is refused and costs nothing.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use metrics::{Counter, Gauge, Histogram};
use subtle::ConstantTimeEq as _;
use tokio::sync::oneshot;

use crate::config::PasswordArgs;
use crate::password::Password;

mod phc;
mod priority;

use phc::Phc;

/// OWASP: m=19456 KiB, t=2, p=1.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// Size and patience of the pool.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub threads: u16,
    /// Jobs that wait at most.
    pub queue: u16,
    /// How long a job may wait.
    pub deadline: Duration,
    /// 0 to 19, as in nice(1).
    pub niceness: u8,
}

impl From<PasswordArgs> for Limits {
    fn from(args: PasswordArgs) -> Self {
        Self {
            threads: args.hash_threads,
            queue: args.hash_queue,
            deadline: Duration::from_millis(args.hash_deadline_ms),
            niceness: args.hash_niceness,
        }
    }
}

/// Why no hash was computed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error("the hashing queue is full or too slow")]
    Capacity,
    #[error("hashing failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The pool. Its threads end when the last handle is dropped.
#[derive(Clone)]
pub struct Hasher {
    queue: SyncSender<Job>,
    deadline: Duration,
    decoy: Arc<str>,
    shed: Counter,
    waiting: Gauge,
}

struct Job {
    password: Password,
    task: Task,
    expires: Instant,
}

enum Task {
    Hash(oneshot::Sender<Result<String, HashError>>),
    Verify(Arc<str>, oneshot::Sender<Result<bool, HashError>>),
}

impl Task {
    /// Nobody waits for the outcome any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Hash(reply) => reply.is_closed(),
            Self::Verify(_, reply) => reply.is_closed(),
        }
    }
}

impl Hasher {
    /// Starts the threads.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(limits: Limits) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(limits.queue.into());
        let jobs = Arc::new(Mutex::new(jobs));
        let waiting = metrics::gauge!("hash_pool_waiting");
        for index in 0..limits.threads {
            let worker = Worker {
                jobs: jobs.clone(),
                memory: vec![Block::default(); params().block_count()],
                busy: metrics::gauge!("hash_pool_busy"),
                waiting: waiting.clone(),
                duration: metrics::histogram!("hash_pool_duration_seconds"),
            };
            std::thread::Builder::new().name(format!("hasher-{index}")).spawn(move || {
                priority::lower(limits.niceness);
                worker.run();
            })?;
        }
        metrics::gauge!("hash_pool_threads").set(f64::from(limits.threads));
        let decoy =
            Phc { params: params(), salt: vec![0; SALT_BYTES], output: vec![0; OUTPUT_BYTES] }.to_string();
        let shed = metrics::counter!("hash_pool_shed_total");
        Ok(Self { queue, deadline: limits.deadline, decoy: decoy.into(), shed, waiting })
    }

    /// Hashes a new password, in PHC string format.
    pub async fn hash(&self, password: Password) -> Result<String, HashError> {
        let (reply, outcome) = oneshot::channel();
        self.submit(password, Task::Hash(reply))?;
        outcome.await.unwrap_or(Err(HashError::Capacity))
    }

    /// Whether a password is the one that was hashed.
    pub async fn verify(&self, password: Password, hash: &str) -> Result<bool, HashError> {
        let (reply, outcome) = oneshot::channel();
        self.submit(password, Task::Verify(hash.into(), reply))?;
        outcome.await.unwrap_or(Err(HashError::Capacity))
    }

    /// Takes as long as a verification, and never succeeds: for users that do not exist.
    pub async fn pretend(&self, password: Password) -> Result<(), HashError> {
        self.verify(password, &self.decoy).await.map(|_| ())
    }

    fn submit(&self, password: Password, task: Task) -> Result<(), HashError> {
        let job = Job { password, task, expires: Instant::now() + self.deadline };
        match self.queue.try_send(job) {
            Ok(()) => {
                self.waiting.increment(1);
                Ok(())
            }
            Err(TrySendError::Full(_)) => {
                self.shed.increment(1);
                Err(HashError::Capacity)
            }
            Err(TrySendError::Disconnected(_)) => {
                Err(HashError::Failed("the hashing threads have ended".into()))
            }
        }
    }
}

struct Worker {
    jobs: Arc<Mutex<Receiver<Job>>>,
    memory: Vec<Block>,
    busy: Gauge,
    waiting: Gauge,
    duration: Histogram,
}

impl Worker {
    fn run(mut self) {
        while let Some(job) = self.next() {
            self.waiting.decrement(1);
            if job.task.is_abandoned() {
                continue;
            }
            let expired = Instant::now() >= job.expires;
            self.busy.increment(1);
            // A caller that has gone in the meantime is no error.
            match job.task {
                Task::Hash(reply) => {
                    let outcome = if expired { Err(HashError::Capacity) } else { self.hash(&job.password) };
                    let _ = reply.send(outcome);
                }
                Task::Verify(hash, reply) => {
                    let outcome =
                        if expired { Err(HashError::Capacity) } else { self.verify(&job.password, &hash) };
                    let _ = reply.send(outcome);
                }
            }
            self.busy.decrement(1);
        }
    }

    fn next(&self) -> Option<Job> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }

    fn hash(&mut self, password: &Password) -> Result<String, HashError> {
        let mut salt = vec![0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| HashError::Failed(error.into()))?;
        let mut hash = Phc { params: params(), salt, output: vec![0; OUTPUT_BYTES] };
        hash.output = self.compute(password, &hash)?;
        Ok(hash.to_string())
    }

    fn verify(&mut self, password: &Password, hash: &str) -> Result<bool, HashError> {
        let hash: Phc = hash.parse().map_err(|error: phc::Malformed| HashError::Failed(error.into()))?;
        let output = self.compute(password, &hash)?;
        Ok(output.ct_eq(&hash.output).into())
    }

    fn compute(&mut self, password: &Password, like: &Phc) -> Result<Vec<u8>, HashError> {
        let started = Instant::now();
        let blocks = like.params.block_count();
        if self.memory.len() < blocks {
            self.memory.resize(blocks, Block::default());
        }
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, like.params.clone());
        let mut output = vec![0; like.output.len()];
        argon2
            .hash_password_into_with_memory(
                password.expose(),
                &like.salt,
                &mut output,
                &mut self.memory[..blocks],
            )
            .map_err(|error| HashError::Failed(error.to_string().into()))?;
        self.duration.record(started.elapsed());
        Ok(output)
    }
}

/// The parameters of new hashes.
fn params() -> Params {
    #[expect(clippy::expect_used, reason = "constants, within argon2's bounds")]
    Params::new(MEMORY_KIB, PASSES, 1, Some(OUTPUT_BYTES)).expect("valid parameters")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { threads: 1, queue: 2, deadline: Duration::from_secs(60), niceness: 0 };

    fn password(text: &str) -> Password {
        Password::parse_given(text).unwrap()
    }

    #[tokio::test]
    async fn a_hash_verifies_its_password_alone_and_names_its_parameters() {
        let hasher = Hasher::start(LIMITS).unwrap();
        let hash = hasher.hash(password("correct horse battery")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify(password("correct horse battery"), &hash).await.unwrap());
        assert!(!hasher.verify(password("correct horse batterx"), &hash).await.unwrap());
        assert_ne!(hash, hasher.hash(password("correct horse battery")).await.unwrap(), "the salt is new");
    }

    #[tokio::test]
    async fn what_does_not_fit_the_queue_is_refused_at_once() {
        let hasher = Hasher::start(LIMITS).unwrap();
        let attempts: Vec<_> = (0..20).map(|_| hasher.pretend(password("x"))).collect();
        let outcomes = futures_util::future::join_all(attempts).await;
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(HashError::Capacity))).count();
        // One in the thread's hands and two in the queue are let in, or one more where the thread was quick.
        assert!((15..=18).contains(&refused), "{refused}");
    }

    #[tokio::test]
    async fn what_waited_too_long_is_refused_without_a_hash() {
        let hasher = Hasher::start(Limits { deadline: Duration::ZERO, ..LIMITS }).unwrap();
        assert!(matches!(hasher.pretend(password("x")).await, Err(HashError::Capacity)));
    }
}
