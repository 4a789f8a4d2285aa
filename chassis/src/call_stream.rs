//! Many calls of one unary method on one long-lived bidirectional stream.
//!
//! A unary call costs each side 40 to 50 microseconds of CPU, nearly all of it for the HTTP/2 stream that comes and goes with
//! it. Here a stream per connection and method stays, and a call is a frame on it: with its own id, trace context, deadline
//! and error. Answers come in any order. `sallyport/call/v1/call.proto` holds what the frames have in common.
//!
//! The [client](CallStream) picks a replica for every call. The [server](serve) runs the calls of a stream side by side, each
//! as if it had come alone.

mod client;
mod frames;
mod link;
pub(crate) mod links;
mod server;
mod typed;

#[cfg(test)]
mod tests;

pub use client::CallStream;
pub use frames::CallError;
pub use server::{Answers, Incoming, ServerFrames, Work, answer, serve};
