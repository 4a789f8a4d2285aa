//! The REST interface, over in-process services that keep everything in memory and fail on demand.
//!
//! One module per resource. The rate limits count in a real Redis, which `TEST_CACHE_REDIS_URL` names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod services;
mod stack;

mod activity;
mod brute_force;
mod clients_of_the_articles;
mod cross_origin;
mod deletion;
mod documentation;
mod email_verification;
mod export;
mod garbage;
mod health;
mod idempotency_key;
mod limits;
mod login;
mod logout;
mod me;
mod outages;
mod overload;
mod password;
mod password_reset;
mod profile;
mod public_profile;
mod register;
mod router;
mod sessions;
mod tracing;
