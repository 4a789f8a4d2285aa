//! Plots in SVG: one bar a contestant, as long as the median, with a line from the least to the most of the rounds.

use std::fmt::Write as _;

use crate::results::{Results, Sample, Spread};
use crate::scenarios::growth;
use crate::scenarios::read::{ONE, PEAK};

/// A picture and the name of its file.
pub struct Plot {
    pub file: String,
    pub title: String,
    pub svg: String,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 110.0;
const TOP: f64 = 40.0;
const ROW: f64 = 30.0;

/// Sallyport's colour, and everybody else's.
const OURS: &str = "#c2410c";
const THEIRS: &str = "#64748b";

pub fn all(results: &Results) -> Vec<Plot> {
    let rate = |it: &Sample| it.rate;
    let cpu = |it: &Sample| it.cpu * 1_000.0;
    let (p50, p99) = (|it: &Sample| it.p50_us, |it: &Sample| it.p99_us);
    let plots = [
        plot(results, PEAK, "profile-rate", "Profile reads per second, 64 connections", rate),
        plot(results, PEAK, "profile-cpu", "CPU ms per 1,000 profile reads, 64 connections", cpu),
        plot(results, PEAK, "profile-p99", "p99 of profile reads in us, 64 connections", p99),
        plot(results, ONE, "profile-p50-one", "p50 of profile reads in us, 1 connection", p50),
        plot(results, "mixed-64", "mixed-rate", "Mixed requests per second, 64 connections", rate),
        plot(results, "login-8", "login-rate", "Logins per second, 8 connections", rate),
        plot(results, "open-loop-80", "open-loop-p99", "p99 in us at 80 % of the own peak, open loop", p99),
        plot(results, "storm-reads", "storm-p99", "p99 of reads in us beside 64 logins", p99),
        plot(results, "tracing", "tracing-cpu", "CPU ms per 1,000 reads, by share of traced requests", cpu),
        plot(results, growth::SCENARIO, "growth-cpu", "CPU ms per 1,000 reads, by number of people", cpu),
    ];
    plots.into_iter().flatten().collect()
}

fn plot(results: &Results, scenario: &str, name: &str, title: &str, of: fn(&Sample) -> f64) -> Option<Plot> {
    let measures = results.measures.iter().filter(|it| it.scenario == scenario);
    let rows: Vec<(&str, Spread)> =
        measures.filter_map(|it| Some((&*it.contestant, it.spread(of)?))).collect();
    (!rows.is_empty()).then(|| Plot {
        file: format!("{name}.svg"),
        title: title.to_owned(),
        svg: bars(title, &rows),
    })
}

fn bars(title: &str, rows: &[(&str, Spread)]) -> String {
    let height = TOP + ROW * rows.len() as f64 + 10.0;
    let most = rows.iter().map(|(_, spread)| spread.most).fold(f64::MIN_POSITIVE, f64::max);
    let scale = |figure: f64| figure / most * (WIDTH - LEFT - RIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\" role=\"img\">\n<title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"24\" font-weight=\"bold\">{title}</text>\n"
    );
    for (index, (name, spread)) in rows.iter().enumerate() {
        let (top, middle) = (TOP + ROW * index as f64, TOP + ROW * (index as f64 + 0.5));
        let colour = if *name == "sallyport" { OURS } else { THEIRS };
        let (length, least, most) =
            (scale(spread.median), LEFT + scale(spread.least), LEFT + scale(spread.most));
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\n\
             <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\n\
             <line x1=\"{least:.1}\" y1=\"{middle:.1}\" x2=\"{most:.1}\" y2=\"{middle:.1}\" stroke=\"#0f172a\" \
             stroke-width=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            LEFT - 8.0,
            middle + 4.0,
            top + 5.0,
            ROW - 10.0,
            most.max(LEFT + length) + 8.0,
            middle + 4.0,
            figure(spread.median),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn figure(figure: f64) -> String {
    if figure >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_of_the_longest() {
        let spread = |median| Spread { median, least: median, most: median };
        let svg = bars("t", &[("a", spread(50.0)), ("sallyport", spread(100.0))]);
        let longest = WIDTH - LEFT - RIGHT;
        assert!(svg.contains(&format!("width=\"{:.1}\"", longest / 2.0)));
        assert!(svg.contains(&format!("width=\"{longest:.1}\"")));
        assert_eq!(svg.matches(OURS).count(), 1);
    }
}
