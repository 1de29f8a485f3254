//! Streamkeeper: a message-broker sidecar that keeps durable, append-only streams.
//!
//! The folders are the data flow; imports never run against it:
//!
//! ```text
//!  server ─▶ connection ─▶ session ─▶ broker ─▶ stream (write queues) ─▶ store (committer, journal, folder)
//!                              ▲                                             │ durable
//!                              └────────── fanout (cursors) ◀────────────────┘
//! ```
//!
//! [`broker::Broker`] is the handle for programs that embed the broker; [`storage::Storage`] is the contract every backend
//! obeys; [`rules`] is the pure core that holds the rules.

pub mod broker;
pub mod cli;
pub mod config;
pub mod connection;
pub mod fanout;
pub mod http;
pub mod metrics;
pub mod rules;
pub mod server;
pub mod session;
pub mod storage;
pub mod store;
pub mod stream;
pub mod subscriptions;
pub mod types;
