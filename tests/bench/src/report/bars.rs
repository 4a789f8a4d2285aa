//! What Sallyport is held to, and by how much it passes or misses.

use serde::Serialize;

use super::Table;
use crate::contestants::{EXPRESS, FASTIFY, MONOLITH, SALLYPORT};
use crate::results::{Results, Sample, Spread};
use crate::scenarios::read::{ONE, PEAK};
use crate::scenarios::{growth, idle, login, tracing};

/// A limit and what was measured against it.
#[derive(Debug, Serialize)]
pub struct Bar {
    pub what: String,
    pub wanted: Wanted,
    pub measured: f64,
    pub least: f64,
    pub most: f64,
    pub passed: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Wanted {
    fn is_met(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(limit) => measured >= limit,
            Self::AtMost(limit) => measured <= limit,
        }
    }

    /// How far beyond the limit, on the good side, in per cent of it.
    fn margin(self, measured: f64) -> f64 {
        match self {
            Self::AtLeast(limit) => (measured / limit - 1.0) * 100.0,
            Self::AtMost(limit) => (1.0 - measured / limit) * 100.0,
        }
    }
}

/// Every bar that the run has measured. A bar is judged by the median.
pub fn judge(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut add = |what: &str, wanted: Wanted, measured: Option<Spread>| {
        if let Some(Spread { median, least, most }) = measured {
            let passed = wanted.is_met(median);
            bars.push(Bar { what: what.to_owned(), wanted, measured: median, least, most, passed });
        }
    };
    let against = |other, of: fn(&Sample) -> f64| results.ratio((PEAK, SALLYPORT), (PEAK, other), of);
    let per_cpu = |it: &Sample| 1.0 / it.cpu;

    add(
        "Profile read, 64 connections: requests/s, times Express",
        Wanted::AtLeast(4.0),
        against(EXPRESS, |it| it.rate),
    );
    add("… times Fastify", Wanted::AtLeast(1.6), against(FASTIFY, |it| it.rate));
    add("… times the one-thread Rust monolith", Wanted::AtLeast(0.65), against(MONOLITH, |it| it.rate));
    add("… requests per CPU second, times Express", Wanted::AtLeast(6.0), against(EXPRESS, per_cpu));
    add("… requests per CPU second, times Fastify", Wanted::AtLeast(2.2), against(FASTIFY, per_cpu));
    add("… p99, share of Express's", Wanted::AtMost(1.0 / 6.0), against(EXPRESS, |it| it.p99_us));
    let one = results.ratio((ONE, SALLYPORT), (ONE, EXPRESS), |it| it.p50_us);
    add("Profile read, 1 connection: p50, times Express's", Wanted::AtMost(1.0), one);

    let traced =
        |share| results.ratio((tracing::SCENARIO, share), (tracing::SCENARIO, tracing::OFF), |it| it.cpu);
    add("Tracing as shipped (1 %): CPU, times none", Wanted::AtMost(1.05), traced(tracing::AS_SHIPPED));
    add("Tracing all: CPU, times none", Wanted::AtMost(1.40), traced(tracing::ALL));

    add("Login: rate, share of one thread's argon2id", Wanted::AtLeast(0.95), login_share(results));
    let storm =
        |of: fn(&Sample) -> f64| results.ratio((login::STORM, SALLYPORT), (login::CALM, SALLYPORT), of);
    add("Reads in a login storm: p99, times calm", Wanted::AtMost(4.0), storm(|it| it.p99_us));
    add("Reads in a login storm: rate, share of calm", Wanted::AtLeast(0.6), storm(|it| it.rate));

    let (small, large) = (growth::size(1_000), growth::size(1_000_000));
    let grown = results.ratio((growth::SCENARIO, &large), (growth::SCENARIO, &small), |it| it.cpu);
    add("CPU per request among 10^6 people, times 10^3", Wanted::AtMost(1.1), grown);
    let bytes = results.figure(&growth::bytes_per_session(1_000_000));
    add("Redis bytes per session, one per user, among 10^6", Wanted::AtMost(250.0), bytes);

    for (process, mib) in [("gateway", 20.0), ("profile-svc", 20.0), ("auth-svc", 39.0)] {
        let memory = results.figure(&idle::idle_memory(process));
        add(&format!("Idle memory of {process}, MiB"), Wanted::AtMost(mib), memory);
    }
    bars
}

/// Round by round: the machine hashed on its own just before.
fn login_share(results: &Results) -> Option<Spread> {
    let own = &results.figures.iter().find(|it| it.name == login::OWN_RATE)?.rounds;
    let logins = &results.measure(login::ALONE, SALLYPORT)?.rounds;
    Spread::of(logins.iter().zip(own).map(|(login, own)| login.rate / own))
}

pub fn table(bars: &[Bar]) -> Table {
    let mut table = Table::new("Bars", &["", "wanted", "measured", "rounds", "", "margin"]);
    for bar in bars {
        let wanted = match bar.wanted {
            Wanted::AtLeast(limit) => format!("≥ {limit:.2}"),
            Wanted::AtMost(limit) => format!("≤ {limit:.2}"),
        };
        table.rows.push(vec![
            bar.what.clone(),
            wanted,
            format!("{:.2}", bar.measured),
            format!("{:.2} to {:.2}", bar.least, bar.most),
            (if bar.passed { "pass" } else { "MISS" }).to_owned(),
            format!("{:+.0} %", bar.wanted.margin(bar.measured)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_passed_at_its_limit_and_missed_beyond() {
        assert!(Wanted::AtLeast(4.0).is_met(4.0) && !Wanted::AtLeast(4.0).is_met(3.99));
        assert!(Wanted::AtMost(1.1).is_met(1.1) && !Wanted::AtMost(1.1).is_met(1.11));
        assert_eq!(Wanted::AtLeast(4.0).margin(3.0).round() as i64, -25);
        assert_eq!(Wanted::AtMost(4.0).margin(5.0).round() as i64, -25);
    }

    #[test]
    fn a_bar_compares_sallyport_with_the_other_in_the_same_round() {
        let mut results = Results::default();
        for (name, rate, cpu) in [(SALLYPORT, 30_000.0, 0.02), (EXPRESS, 10_000.0, 0.16)] {
            results.note(PEAK, name, Sample { rate, cpu, p99_us: 1.0, ..Sample::default() });
        }
        let bars = judge(&results);
        let told: Vec<_> = bars.iter().map(|it| (it.measured, it.passed)).collect();
        assert_eq!(told, [(3.0, false), (8.0, true), (1.0, false)]);
    }
}
