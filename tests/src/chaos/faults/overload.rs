//! Ten times more than there is room for.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use super::generous;
use crate::chaos::bars::{Bars, DEADLINE};
use crate::chaos::flood::{self, Tally, Volley};
use crate::chaos::journal::Op;
use crate::chaos::load::Crowd;
use crate::chaos::report::Chapter;
use crate::chaos::stage::{Form, Stage};
use crate::person::Person;

/// Of the peak.
const GOODPUT: f64 = 0.8;
/// Within this time whoever is refused is told so.
const REFUSED: Duration = Duration::from_millis(50);
const FACTOR: usize = 10;
/// Those that saturate everything.
const ENOUGH: usize = 256;
/// More than a gateway has places for.
const CONNECTIONS: usize = 1500;
const LENGTH: Duration = Duration::from_secs(8);
/// A machine that others share is not as fast after as it was before, so each overload is compared with the peaks around it.
const ROUNDS: usize = 5;

const TEXT: &str = "One gateway, one replica of each service. First the peak: how many requests a second are answered with 200 in eight seconds, with as many \
    of 8 to 256 connections as get the most; each sends the next request after an answer. Then ten times as much for eight seconds, and the peak again, five times over: for reads ten times as many connections, 2,560, each of \
    which comes again at once after an answer, and after its `Retry-After` when it is refused; for logins ten times as many a second, \
    whatever is answered. In the median round goodput is at least 80 % of the mean of the peaks before and after, and 99 of 100 who are refused are told so within 50 ms. The clients of the \
    model go on beside it and may be refused as well; nobody is refused any more when it is over. The flood is sent from the \
    same machine and shares its processors.";

pub(super) async fn run(form: Form) -> Chapter {
    let crowd = Crowd { readers: 4, writers: 2, watchers: 2, visitors: 1, ..Crowd::USUAL };
    let mut stage = Stage::set(generous().start(), form, crowd).await;
    let api = stage.stack.api(0);
    let ada = Person::signed_in(&api).await;
    let host = api.gateway();
    let body = ada.person.credentials().to_string();
    let login = format!(
        "POST /v1/login HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let read =
        format!("GET /v1/profile HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\r\n", ada.token);
    for (what, request, patient) in [("reads of the own profile", read, true), ("logins", login, false)] {
        let requests = vec![request.into_bytes()];
        let rounds = RefCell::new(Vec::new());
        let overload = async |_: &Stage| {
            let enough = most(host, &requests).await;
            let peak = async || {
                let volley = Volley { connections: enough, rate: None, length: LENGTH };
                flood::send(host, requests.clone(), volley).await.goodput()
            };
            let mut before = peak().await;
            let volley = if patient {
                Volley { connections: ENOUGH * FACTOR, rate: None, length: LENGTH }
            } else {
                Volley { connections: CONNECTIONS, rate: Some(before * FACTOR as f64), length: LENGTH }
            };
            for _ in 0..ROUNDS {
                let tally = flood::send(host, requests.clone(), volley).await;
                let after = peak().await;
                rounds.borrow_mut().push(Round { peak: f64::midpoint(before, after), tally });
                before = after;
            }
        };
        let bars = Bars::at_most(&Op::ALL, DEADLINE);
        stage.fault(format!("10 × overload with {what}"), bars, overload).await;
        let (note, missed) = judge(rounds.take());
        stage.note(note, missed);
    }
    Chapter { title: "Overload", text: TEXT, rows: stage.end().await, skipped: Vec::new() }
}

/// An overload, and the peak around it: requests a second.
struct Round {
    peak: f64,
    tally: Tally,
}

impl Round {
    /// The part of the peak that was served.
    fn part(&self) -> f64 {
        self.tally.goodput() / self.peak
    }
}

/// With how many connections the most are answered with 200. The peak itself is measured for as long as an overload: of several short
/// times the best one would be no measure of what goes on.
async fn most(host: SocketAddr, requests: &[Vec<u8>]) -> usize {
    let mut best = (0.0, ENOUGH);
    for connections in [8, 32, 128, ENOUGH] {
        let volley = Volley { connections, rate: None, length: Duration::from_secs(2) };
        let goodput = flood::send(host, requests.to_vec(), volley).await.goodput();
        if goodput > best.0 {
            best = (goodput, connections);
        }
    }
    best.1
}

/// The one in the middle, and all of them to be told.
fn median(mut values: Vec<f64>) -> (f64, String) {
    values.sort_by(f64::total_cmp);
    let all: Vec<_> = values.iter().map(|value| format!("{value:.0}")).collect();
    (values[values.len() / 2], all.join(", "))
}

fn judge(mut rounds: Vec<Round>) -> (String, Option<String>) {
    let (peak, _) = median(rounds.iter().map(|round| round.peak).collect());
    let (part, parts) = median(rounds.iter().map(|round| 100.0 * round.part()).collect());
    let mut refused = |quantile| {
        median(
            rounds.iter_mut().map(|round| round.tally.quantile(503, quantile).as_secs_f64() * 1e3).collect(),
        )
    };
    let ((usual, _), (refused, all_refused)) = (refused(0.5), refused(0.99));
    let mut tally = Tally::default();
    for round in rounds {
        tally.add(round.tally);
    }
    let note = format!(
        "peak {peak:.0}/s, sent {:.0}/s, goodput {:.0}/s ({parts} % of the peak in the rounds), {} refused, half of them within {usual:.0} ms \
         and 99 % within {all_refused} ms",
        tally.sent() as f64 / tally.length.as_secs_f64(),
        tally.goodput(),
        tally.count(503),
    );
    let mut missed = Vec::new();
    if tally.count(503) == 0 {
        missed.push("nobody was refused".to_owned());
    }
    // It is no number when there was no peak.
    if part.is_nan() || part < 100.0 * GOODPUT {
        missed.push(format!("goodput is {part:.0} % of the peak"));
    }
    if refused > REFUSED.as_secs_f64() * 1e3 {
        missed.push(format!("refusals take {refused:.0} ms"));
    }
    let others: Vec<_> = tally.answers.keys().filter(|status| !matches!(status, 200 | 503)).collect();
    if !others.is_empty() || tally.broken > 0 {
        missed.push(format!("neither served nor refused: {others:?}, {} broken", tally.broken));
    }
    (note, (!missed.is_empty()).then(|| missed.join("; ")))
}
