//! The whole broker in process, on real sockets: what a peer may rely on, whatever other peers do.
//!
//! One file per behaviour. The peer is [`fixture::Client`], which speaks frames and nothing more, so that it can also
//! speak wrongly. Nothing sleeps for effect: time limits under test are configured short, and outcomes are awaited.

#![expect(clippy::panic, reason = "helpers of tests fail like tests")]

mod backpressure;
mod bad_input;
mod fixture;
mod handshake;
mod heartbeat;
mod pipelining;
mod shutdown;
mod subscriptions;
