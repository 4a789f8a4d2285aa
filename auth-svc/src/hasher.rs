//! argon2id on threads of its own: bounded in memory, in queue and in time.
//!
//! Each thread owns the 19 MiB that a hash works in and uses them again and again. What does not fit into the queue, or would wait
//! too long in it, is refused at once and costs nothing; so is what has waited too long all the same.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use chassis::trace::{Kind, Span};
use metrics::{Counter, Gauge, Histogram};
use subtle::ConstantTimeEq as _;
use tokio::sync::oneshot;
use tokio::time::timeout;
use zxcvbn::matching::patterns::MatchPattern;

use crate::config::PasswordArgs;
use crate::password::Password;
use crate::pepper::{Pepper, Peppers};

mod courtesy;
mod pace;
mod phc;
mod priority;

use courtesy::Courtesy;
use pace::Pace;
use phc::Phc;

/// OWASP: m=19456 KiB, t=2, p=1.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// Of this much a hash takes a fiftieth on a machine that has time for it.
const COMPUTING: Duration = Duration::from_secs(1);

/// Size and patience of the pool.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub threads: u16,
    /// Jobs that wait at most.
    pub queue: u16,
    /// How long a job may wait.
    pub deadline: Duration,
    /// How much hashing yields at most, 0 to 19 as in nice(1).
    pub niceness: u8,
}

impl From<&PasswordArgs> for Limits {
    fn from(args: &PasswordArgs) -> Self {
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
    /// The password is one that everybody tries first.
    #[error("the password is a common one")]
    Common,
    #[error("hashing failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The outcome of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub matches: bool,
    /// The hash was made with other parameters or another pepper than new ones: time to make it again.
    pub outdated: bool,
}

/// The pool. Its threads end when the last handle is dropped.
#[derive(Clone)]
pub struct Hasher {
    queue: SyncSender<Job>,
    places: u32,
    deadline: Duration,
    pace: Arc<Pace>,
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
    /// With what the password must not be, such as the username.
    HashNew(String, oneshot::Sender<Result<String, HashError>>),
    Hash(oneshot::Sender<Result<String, HashError>>),
    Verify(Arc<str>, oneshot::Sender<Result<Verdict, HashError>>),
}

impl Task {
    /// Nobody waits for the outcome any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::HashNew(_, reply) | Self::Hash(reply) => reply.is_closed(),
            Self::Verify(_, reply) => reply.is_closed(),
        }
    }
}

impl Hasher {
    /// Starts the threads.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(limits: Limits, peppers: Peppers) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(limits.queue.into());
        let jobs = Arc::new(Mutex::new(jobs));
        let pace = Arc::new(Pace::new(limits.threads));
        let courtesy = Arc::new(Courtesy::new(limits.niceness));
        let waiting = metrics::gauge!("hash_pool_waiting");
        for index in 0..limits.threads {
            let worker = Worker {
                jobs: jobs.clone(),
                pace: pace.clone(),
                courtesy: courtesy.clone(),
                yielding: 0,
                left_over: None,
                peppers: peppers.clone(),
                memory: vec![Block::default(); params().block_count()],
                busy: metrics::gauge!("hash_pool_busy"),
                waiting: waiting.clone(),
                duration: metrics::histogram!("hash_pool_duration_seconds"),
            };
            std::thread::Builder::new().name(format!("hasher-{index}")).spawn(move || worker.run())?;
        }
        metrics::gauge!("hash_pool_threads").set(f64::from(limits.threads));
        let key_id = peppers.current().map(|pepper| pepper.key_id().to_owned());
        let decoy =
            Phc { params: params(), key_id, salt: vec![0; SALT_BYTES], output: vec![0; OUTPUT_BYTES] };
        let shed = metrics::counter!("hash_pool_shed_total");
        let decoy = decoy.to_string().into();
        let places = limits.queue.into();
        Ok(Self { queue, places, deadline: limits.deadline, pace, decoy, shed, waiting })
    }

    /// Hashes a password that somebody wants to have from now on, in PHC string format.
    ///
    /// # Errors
    /// `Common` for one that everybody tries first, `username` included. Looking that up takes long enough to belong here.
    pub async fn hash_new(&self, password: Password, username: &str) -> Result<String, HashError> {
        let _span = Span::begin(Kind::Internal, "password.hash");
        let (reply, outcome) = oneshot::channel();
        self.submit(password, Task::HashNew(username.to_owned(), reply))?;
        self.wait_for(outcome).await
    }

    /// Hashes a password that is in use already, in PHC string format.
    pub async fn hash(&self, password: Password) -> Result<String, HashError> {
        let _span = Span::begin(Kind::Internal, "password.hash");
        let (reply, outcome) = oneshot::channel();
        self.submit(password, Task::Hash(reply))?;
        self.wait_for(outcome).await
    }

    /// Whether a password is the one that was hashed.
    pub async fn verify(&self, password: Password, hash: &str) -> Result<Verdict, HashError> {
        let _span = Span::begin(Kind::Internal, "password.verify");
        let (reply, outcome) = oneshot::channel();
        self.submit(password, Task::Verify(hash.into(), reply))?;
        self.wait_for(outcome).await
    }

    /// Takes as long as a verification, and never succeeds: for users that do not exist.
    pub async fn pretend(&self, password: Password) -> Result<(), HashError> {
        self.verify(password, &self.decoy).await.map(|_| ())
    }

    /// Whether there is room for a password now, for those who have other work to do before they bring it.
    ///
    /// # Errors
    /// `Capacity`.
    pub fn check_room(&self) -> Result<(), HashError> {
        // With some room for a pace that changes: to be refused late is worse than to be refused.
        if self.pace.waiting() >= self.places || self.pace.wait() > self.deadline * 3 / 4 {
            return Err(self.refuse());
        }
        Ok(())
    }

    fn submit(&self, password: Password, task: Task) -> Result<(), HashError> {
        self.check_room()?;
        let job = Job { password, task, expires: Instant::now() + self.deadline };
        self.pace.queued();
        let Err(refused) = self.queue.try_send(job) else {
            self.waiting.increment(1);
            return Ok(());
        };
        self.pace.dequeued();
        match refused {
            TrySendError::Full(_) => Err(self.refuse()),
            TrySendError::Disconnected(_) => Err(HashError::Failed("the hashing threads have ended".into())),
        }
    }

    /// Not for longer than the gateway does: what is told to come again in time does no harm, and a hash that is late does nothing.
    async fn wait_for<T>(&self, outcome: oneshot::Receiver<Result<T, HashError>>) -> Result<T, HashError> {
        match timeout(self.deadline + COMPUTING, outcome).await {
            Ok(outcome) => outcome.unwrap_or(Err(HashError::Capacity)),
            Err(_) => Err(self.refuse()),
        }
    }

    fn refuse(&self) -> HashError {
        self.shed.increment(1);
        HashError::Capacity
    }
}

struct Worker {
    jobs: Arc<Mutex<Receiver<Job>>>,
    pace: Arc<Pace>,
    courtesy: Arc<Courtesy>,
    /// Niceness of the thread.
    yielding: u8,
    /// Of the thread before.
    left_over: Option<Job>,
    peppers: Peppers,
    memory: Vec<Block>,
    busy: Gauge,
    waiting: Gauge,
    duration: Histogram,
}

impl Worker {
    /// Works until the pool ends, on one thread after another: one that is to yield less than it did has to be a new one.
    fn run(mut self) {
        while self.run_on_a_thread().is_continue() {}
    }

    fn run_on_a_thread(&mut self) -> ControlFlow<()> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("hashing".to_owned());
            match thread.spawn_scoped(scope, || self.work()) {
                // After a panic too another takes over.
                Ok(thread) => thread.join().unwrap_or(ControlFlow::Continue(())),
                Err(error) => {
                    tracing::warn!(%error, "cannot start a hashing thread");
                    std::thread::sleep(Duration::from_millis(100));
                    ControlFlow::Continue(())
                }
            }
        })
    }

    /// Works until the pool ends, or `Continue`s when it has a job for which this thread yields too much.
    fn work(&mut self) -> ControlFlow<()> {
        priority::lower(0);
        self.yielding = 0;
        while let Some(job) = self.next() {
            let niceness = self.courtesy.niceness(self.pace.waiting());
            if niceness < self.yielding {
                self.left_over = Some(job);
                return ControlFlow::Continue(());
            }
            if niceness > self.yielding {
                priority::lower(niceness);
                self.yielding = niceness;
            }
            self.carry_out(job);
        }
        ControlFlow::Break(())
    }

    fn next(&mut self) -> Option<Job> {
        if let Some(job) = self.left_over.take() {
            return Some(job);
        }
        let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()?;
        self.waiting.decrement(1);
        self.pace.dequeued();
        Some(job)
    }

    fn carry_out(&mut self, job: Job) {
        if job.task.is_abandoned() {
            return;
        }
        let in_time = if Instant::now() < job.expires { Ok(()) } else { Err(HashError::Capacity) };
        self.busy.increment(1);
        // A caller that has gone in the meantime is no error.
        match job.task {
            Task::HashNew(username, reply) => {
                let checked = in_time.and_then(|()| refuse_common(&job.password, &username));
                let _ = reply.send(checked.and_then(|()| self.hash(&job.password)));
            }
            Task::Hash(reply) => {
                let _ = reply.send(in_time.and_then(|()| self.hash(&job.password)));
            }
            Task::Verify(hash, reply) => {
                let _ = reply.send(in_time.and_then(|()| self.verify(&job.password, &hash)));
            }
        }
        self.busy.decrement(1);
    }

    fn hash(&mut self, password: &Password) -> Result<String, HashError> {
        let mut salt = vec![0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| HashError::Failed(error.into()))?;
        let key_id = self.peppers.current().map(|pepper| pepper.key_id().to_owned());
        let mut hash = Phc { params: params(), key_id, salt, output: vec![0; OUTPUT_BYTES] };
        hash.output = self.compute(password, &hash)?;
        Ok(hash.to_string())
    }

    fn verify(&mut self, password: &Password, hash: &str) -> Result<Verdict, HashError> {
        let hash: Phc = hash.parse().map_err(|error: phc::Malformed| HashError::Failed(error.into()))?;
        let output = self.compute(password, &hash)?;
        let current = self.peppers.current().map(Pepper::key_id);
        let outdated = hash.params != params() || hash.key_id.as_deref() != current;
        Ok(Verdict { matches: output.ct_eq(&hash.output).into(), outdated })
    }

    fn compute(&mut self, password: &Password, like: &Phc) -> Result<Vec<u8>, HashError> {
        let blocks = like.params.block_count();
        if self.memory.len() < blocks {
            self.memory.resize(blocks, Block::default());
        }
        let pepper = match &like.key_id {
            None => None,
            Some(key_id) => {
                let unknown =
                    || HashError::Failed("a stored hash needs a pepper that is not configured".into());
                Some(self.peppers.by_key_id(key_id).ok_or_else(unknown)?)
            }
        };
        let secret = pepper.map_or(&[][..], Pepper::expose);
        let argon2 =
            Argon2::new_with_secret(secret, Algorithm::Argon2id, Version::V0x13, like.params.clone())
                .map_err(|error| HashError::Failed(error.to_string().into()))?;
        let mut output = vec![0; like.output.len()];
        let (started, used) = (Instant::now(), priority::cpu_time());
        argon2
            .hash_password_into_with_memory(
                password.expose(),
                &like.salt,
                &mut output,
                &mut self.memory[..blocks],
            )
            .map_err(|error| HashError::Failed(error.to_string().into()))?;
        let took = started.elapsed();
        if let Some((before, after)) = used.zip(priority::cpu_time()) {
            self.courtesy.took(self.yielding, took, after.saturating_sub(before));
        }
        self.duration.record(took);
        self.pace.took(took);
        Ok(output)
    }
}

/// A password is refused when it is, as a whole, one word of the lists of what people choose.
fn refuse_common(password: &Password, username: &str) -> Result<(), HashError> {
    let text = String::from_utf8_lossy(password.expose());
    let estimate = zxcvbn::zxcvbn(&text, &[username]);
    match estimate.sequence() {
        [whole] if matches!(whole.pattern, MatchPattern::Dictionary(_)) => Err(HashError::Common),
        _ => Ok(()),
    }
}

/// The parameters of new hashes.
fn params() -> Params {
    #[expect(clippy::expect_used, reason = "constants, within argon2's bounds")]
    Params::new(MEMORY_KIB, PASSES, 1, Some(OUTPUT_BYTES)).expect("valid parameters")
}

#[cfg(test)]
mod tests;
