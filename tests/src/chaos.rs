//! Faults under load: a whole Sallyport serves a steady mix of requests while its replicas, servers and networks are taken away, one
//! after the other. Every answer is held against a model, and every fault against the bars it has to meet.
//!
//! `make chaos` runs all of it and writes `docs/RESILIENCE.md`; a short form without a clock runs in `make test`.

pub mod absence;
pub mod bars;
mod faults;
mod flood;
pub mod journal;
pub mod load;
pub mod machine;
pub mod model;
pub mod proxy;
pub mod report;
pub mod row;
pub mod stage;
pub mod vitals;

pub use faults::{GROUPS, Group};
