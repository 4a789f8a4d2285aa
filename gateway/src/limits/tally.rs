//! What one request is charged for, and what it gets back.

use std::time::Duration;

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
        self.charges.push(charge);
        Err(Problem::quota_exceeded(policy.name, wait(&self.charges)))
    }

    /// Counts a request that was refused with `refusal` against another policy instead.
    ///
    /// # Errors
    /// 429 when that quota is used up too, with whichever of the two ends first.
    pub async fn charge_in_place(
        &mut self,
        refusal: Problem,
        policy: &'a Policy,
        subject: Subject,
    ) -> Result<(), Problem> {
        // They hold no unit: what was counted beside the refusal has been given back.
        let refused = std::mem::take(&mut self.charges);
        let Err(also_refused) = self.charge(policy, subject).await else { return Ok(()) };
        if wait(&self.charges) < wait(&refused) {
            return Err(also_refused);
        }
        self.charges = refused;
        Err(refusal)
    }

    /// Gives every unit back: the request cost nothing that the limits are there to protect.
    pub async fn give_back(&mut self) {
        for charge in &mut self.charges {
            self.limits.give_back(charge).await;
        }
    }

    /// The same where only guesses count: for what was right, and for an outage, which is nobody's guess.
    pub async fn give_back_unless_guessed<T>(&mut self, outcome: &Result<T, Problem>) {
        if outcome.as_ref().err().is_none_or(Problem::is_unavailable) {
            self.give_back().await;
        }
    }

    /// The same for one who has proven to be who they say: what they failed before makes no wait longer any more.
    pub async fn succeeded(&mut self) {
        self.give_back().await;
        for charge in &self.charges {
            self.limits.forgive(charge).await;
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

/// How long the policy that refused, which is the last one, refuses.
fn wait(charges: &[Charge<'_>]) -> Duration {
    let refused = charges.last().and_then(Charge::quota_and_count);
    refused.map(|(_, count)| count.resets_in).unwrap_or_default()
}
