//! What was measured: samples by scenario and contestant, and their medians. The JSON file is this.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::load::Tally;

/// Everything of one run.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    pub measures: Vec<Measure>,
    /// Single figures, one a round, such as bytes per session.
    pub figures: Vec<Figure>,
}

/// One contestant in one scenario, round by round.
#[derive(Debug, Serialize)]
pub struct Measure {
    pub scenario: String,
    pub contestant: String,
    pub rounds: Vec<Sample>,
}

/// One figure, round by round.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    pub rounds: Vec<f64>,
}

/// One window of load.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Requests per second that were answered as they should be.
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Refused for want of capacity.
    pub shed: u64,
    /// Processor seconds per 1,000 requests: the contestant's own processes together.
    pub cpu: f64,
    /// The same for each of its processes.
    pub cpu_by_process: BTreeMap<String, f64>,
    /// The same for both Redis, for PostgreSQL and for the load generator.
    pub cpu_redis: f64,
    pub cpu_postgres: f64,
    pub cpu_load: f64,
    /// Memory of its processes at the end of the window.
    pub resident_mib: f64,
}

/// The middle of some rounds, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// None without a figure.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, least, most })
    }
}

impl Results {
    pub fn note(&mut self, scenario: &str, contestant: &str, sample: Sample) {
        let known =
            self.measures.iter_mut().find(|it| it.scenario == scenario && it.contestant == contestant);
        match known {
            Some(measure) => measure.rounds.push(sample),
            None => self.measures.push(Measure {
                scenario: scenario.to_owned(),
                contestant: contestant.to_owned(),
                rounds: vec![sample],
            }),
        }
    }

    pub fn note_figure(&mut self, name: &str, unit: &'static str, figure: f64) {
        match self.figures.iter_mut().find(|it| it.name == name) {
            Some(known) => known.rounds.push(figure),
            None => self.figures.push(Figure { name: name.to_owned(), unit, rounds: vec![figure] }),
        }
    }

    pub fn measure(&self, scenario: &str, contestant: &str) -> Option<&Measure> {
        self.measures.iter().find(|it| it.scenario == scenario && it.contestant == contestant)
    }

    pub fn figure(&self, name: &str) -> Option<Spread> {
        Spread::of(self.figures.iter().find(|it| it.name == name)?.rounds.iter().copied())
    }

    /// One property of a measure.
    pub fn spread(&self, scenario: &str, contestant: &str, of: impl Fn(&Sample) -> f64) -> Option<Spread> {
        self.measure(scenario, contestant)?.spread(of)
    }

    /// The ratio of one property between two measures, round by round: what the machine does to one round it does to both.
    pub fn ratio(
        &self,
        above: (&str, &str),
        below: (&str, &str),
        of: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let (above, below) = (self.measure(above.0, above.1)?, self.measure(below.0, below.1)?);
        let pairs = above.rounds.iter().zip(&below.rounds);
        Spread::of(pairs.map(|(above, below)| of(above) / of(below)))
    }
}

impl Sample {
    /// What a load tells by itself; it costs nothing yet.
    pub fn of_tally(tally: &Tally, window: Duration) -> Self {
        Self {
            rate: tally.latencies.count() as f64 / window.as_secs_f64(),
            p50_us: tally.latencies.quantile(0.50),
            p99_us: tally.latencies.quantile(0.99),
            shed: tally.shed,
            ..Self::default()
        }
    }
}

impl Measure {
    pub fn spread(&self, of: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, least: 1.0, most: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut results = Results::default();
        for (mine, theirs) in [(10.0, 5.0), (40.0, 20.0), (6.0, 2.0)] {
            results.note("s", "mine", Sample { rate: mine, ..Sample::default() });
            results.note("s", "theirs", Sample { rate: theirs, ..Sample::default() });
        }
        let ratio = results.ratio(("s", "mine"), ("s", "theirs"), |it| it.rate).unwrap();
        assert_eq!(ratio, Spread { median: 2.0, least: 2.0, most: 3.0 });
        assert!(results.ratio(("s", "mine"), ("s", "nobody"), |it| it.rate).is_none());
    }
}
