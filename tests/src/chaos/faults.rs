//! The faults, in groups that share a stack each.

use std::pin::Pin;

use super::report::Chapter;
use super::stage::Form;
use crate::stack::{Builder, Part, Stack};

mod replicas;
mod stores;

/// Faults on one stack.
pub struct Group {
    pub name: &'static str,
    run: fn(Form) -> Pin<Box<dyn Future<Output = Chapter>>>,
}

impl Group {
    pub async fn run(&self, form: Form) -> Chapter {
        (self.run)(form).await
    }
}

pub const GROUPS: &[Group] = &[
    Group { name: "replicas", run: |form| Box::pin(replicas::run(form)) },
    Group { name: "stores", run: |form| Box::pin(stores::run(form)) },
];

/// Limits are on, for what they do without their store is part of the picture; but nobody comes near them, be it only a quarter of a
/// quota. Caches keep what they have for as long as a run takes.
fn generous() -> Builder {
    let stack = Stack::builder().env(Part::Profile, "CACHE_TTL_SECONDS", "3600");
    ["LIMIT_LOGIN_IP", "LIMIT_LOGIN_ACCOUNT", "LIMIT_REGISTER_IP", "LIMIT_API"]
        .into_iter()
        .fold(stack, |stack, limit| stack.env(Part::Gateway, limit, "1000000/600"))
}
