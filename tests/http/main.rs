//! The HTTP face as clients meet it: the real binary and real sockets.
//!
//! What the official suite checks is left to it (`tests/conformance`); here is what it does not look at: limits, browser headers on
//! every answer, transports, waiting readers at the end of a stream and of the broker, our own extensions. `support` starts a
//! broker and speaks HTTP byte by byte, so that nothing a client library would smooth over goes unseen.

mod append;
mod browsers;
mod create;
mod limits;
mod live;
mod read;
mod support;
mod transport;
