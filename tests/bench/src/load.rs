//! The load generator: one thread that speaks HTTP/1.1 over kept connections, as light as it can be, for it shares the
//! processor with what it measures.
//!
//! Every answer is judged. What a client asks and what it expects is `clients`; how requests follow each other is `closed` (the next
//! one when the last is answered) and `open` (at a constant rate, whatever the answers do).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::histogram::Histogram;

pub mod clients;
mod connection;
mod open;
mod timer;

pub use connection::Answer;
pub use open::open_loop;

use connection::Connection;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Wrong answers that are told.
const WRONG_TOLD: usize = 3;

/// What an answer was worth.
#[derive(Debug)]
pub enum Judgement {
    Right,
    /// Right as well, and not what is measured.
    Beside,
    /// Refused for want of capacity, as an answer should say it. Counts neither as served nor as wrong.
    Shed,
    /// Disqualifies the run.
    Wrong(String),
}

/// One client on one connection.
pub trait Client: Send + 'static {
    /// Appends the next request to `buffer`.
    fn ask(&mut self, buffer: &mut Vec<u8>);

    /// Judges the answer to it.
    fn judge(&mut self, answer: &Answer<'_>) -> Judgement;
}

/// When a load is counted: what ends before is warm-up, what ends after is cut off. What is on its way at either end evens out.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub begin: Instant,
    pub end: Instant,
}

impl Window {
    pub fn after(warm_up: Duration, duration: Duration) -> Self {
        let begin = Instant::now() + warm_up;
        Self { begin, end: begin + duration }
    }
}

/// What came of a load.
#[derive(Default, Clone)]
pub struct Tally {
    pub latencies: Histogram,
    /// All of them, within the window and without.
    pub right: u64,
    /// Within the window.
    pub shed: u64,
    /// All of them, the warm-up's too.
    pub wrong: u64,
    pub wrong_told: Vec<String>,
}

impl Tally {
    fn note(&mut self, judgement: Judgement, latency: Duration, counted: bool) {
        self.right += u64::from(matches!(judgement, Judgement::Right | Judgement::Beside));
        match judgement {
            Judgement::Right if counted => self.latencies.record(latency.as_micros() as u64),
            Judgement::Shed if counted => self.shed += 1,
            Judgement::Right | Judgement::Beside | Judgement::Shed => {}
            Judgement::Wrong(why) => self.note_wrong(why),
        }
    }

    fn note_wrong(&mut self, why: String) {
        self.wrong += 1;
        if self.wrong_told.len() < WRONG_TOLD {
            self.wrong_told.push(why);
        }
    }

    pub fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies);
        self.right += other.right;
        self.shed += other.shed;
        self.wrong += other.wrong;
        let room = WRONG_TOLD.saturating_sub(self.wrong_told.len());
        self.wrong_told.extend(other.wrong_told.into_iter().take(room));
    }
}

/// Each client asks again as soon as it has its answer.
pub async fn closed_loop(address: SocketAddr, clients: Vec<Box<dyn Client>>, window: Window) -> Tally {
    let mut running = tokio::task::JoinSet::new();
    for mut client in clients {
        running.spawn(async move {
            let mut tally = Tally::default();
            let mut connection = Connection::new(address);
            while Instant::now() < window.end {
                let began = Instant::now();
                let judgement = exchange(&mut connection, client.as_mut()).await;
                let ended = Instant::now();
                let stop = matches!(judgement, Judgement::Wrong(_));
                tally.note(judgement, ended - began, ended >= window.begin && ended <= window.end);
                if stop {
                    break;
                }
            }
            tally
        });
    }
    join(running).await
}

/// One request on a connection of its own: the status and the body.
pub async fn once(address: SocketAddr, request: Vec<u8>) -> anyhow::Result<(u16, String)> {
    struct Once(Vec<u8>, Option<(u16, String)>);
    impl Client for Once {
        fn ask(&mut self, buffer: &mut Vec<u8>) {
            buffer.append(&mut self.0);
        }

        fn judge(&mut self, answer: &Answer<'_>) -> Judgement {
            self.1 = Some((answer.status, String::from_utf8_lossy(answer.body).into_owned()));
            Judgement::Right
        }
    }
    let mut client = Once(request, None);
    let judgement = exchange(&mut Connection::new(address), &mut client).await;
    client.1.ok_or_else(|| anyhow::anyhow!("{judgement:?}"))
}

/// One request and its answer, within the limit.
async fn exchange(connection: &mut Connection, client: &mut dyn Client) -> Judgement {
    match tokio::time::timeout(ANSWER_LIMIT, connection.exchange(client)).await {
        Ok(Ok(judgement)) => judgement,
        Ok(Err(error)) => Judgement::Wrong(format!("no answer: {error}")),
        Err(_) => Judgement::Wrong(format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
    }
}

async fn join(mut running: tokio::task::JoinSet<Tally>) -> Tally {
    let mut tally = Tally::default();
    while let Some(outcome) = running.join_next().await {
        match outcome {
            Ok(one) => tally.add(one),
            Err(error) => tally.note_wrong(error.to_string()),
        }
    }
    tally
}
