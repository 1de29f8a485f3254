//! The HTTP port: its listener, and the routes served on it.
//!
//! The listener starts before the broker is open, so that a probe is answered "replaying" and not with a refused
//! connection; the data routes answer 503 until then. [`HttpServer`] turns sockets into requests (HTTP/1.1, and HTTP/2 by
//! prior knowledge), [`Routes`] says who answers a path: [`streams`] what lies under `/v1/stream/`, [`admin`] the probes, [`tools`] who asks
//! the broker to check or copy its data.
//!
//! No TLS: the broker is a sidecar, and what stands before it speaks TLS if anybody must.

pub mod admin;
mod reply;
mod routes;
mod server;
pub mod streams;
pub mod subscriptions;
pub mod tools;
mod unread;

pub use reply::{Reply, ReplyBody};
pub use routes::Routes;
pub use server::{HttpOptions, HttpServer};
