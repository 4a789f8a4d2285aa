//! The harness of the end-to-end tests: whole stacks of real processes on real servers, and clients that speak to them as
//! anybody would, over HTTP and gRPC alone.
//!
//! It links against none of the services. What a test cannot go on without panics here with what was seen, so that tests read as
//! what they show.

pub mod api;
pub mod binary;
pub mod chaos;
pub mod collector;
pub mod controlled;
pub mod curl_session;
pub mod database;
pub mod garbage;
pub mod grpc;
pub mod guards;
pub mod keyspace;
pub mod load;
pub mod mail;
pub mod metrics;
pub mod openapi;
pub mod person;
pub mod problem;
pub mod rate_limit;
pub mod raw_http;
pub mod reflection;
pub mod secrets;
pub mod sessions;
pub mod smtp;
pub mod stack;
pub mod statistics;
pub mod traces;
pub mod wait;
