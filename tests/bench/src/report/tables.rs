//! The tables: a scenario each, a contestant a row, medians of the rounds.

use super::Table;
use crate::results::{Measure, Results, Sample, Spread};
use crate::scenarios::login::OWN_RATE;

const HEADER: [&str; 9] =
    ["", "req/s", "± %", "p50 us", "p99 us", "CPU s per 1,000", "of Redis", "of PostgreSQL", "memory MiB"];

pub fn all(results: &Results) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for measure in &results.measures {
        let row = row(measure);
        match tables.iter_mut().find(|table| table.title == measure.scenario) {
            Some(table) => table.rows.push(row),
            None => tables.push(Table { rows: vec![row], ..Table::new(&*measure.scenario, &HEADER) }),
        }
    }
    tables.extend(processes(results));
    tables.extend(figures(results));
    tables
}

fn row(measure: &Measure) -> Vec<String> {
    let median = |of: fn(&Sample) -> f64| measure.spread(of).map(|it| it.median).unwrap_or_default();
    let shed = measure.rounds.iter().map(|it| it.shed).sum::<u64>();
    let name =
        if shed == 0 { measure.contestant.clone() } else { format!("{} ({shed} shed)", measure.contestant) };
    vec![
        name,
        number(median(|it| it.rate)),
        measure.spread(|it| it.rate).map(half_width).unwrap_or_default(),
        number(median(|it| it.p50_us)),
        number(median(|it| it.p99_us)),
        format!("{:.4}", median(|it| it.cpu)),
        format!("{:.4}", median(|it| it.cpu_redis)),
        format!("{:.4}", median(|it| it.cpu_postgres)),
        number(median(|it| it.resident_mib)),
    ]
}

/// Half of what lies between the least and the most, in per cent of the median.
fn half_width(spread: Spread) -> String {
    format!("{:.0}", (spread.most - spread.least) / 2.0 / spread.median.max(f64::MIN_POSITIVE) * 100.0)
}

/// Where the processor time goes, for those that are several processes.
fn processes(results: &Results) -> Option<Table> {
    let mut table =
        Table::new("CPU ms per 1,000 requests, by process", &["", "gateway", "auth-svc", "profile-svc"]);
    for measure in results.measures.iter().filter(|it| it.rounds.iter().any(|it| it.cpu_by_process.len() > 1))
    {
        let of = |name: &str| {
            let spread =
                measure.spread(|it| it.cpu_by_process.get(name).copied().unwrap_or_default() * 1_000.0);
            format!("{:.1}", spread.map(|it| it.median).unwrap_or_default())
        };
        let name = format!("{}, {}", measure.scenario, measure.contestant);
        table.rows.push(vec![name, of("gateway"), of("auth-svc"), of("profile-svc")]);
    }
    (!table.rows.is_empty()).then_some(table)
}

fn figures(results: &Results) -> Option<Table> {
    let mut table = Table::new("Figures", &["", "median", "least", "most", "unit"]);
    for figure in &results.figures {
        let Some(spread) = Spread::of(figure.rounds.iter().copied()) else { continue };
        let digits = if figure.name == OWN_RATE || figure.unit == "MiB" { 1 } else { 2 };
        let cell = |figure: f64| format!("{figure:.digits$}");
        let name = figure.name.clone();
        table.rows.push(vec![
            name,
            cell(spread.median),
            cell(spread.least),
            cell(spread.most),
            figure.unit.to_owned(),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// A whole number with commas.
fn number(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_have_commas() {
        assert_eq!([0.4, 999.0, 1_000.0, 1_234_567.8].map(number), ["0", "999", "1,000", "1,234,568"]);
    }
}
