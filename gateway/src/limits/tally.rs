//! What one request is charged for, and what it gets back.

use axum::response::{IntoResponse, Response};

use super::{Charge, Limits, Policy, Subject, report};
use crate::problem::Problem;

/// The charges of one request, in their order. Its headers go on whatever the request is answered with.
pub struct Tally<'a> {
    limits: &'a Limits,
    charges: Vec<Charge<'a>>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self { limits, charges: Vec::new() }
    }

    /// Counts the request against a policy.
    ///
    /// # Errors
    /// 429 when the quota is used up; what other policies had counted is then given back, for the request did nothing.
    pub async fn charge(&mut self, policy: &'a Policy, subject: Subject) -> Result<(), Problem> {
        let charge = self.limits.count(policy, subject).await;
        if charge.is_admitted() {
            self.charges.push(charge);
            return Ok(());
        }
        self.give_back().await;
        let retry_after = charge.quota_and_count().map(|(_, count)| count.resets_in).unwrap_or_default();
        self.charges.push(charge);
        Err(Problem::quota_exceeded(policy.name, retry_after))
    }

    /// Gives every unit back: the request cost nothing that the limits are there to protect.
    pub async fn give_back(&mut self) {
        for charge in &mut self.charges {
            self.limits.give_back(charge).await;
        }
    }

    /// Takes back what was counted for a token that turned out to be none, counter and all, and charges another subject.
    pub async fn charge_instead(&mut self, policy: &'a Policy, subject: Subject) -> Result<(), Problem> {
        for charge in self.charges.drain(..) {
            self.limits.forget(&charge).await;
        }
        self.charge(policy, subject).await
    }

    /// Adds the rate-limit headers to an answer, good or bad.
    pub fn stamp(&self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        report::stamp(response.headers_mut(), &self.charges);
        response
    }
}
