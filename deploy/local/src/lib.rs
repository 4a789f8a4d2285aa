//! Runs Sallyport's parts on one machine: real PostgreSQL and Redis servers in folders of their own, the services as
//! processes with the sockets they serve. `make up`, `make test` and the end-to-end tests are built on it.
//!
//! It starts programs and knows their ports, variables and readiness; it links against none of the services and
//! speaks none of their protocols.

pub mod buf;
pub mod faketime;
mod folder;
pub mod identity;
pub mod layers;
pub mod output;
pub mod packages;
pub mod postgres;
pub mod process;
mod random;
pub mod redis;
pub mod reset;
pub mod server;
pub mod service;
pub mod sockets;
pub mod sqlx_data;
mod sys;
pub mod temporary;
pub mod up;
pub mod with_servers;
