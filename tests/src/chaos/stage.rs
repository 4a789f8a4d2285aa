//! A stack under load, and how one fault after the other is measured on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::bars::{Bars, Excuse};
use super::journal::Request;
use super::load::{Crowd, Ground, Load};
use super::row::{Row, Seen, is_level};
use super::vitals::{self, Vitals};
use crate::metrics::Metrics;
use crate::stack::{Part, Stack};
use crate::wait;

/// So long without a failure is recovered.
const QUIET: Duration = Duration::from_secs(1);
/// What has not recovered after this long does not.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// How long memory and files may take to come down to their level.
const LEVEL_LIMIT: Duration = Duration::from_secs(8);
/// Where there is no clock, so many requests pass for a second. Few, for all clients may wait for one gateway that is away.
const REQUESTS_A_SECOND: f64 = 15.0;

/// How thorough a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Everything, with its times.
    Full,
    /// Fewer and shorter faults; nothing is judged by the clock.
    Short,
}

pub struct Stage {
    pub stack: Stack,
    pub form: Form,
    load: Load,
    rows: Vec<Row>,
    /// What each process held when it was young.
    young: Vec<Option<Vitals>>,
    excuses: RefCell<Vec<Excuse>>,
    missed: RefCell<Vec<String>>,
    judged: Judged,
}

/// How far everything has been judged.
struct Judged {
    requests: usize,
    wrong: usize,
    /// When, and by what.
    ended: Instant,
    bars: Bars,
    after: String,
}

impl Stage {
    pub async fn set(stack: Stack, form: Form, crowd: Crowd) -> Self {
        let load = Load::start(stack.apis(), crowd).await;
        let (rows, young) = (Vec::new(), Vec::new());
        let (ended, bars) = (Instant::now(), Bars::nothing_fails());
        let judged = Judged { requests: 0, wrong: 0, ended, bars, after: "the start".to_owned() };
        let (excuses, missed) = (RefCell::default(), RefCell::default());
        let mut stage = Self { stack, form, load, rows, young, excuses, missed, judged };
        stage.hold(Duration::from_secs(3)).await;
        stage.young = vitals::of_all(stage.stack.replicas());
        stage
    }

    pub fn ground(&self) -> &Ground {
        &self.load.ground
    }

    /// Lets the load go on for so long, or for some requests where there is no clock.
    pub async fn hold(&self, length: Duration) {
        match self.form {
            Form::Full => tokio::time::sleep(length).await,
            Form::Short => {
                let goal = (length.as_secs_f64() * REQUESTS_A_SECOND) as usize;
                let goal = self.ground().journal.len() + goal;
                let reached = async || self.ground().journal.len() >= goal;
                wait::until_true("the load has gone on", reached).await;
            }
        }
    }

    /// Lets a replica that has come (back) get into use, as whoever rolls replicas out does before the next one: for a second, or without a
    /// clock until every gateway has found it.
    pub async fn settle(&self) {
        if self.form == Form::Short {
            for gateway in self.stack.of(Part::Gateway) {
                for part in [Part::Auth, Part::Profile] {
                    let count = self.stack.of(part).len();
                    let labels = [("upstream", part.binary()), ("state", "ready")];
                    let found = async || {
                        Metrics::of(gateway).await.total("upstream_endpoints", &labels) as usize == count
                    };
                    wait::until_true("every gateway has found every replica", found).await;
                }
            }
        }
        self.hold(Duration::from_secs(1)).await;
    }

    /// Runs `fault`, which returns when what it took away is back, waits until no request fails any more, and judges what was seen.
    pub async fn fault(&mut self, name: impl Into<String>, bars: Bars, fault: impl AsyncFnOnce(&Self)) {
        let name = name.into();
        self.between();
        let (journal, verdicts) = (self.ground().journal.clone(), self.ground().verdicts.clone());
        let before = vitals::of_all(self.stack.replicas());
        let (position, wrong) = (journal.len(), verdicts.len());
        fault(self).await;
        let recovery = self.recovery(Instant::now(), position).await;
        let after = self.level(&self.young).await;
        self.load.check_all_there();
        let bars = Bars { excuses: self.excuses.take(), ..bars };
        let (requests, wrong) = (journal.since(position), verdicts.since(wrong));
        self.judged = Judged {
            requests: position + requests.len(),
            wrong: verdicts.len(),
            ended: Instant::now(),
            bars: bars.clone(),
            after: name.clone(),
        };
        let young = self.young.clone();
        let seen = Seen { requests, wrong, recovery, young, before, after };
        let mut row = Row::judge(name, &bars, seen, self.form == Form::Full);
        row.missed.extend(self.missed.take());
        // A short fault may be over before anybody has needed what was away.
        if bars.felt && row.failed == 0 && self.form == Form::Full {
            row.missed.push("nobody has felt it".to_owned());
        }
        row.missed.extend(self.stack.replicas().filter_map(|replica| {
            Some(format!("{} has ended by itself: {}", replica.name(), replica.ended_by_itself()?))
        }));
        super::report::tell(&row);
        self.rows.push(row);
    }

    /// Judges what came since the last fault, in which nothing is away: what began after it does not fail, and no answer is wrong. It
    /// makes a row only of what is not as it should be.
    fn between(&mut self) {
        let (journal, verdicts) = (self.ground().journal.clone(), self.ground().verdicts.clone());
        let (requests, wrong) = (journal.since(self.judged.requests), verdicts.since(self.judged.wrong));
        let late = |request: &Request| request.began < self.judged.ended;
        let (late, fresh): (Vec<_>, Vec<_>) = requests.into_iter().partition(late);
        let none = BTreeMap::new;
        for (bars, requests, wrong) in
            [(&self.judged.bars, late, wrong), (&Bars::nothing_fails(), fresh, none())]
        {
            let seen = Seen { requests, wrong, recovery: Some(Duration::ZERO), ..Seen::default() };
            let row =
                Row::judge(format!("After: {}", self.judged.after), bars, seen, self.form == Form::Full);
            if !row.missed.is_empty() {
                super::report::tell(&row);
                self.rows.push(row);
            }
        }
        (self.judged.requests, self.judged.wrong) = (journal.len(), verdicts.len());
    }

    /// Adds what is to be known of the last fault besides.
    pub fn note(&mut self, note: String, missed: Option<String>) {
        if let Some(row) = self.rows.last_mut() {
            row.note = note;
            row.missed.extend(missed);
            super::report::tell(row);
        }
    }

    pub fn excuse(&self, excuse: Excuse) {
        self.excuses.borrow_mut().push(excuse);
    }

    /// The fault that goes on has to be like this, or it shows nothing.
    pub fn require(&self, is_so: bool, what: impl Into<String>) {
        if !is_so {
            self.missed.borrow_mut().push(what.into());
        }
    }

    /// Ends the load.
    pub async fn end(mut self) -> Vec<Row> {
        self.load.end().await;
        self.between();
        self.rows
    }

    /// From the return of what was away to the last failure, once all that failed has been answered again.
    async fn recovery(&self, returned: Instant, position: usize) -> Option<Duration> {
        let journal = &self.ground().journal;
        while returned.elapsed() < RECOVERY_LIMIT {
            let (last, all_answered) = journal.recovered(position, returned);
            let last = last.filter(|last| *last > returned).unwrap_or(returned);
            if all_answered && last.elapsed() >= QUIET {
                return Some(last - returned);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }

    /// What the processes hold once it has come down to its level, or has not.
    async fn level(&self, before: &[Option<Vitals>]) -> Vec<Option<Vitals>> {
        let deadline = Instant::now() + LEVEL_LIMIT;
        loop {
            let after = vitals::of_all(self.stack.replicas());
            if self.form == Form::Short || is_level(before, &after) || Instant::now() >= deadline {
                return after;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
