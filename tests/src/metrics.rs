//! What a process counts, as Prometheus would read it.

use std::collections::BTreeMap;

use crate::controlled::Replica;

/// One scrape of one process.
#[derive(Debug, Clone)]
pub struct Metrics(String);

impl Metrics {
    pub async fn of(replica: &Replica) -> Self {
        let url = format!("http://{}/metrics", replica.admin_address());
        let text = async { reqwest::get(&url).await?.error_for_status()?.text().await };
        Self(text.await.unwrap_or_else(|error| panic!("{url}: {error}")))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// The sum of all series of a name whose labels include the given ones; 0 when there is none.
    pub fn total(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let series = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (own_labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let has = |(label, wanted): &(&str, &str)| own_labels.contains(&format!("{label}=\"{wanted}\""));
            labels.iter().all(has).then(|| value.parse::<f64>().ok()).flatten()
        });
        series.sum()
    }

    /// The series of a name, by one of their labels.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let values = self.0.lines().filter_map(|line| {
            let (_, rest) = line.strip_prefix(name)?.split_once(&format!("{label}=\""))?;
            Some(rest.split_once('"')?.0)
        });
        values.map(|value| (value.to_owned(), self.total(name, &[(label, value)]) as u64)).collect()
    }

    /// Statements that a service has sent to its database, of one operation or of all.
    pub fn statements(&self, operation: Option<&str>) -> u64 {
        let labels: Vec<_> = operation.map(|operation| ("operation", operation)).into_iter().collect();
        self.total("db_client_operations_total", &labels) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_their_labels() {
        let scrape = Metrics(
            "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"1\",y=\"3\"} 4\na_total 100\nab{x=\"1\"} 9\nb 5\n"
                .to_owned(),
        );
        assert!((scrape.total("a", &[("x", "1")]) - 7.0).abs() < f64::EPSILON);
        assert!((scrape.total("a", &[("y", "3"), ("x", "1")]) - 4.0).abs() < f64::EPSILON);
        assert!((scrape.total("b", &[]) - 5.0).abs() < f64::EPSILON);
        assert!(scrape.total("c", &[]).abs() < f64::EPSILON);
        assert_eq!(scrape.by_label("a", "y"), [("2".to_owned(), 3), ("3".to_owned(), 4)].into());
    }
}
