//! What turns a process into a service: configuration, telemetry, gRPC and HTTP servers, upstreams, Redis, shutdown and the
//! admin port.
//!
//! Used by every service alike. It knows no business noun, and depends on no service and not on the wire contract.

pub mod admin;
pub mod bulkhead;
pub mod call_stream;
pub mod config;
pub mod event_stream;
pub mod grpc;
pub mod http;
pub mod listen;
pub mod postgres;
pub mod process;
pub mod read_through;
pub mod readiness;
pub mod redis;
pub mod rpc;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod trace;
pub mod upstream;

/// About a tenth cheaper per request than the system's allocator, measured on the signed-in read.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
