//! The REST gateway: HTTP in, gRPC out. It keeps nothing and decides nothing but who may ask how often.
//!
//! `router` lists every route, `middleware` what happens around each, `admission` how many at once, `gate` who gets through; each
//! route is a file in `routes`. `serve` puts it together.

pub mod config;
pub mod serve;

mod admission;
mod app;
mod auth;
mod caller;
mod client_address;
mod conditional;
mod credentials;
mod cross_site;
mod gate;
mod guard;
mod idempotency_key;
mod json_body;
mod known_client;
mod limits;
mod middleware;
mod observe;
mod openapi;
mod problem;
mod profile_change;
mod profiles;
mod reply;
mod representation;
mod response_headers;
mod router;
mod routes;
mod username;
