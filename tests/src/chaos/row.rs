//! What one fault cost, and which bars it missed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bars::{Bars, DEADLINE, RECOVERY};
use super::journal::{Op, Outcome, Request};
use super::model::Wrong;
use super::vitals::Vitals;

/// A process may hold a little more than before: its pools fill up when they are used.
const FILES_MORE: u64 = 16;
const MEMORY_MORE_KIB: u64 = 8 * 1024;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    pub fault: String,
    pub requests: usize,
    pub failed: usize,
    /// Of the failed ones, those that could not but fail.
    pub excused: usize,
    /// The slowest answer that told of a failure.
    pub slowest_failure: Option<Duration>,
    pub wrong: BTreeMap<Wrong, usize>,
    /// `None`: it did not recover.
    pub recovery: Option<Duration>,
    /// Of all processes together, before and after.
    pub memory_kib: (u64, u64),
    pub files: (u64, u64),
    /// What it was to do and did not.
    pub missed: Vec<String>,
    /// Figures of this fault alone.
    pub note: String,
}

/// What was seen during one fault.
#[derive(Default)]
pub struct Seen {
    pub requests: Vec<Request>,
    pub wrong: BTreeMap<Wrong, usize>,
    pub recovery: Option<Duration>,
    /// Of each process: when the stack was young, before the fault, and after it.
    pub young: Vec<Option<Vitals>>,
    pub before: Vec<Option<Vitals>>,
    pub after: Vec<Option<Vitals>>,
}

impl Row {
    /// `timed`: whether times count, and what comes down in time.
    pub fn judge(fault: String, bars: &Bars, seen: Seen, timed: bool) -> Self {
        let failed: Vec<_> = seen.requests.iter().filter(|request| request.failed()).collect();
        let (excused, rest): (Vec<&Request>, Vec<_>) =
            failed.iter().partition(|request| bars.excuses(request));
        let mut missed = failures(bars, &rest, timed);
        if !seen.wrong.is_empty() {
            let kinds = seen.wrong.iter().map(|(kind, count)| format!("{count} × {}", kind.name()));
            missed.push(kinds.collect::<Vec<_>>().join(", "));
        }
        match seen.recovery {
            None => missed.push("did not recover".to_owned()),
            Some(took) if timed && took > RECOVERY => {
                missed.push(format!("recovery within {} s", RECOVERY.as_secs()));
            }
            Some(_) => {}
        }
        if timed {
            missed.extend(growth(&seen.young, &seen.after));
            missed.extend(overdue(bars, &seen.requests));
        }
        let sum = |vitals: &[Option<Vitals>], of: fn(&Vitals) -> u64| vitals.iter().flatten().map(of).sum();
        let both = |of: fn(&Vitals) -> u64| (sum(&seen.before, of), sum(&seen.after, of));
        Self {
            fault,
            requests: seen.requests.len(),
            failed: failed.len(),
            excused: excused.len(),
            slowest_failure: failed.iter().map(|request| request.took()).max(),
            wrong: seen.wrong,
            recovery: seen.recovery,
            memory_kib: both(|vitals| vitals.memory_kib),
            files: both(|vitals| vitals.files),
            missed,
            note: String::new(),
        }
    }

    pub fn wrong_answers(&self) -> usize {
        self.wrong.values().sum()
    }
}

/// Failures that there must not be, and those that took too long.
fn failures(bars: &Bars, failed: &[&Request], timed: bool) -> Vec<String> {
    let mut missed = Vec::new();
    for op in Op::ALL {
        let of_op = || failed.iter().copied().filter(|request| request.op == op);
        let count = of_op().count();
        match bars.limit(op) {
            None if count > 0 => {
                missed.push(format!("{op:?} may not fail: {:?}", outcomes(&of_op().collect::<Vec<_>>())));
            }
            Some(within) => {
                let others: Vec<_> = of_op().filter(|request| !bars.allows(request)).collect();
                if !others.is_empty() {
                    missed.push(format!("{op:?} may be 503, and was {:?}", outcomes(&others)));
                }
                let slowest = of_op().map(Request::took).max().unwrap_or_default();
                if timed && slowest > within {
                    missed.push(format!(
                        "{op:?} fails within {} ms: {} ms",
                        within.as_millis(),
                        slowest.as_millis()
                    ));
                }
            }
            None => {}
        }
    }
    missed
}

/// How many have each status and code.
fn outcomes(requests: &[&Request]) -> BTreeMap<String, usize> {
    requests.iter().fold(BTreeMap::new(), |mut counts, it| {
        let code = it.code.as_deref().unwrap_or_default();
        *counts.entry(format!("{} {code}", name(it.outcome))).or_default() += 1;
        counts
    })
}

fn name(outcome: Outcome) -> String {
    match outcome {
        Outcome::Answered => "answered".to_owned(),
        Outcome::Refused(status) => status.to_string(),
        Outcome::Broken => "broken".to_owned(),
    }
}

/// Those that took longer than any may, whatever was answered.
fn overdue(bars: &Bars, requests: &[Request]) -> Option<String> {
    let overdue = requests.iter().filter(|request| request.took() > DEADLINE && !bars.excuses(request));
    let slowest = overdue.clone().map(Request::took).max()?;
    Some(format!("{} answered after more than {DEADLINE:?}, at most {slowest:?}", overdue.count()))
}

/// Processes that hold clearly more than before.
fn growth(before: &[Option<Vitals>], after: &[Option<Vitals>]) -> Vec<String> {
    let mut missed = Vec::new();
    for (before, after) in before.iter().zip(after) {
        let (Some(before), Some(after)) = (before, after) else { continue };
        if after.files > before.files + FILES_MORE {
            missed.push(format!("open files {} -> {}", before.files, after.files));
        }
        if after.memory_kib > before.memory_kib + MEMORY_MORE_KIB {
            missed.push(format!("memory {} -> {} MiB", before.memory_kib / 1024, after.memory_kib / 1024));
        }
    }
    missed
}

/// Whether nothing holds clearly more than before.
pub fn is_level(before: &[Option<Vitals>], after: &[Option<Vitals>]) -> bool {
    growth(before, after).is_empty()
}
