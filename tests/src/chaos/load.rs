//! A steady mixed load: readers, writers, and visitors who log in and out. Every answer is held against the [model](super::model),
//! and every request goes into the [journal](super::journal).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::journal::{Journal, Op, Outcome, Request};
use super::model::{Verdicts, Wrong};
use crate::api::{Answer, Api, Call};
use crate::person::Person;

mod reader;
mod visitor;
mod writer;

/// How many of each, and how long each of them pauses between two requests.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    pub readers: usize,
    pub writers: usize,
    /// Who read what the writers write.
    pub watchers: usize,
    pub visitors: usize,
    pub pause: Duration,
    /// A login costs as much as a hundred reads.
    pub visitor_pause: Duration,
}

impl Crowd {
    pub const USUAL: Self = Self {
        readers: 12,
        writers: 4,
        watchers: 4,
        visitors: 3,
        pause: Duration::from_millis(60),
        visitor_pause: Duration::from_millis(150),
    };
}

/// What all clients share: where the gateways are, and where to put what they saw.
#[derive(Clone)]
pub struct Ground {
    gateways: Arc<Vec<Api>>,
    in_use: Arc<Mutex<Vec<usize>>>,
    pub journal: Journal,
    pub verdicts: Verdicts,
    /// Sessions that were opened between these moments may be gone: with a store that was emptied, or that lost its last moments.
    losses: Arc<Mutex<Vec<Loss>>>,
    began: Instant,
    stop: Arc<AtomicBool>,
}

impl Ground {
    pub fn new(gateways: Vec<Api>) -> Self {
        let in_use = (0..gateways.len()).collect();
        Self {
            gateways: Arc::new(gateways),
            in_use: Arc::new(Mutex::new(in_use)),
            journal: Journal::default(),
            verdicts: Verdicts::default(),
            losses: Arc::default(),
            began: Instant::now(),
            stop: Arc::default(),
        }
    }

    /// From now on new requests go to these gateways alone, as when a load balancer is told of them.
    pub fn use_gateways(&self, which: Vec<usize>) {
        *self.in_use.lock().unwrap_or_else(PoisonError::into_inner) = which;
    }

    /// From now on sessions that were opened before may be gone.
    pub fn lose_sessions(&self) {
        self.lose_sessions_since(self.began, Duration::ZERO);
    }

    /// From now on sessions that were opened between that moment, or so long before it, and now may be gone.
    pub fn lose_sessions_since(&self, moment: Instant, before: Duration) {
        let loss = Loss { since: moment, before, until: Instant::now() };
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).push(loss);
    }

    /// Whether a session may be gone that nobody ended.
    fn may_be_lost(&self, session: &Session) -> bool {
        let losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.iter().any(|loss| session.asked <= loss.until && session.opened + loss.before >= loss.since)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn gateway(&self) -> usize {
        let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use[fastrand::usize(..in_use.len())]
    }

    /// Sends a request to some gateway. `None`: it failed, and nothing else is known of it.
    async fn ask(&self, op: Op, call: impl FnOnce(&Api) -> Call) -> Option<Answer> {
        let gateway = self.gateway();
        let began = Instant::now();
        let answer = call(&self.gateways[gateway]).attempt().await.ok();
        let ended = Instant::now();
        let outcome = match &answer {
            None => Outcome::Broken,
            Some(answer) if answer.status >= 500 => Outcome::Refused(answer.status),
            Some(_) => Outcome::Answered,
        };
        let code = match (&answer, outcome) {
            (Some(answer), Outcome::Refused(_)) => answer.problem_code(),
            _ => None,
        };
        self.journal.note(Request { op, gateway, began, ended, outcome, code });
        answer.filter(|_| outcome == Outcome::Answered)
    }

    fn wrong(&self, wrong: Wrong, answer: &Answer) {
        self.verdicts.note(wrong, format!("{}: {} {}", answer.request, answer.status, answer.text()));
    }
}

/// When sessions may have been opened that are gone.
struct Loss {
    since: Instant,
    before: Duration,
    until: Instant,
}

/// Somebody's session, and when it was asked for and granted.
#[derive(Debug, Clone)]
struct Session {
    token: String,
    asked: Instant,
    opened: Instant,
}

/// One client with a user of its own.
struct Client {
    ground: Ground,
    person: Person,
    /// `None`: there is none at the moment.
    session: Option<Session>,
}

impl Client {
    async fn settle(ground: &Ground, number: usize) -> Self {
        let api = &ground.gateways[number % ground.gateways.len()];
        let asked = Instant::now();
        let user = Person::signed_in(api).await;
        let session = Session { token: user.token, asked, opened: Instant::now() };
        Self { ground: ground.clone(), person: user.person, session: Some(session) }
    }

    /// The session; a new one when the old one is gone, and none when there is none to be had.
    async fn token(&mut self) -> Option<String> {
        if self.session.is_none() {
            self.session = self.log_in().await;
        }
        self.session.as_ref().map(|session| session.token.clone())
    }

    async fn log_in(&self) -> Option<Session> {
        let asked = Instant::now();
        let credentials = self.person.credentials();
        let answer = self.ground.ask(Op::Login, |api| api.post("/v1/login").json(&credentials)).await?;
        let token = (answer.status == 200).then(|| answer.json()["token"].as_str().map(str::to_owned));
        let Some(Some(token)) = token else {
            // The password is right.
            let wrong = if answer.status == 401 { Wrong::LoggedOut } else { Wrong::Unexpected };
            self.ground.wrong(wrong, &answer);
            return None;
        };
        Some(Session { token, asked, opened: Instant::now() })
    }

    /// Sends a request with the session. `None`: it failed, or the session is gone with all others.
    async fn ask(&mut self, op: Op, call: impl FnOnce(&Api) -> Call) -> Option<Answer> {
        let token = self.token().await?;
        let answer = self.ground.ask(op, |api| call(api).bearer(&token)).await?;
        if answer.status != 401 {
            return Some(answer);
        }
        let session = self.session.take();
        if session.is_some_and(|session| !self.ground.may_be_lost(&session)) {
            self.ground.wrong(Wrong::LoggedOut, &answer);
        }
        None
    }

    async fn pause(&self, length: Duration) {
        tokio::time::sleep(length.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// The clients at work.
pub struct Load {
    pub ground: Ground,
    clients: JoinSet<()>,
}

impl Load {
    /// Gives everybody an account and a session, and lets them begin.
    pub async fn start(gateways: Vec<Api>, crowd: Crowd) -> Self {
        let ground = Ground::new(gateways);
        let count = crowd.readers + crowd.writers + crowd.visitors;
        // A few at a time: the hash pool is small.
        let mut settled = Vec::with_capacity(count);
        for first in (0..count).step_by(4) {
            let some = (first..count.min(first + 4)).map(|number| Client::settle(&ground, number));
            settled.extend(join_all(some).await);
        }
        let mut settled = settled.into_iter();
        let mut clients = JoinSet::new();
        for client in settled.by_ref().take(crowd.readers) {
            clients.spawn(reader::run(client, crowd.pause));
        }
        let mut written = Vec::new();
        for client in settled.by_ref().take(crowd.writers) {
            let writer = writer::Writer::new(client).await;
            written.push(writer.watched());
            clients.spawn(writer.run(crowd.pause));
        }
        for _ in 0..crowd.watchers {
            clients.spawn(reader::watch(ground.clone(), written.clone(), crowd.pause));
        }
        for client in settled {
            clients.spawn(visitor::run(client, crowd.visitor_pause));
        }
        Self { ground, clients }
    }

    /// Panics when somebody has left: what they had seen is not known.
    pub fn check_all_there(&mut self) {
        let left = self.clients.try_join_next();
        assert!(left.is_none(), "a client has ended: {left:?}");
    }

    /// Lets everybody finish what they are at.
    pub async fn end(&mut self) {
        self.ground.stop.store(true, Ordering::SeqCst);
        std::mem::take(&mut self.clients).join_all().await;
    }
}
