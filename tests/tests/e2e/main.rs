//! End to end: real processes on real servers, spoken to over HTTP and gRPC as anybody would.
//!
//! One module for each thing that is shown. The harness is the library beside this; a test holds what it shows and nothing else.

#![expect(clippy::expect_used, reason = "what a test stands on is there, or the test fails")]

mod across_replicas;
mod audit;
mod brute_force;
mod by_mail;
mod cache;
mod chaos;
mod configuration;
mod contract;
mod cookies;
mod curl_session;
mod deletion;
mod deploys;
mod express_client;
mod failover;
mod freshness;
mod grpc_interface;
mod hostile_input;
mod idempotency;
mod limits;
mod logout;
mod new_profiles;
mod outages;
mod overload;
mod profiles;
mod revocations;
mod router;
mod secrecy;
mod storm;
mod timing;
mod topologies;
mod tracing;
