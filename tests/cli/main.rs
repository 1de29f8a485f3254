//! The program as its users meet it: the real binary, real sockets, exit codes.
//!
//! `support` starts a broker process on free ports and runs commands against it; the other files state one behaviour
//! per test. Nothing waits for luck: a broker is ready when it says so on stdout, and what must come is polled for with a
//! deadline.

mod bench;
mod configuration;
mod damaged;
mod left_out;
mod lifecycle;
mod lost_store;
mod probes;
mod support;
mod verbs;
