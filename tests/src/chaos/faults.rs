//! The faults, in groups that share a stack each.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use super::proxy::{Proxy, Weather};
use super::report::Chapter;
use super::stage::{Form, Stage};
use crate::stack::{Builder, Hop, Part, Stack};

mod clocks;
mod disk;
mod exhaustion;
mod failover;
mod hostile;
mod overload;
mod replicas;
mod scaling;
mod stores;
mod surroundings;
mod versions;

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
    Group { name: "scaling", run: |form| Box::pin(scaling::run(form)) },
    Group { name: "stores", run: |form| Box::pin(stores::run(form)) },
    Group { name: "failover", run: |form| Box::pin(failover::run(form)) },
    Group { name: "overload", run: |form| Box::pin(overload::run(form)) },
    Group { name: "hostile", run: |form| Box::pin(hostile::run(form)) },
    Group { name: "surroundings", run: |form| Box::pin(surroundings::run(form)) },
    Group { name: "clocks", run: |form| Box::pin(clocks::run(form)) },
    Group { name: "disk", run: |form| Box::pin(disk::run(form)) },
    Group { name: "versions", run: |form| Box::pin(versions::run(form)) },
];

/// Limits are on, for what they do without their store is part of the picture; but nobody comes near them, be it only a quarter of a
/// quota. Caches keep what they have for as long as a run takes.
fn generous() -> Builder {
    let stack = Stack::builder().env(Part::Profile, "CACHE_TTL_SECONDS", "3600");
    ["LIMIT_LOGIN_IP", "LIMIT_LOGIN_ACCOUNT", "LIMIT_REGISTER_IP", "LIMIT_API"]
        .into_iter()
        .fold(stack, |stack, limit| stack.env(Part::Gateway, limit, "1000000000/600"))
}

type Proxies = Rc<RefCell<HashMap<Hop, Rc<Proxy>>>>;

/// Puts a proxy in front of every server and every replica.
fn behind_proxies(stack: Builder) -> (Builder, Proxies) {
    let proxies = Proxies::default();
    let kept = proxies.clone();
    let detour = move |hop, address| {
        let start = || Rc::new(Proxy::start(address).unwrap_or_else(|error| panic!("no proxy: {error}")));
        kept.borrow_mut().entry(hop).or_insert_with(start).address()
    };
    (stack.through(detour), proxies)
}

/// The weather is bad for so long, and somebody is out in it.
async fn storm(stage: &Stage, proxy: &Proxy, weather: Weather, length: Duration) {
    let hindered = proxy.hindered();
    proxy.set(weather);
    stage.hold(length).await;
    proxy.set(Weather::Fair);
    stage.require(proxy.hindered() > hindered, "nothing came by");
}
