//! The client's behaviour against a scripted server: one file per behaviour.
//!
//! `support` plays the server over loopback sockets or an in-memory pipe, with bytes from the protocol crate, and
//! does exactly what each test tells it to: what a healthy broker would not do can be tested too. Nothing here
//! needs the broker. Tests wait for events, never for time; where time matters, tokio's clock is paused.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test helper fails its test as a test does"
)]

mod support;

mod backpressure;
mod handshake;
mod heartbeat;
mod pipelining;
mod producing;
mod reconnecting;
mod refusals;
mod requests;
mod resuming;
mod subscribing;
