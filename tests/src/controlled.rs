//! Servers that a test stops, kills, freezes and starts again while it goes on asking.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use local::output::Output;
use local::process::Signal;
use local::redis::Instance;
use local::server::{Running, Server};
use local::service::Service;

/// How long any server may take to start.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// One replica of a service.
pub type Replica = Controlled<Service>;

/// One Redis.
pub type Store = Controlled<Instance>;

/// A running server. Clones are handles of the same one; it is killed when the last of them is dropped.
pub struct Controlled<S: Server> {
    running: Arc<Mutex<Running<S>>>,
    name: String,
    output: Output,
}

impl<S: Server> Clone for Controlled<S> {
    fn clone(&self) -> Self {
        Self { running: self.running.clone(), name: self.name.clone(), output: self.output.clone() }
    }
}

impl<S: Server + 'static> Controlled<S> {
    pub fn new(running: Running<S>) -> Self {
        let (name, output) = (running.name().to_owned(), running.output().clone());
        Self { running: Arc::new(Mutex::new(running)), name, output }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has printed since its first start.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// The process, while there is one that was not stopped.
    pub fn process_id(&self) -> Option<u32> {
        let running = self.lock();
        running.process().filter(|process| process.status().is_none()).map(local::process::Process::id)
    }

    /// How it ended, when nobody has told it to.
    pub fn ended_by_itself(&self) -> Option<ExitStatus> {
        self.lock().process().and_then(local::process::Process::status)
    }

    /// Ends it as `kill -9` does.
    pub async fn kill(&self) {
        self.blocking(Running::kill).await;
    }

    /// Ends it in good order: SIGTERM, drain, exit. Panics when it has to be killed.
    pub async fn stop(&self) {
        let in_good_order = self.blocking(Running::stop).await;
        assert!(in_good_order, "{} had to be killed. It said:{}", self.name, self.output.tail(20));
    }

    /// Starts it again on the same port and data, and waits until it is ready.
    pub async fn start(&self) {
        let started = self.blocking(|running| running.start_again(START_LIMIT)).await;
        started.unwrap_or_else(|error| panic!("{} did not start again: {error:#}", self.name));
    }

    /// Waits until it says that it is ready.
    pub fn wait_ready(&self) -> anyhow::Result<()> {
        self.lock().wait_ready(START_LIMIT)
    }

    /// Stops it in good order and starts it again, as a deploy does.
    pub async fn restart(&self) {
        self.stop().await;
        self.start().await;
    }

    /// Sends a signal, and waits for nothing.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = self.lock().process() {
            process.signal(signal);
        }
    }

    /// Freezes it: connections stay open, nothing answers.
    pub async fn pause(&self) {
        self.blocking(|running| running.pause()).await;
    }

    /// Lets a frozen server go on.
    pub async fn resume(&self) {
        self.blocking(|running| running.resume()).await;
    }

    /// Asks or tells the server something that takes its time.
    pub async fn with<T: Send + 'static>(&self, work: impl FnOnce(&S) -> T + Send + 'static) -> T {
        self.blocking(|running| work(running)).await
    }

    /// The clients of a test go on while it waits for a server.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Running<S>) -> T + Send + 'static,
    ) -> T {
        let running = self.running.clone();
        let work = move || work(&mut running.lock().unwrap_or_else(PoisonError::into_inner));
        let outcome = tokio::task::spawn_blocking(work).await;
        outcome.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn lock(&self) -> MutexGuard<'_, Running<S>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replica {
    pub fn address(&self) -> SocketAddr {
        let address = self.lock().listen_address();
        address.unwrap_or_else(|error| panic!("{} has no socket: {error:#}", self.name))
    }

    pub fn admin_address(&self) -> SocketAddr {
        let address = self.lock().admin_address();
        address.unwrap_or_else(|error| panic!("{} has no admin socket: {error:#}", self.name))
    }
}

impl Store {
    pub fn url(&self) -> String {
        self.lock().url()
    }

    /// A connection of the test's own.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let connection = async { redis::Client::open(self.url())?.get_multiplexed_async_connection().await };
        connection.await.unwrap_or_else(|error| panic!("{} cannot be reached: {error}", self.name))
    }

    /// Removes every key.
    pub async fn flush(&self) {
        let outcome = redis::cmd("FLUSHALL").query_async::<()>(&mut self.connect().await).await;
        outcome.unwrap_or_else(|error| panic!("{} cannot be emptied: {error}", self.name));
    }
}
