//! The documented contract, and which of it a test has seen.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::Answer;

/// A method, a documented path and a status.
pub type Outcome = (String, String, u16);

/// The outcomes that are documented, and those that were seen.
pub struct Coverage {
    documented: BTreeSet<Outcome>,
    seen: BTreeSet<Outcome>,
}

impl Coverage {
    /// Of an OpenAPI document.
    pub fn of(document: &Value) -> Self {
        const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
        let mut documented = BTreeSet::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for method in METHODS {
                for status in item[method]["responses"].as_object().into_iter().flat_map(|of| of.keys()) {
                    let status = status.parse().unwrap_or_else(|_| panic!("{path}: status {status}"));
                    documented.insert((method.to_uppercase(), path.clone(), status));
                }
            }
        }
        assert!(!documented.is_empty(), "nothing is documented");
        Self { documented, seen: BTreeSet::new() }
    }

    /// Notes an answer of a documented route. Panics when its status is not documented.
    #[track_caller]
    pub fn saw(&mut self, route: &str, answer: &Answer) {
        let (method, _) = answer.request.split_once(' ').unwrap_or_default();
        self.saw_status(method, route, answer.status);
    }

    /// The same for an answer to a request that was made by hand.
    #[track_caller]
    pub fn saw_status(&mut self, method: &str, route: &str, status: u16) {
        let outcome = (method.to_owned(), route.to_owned(), status);
        assert!(self.documented.contains(&outcome), "{outcome:?} is not documented");
        self.seen.insert(outcome);
    }

    /// What is documented and was not seen.
    pub fn unseen(&self) -> Vec<&Outcome> {
        self.documented.difference(&self.seen).collect()
    }
}
