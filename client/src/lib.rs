//! Async Rust client of Streamkeeper.
//!
//! ```no_run
//! # async fn example() -> Result<(), streamkeeper_client::Error> {
//! use streamkeeper_client::{Client, CreateOptions, SubscribeOptions};
//!
//! let client = Client::connect("127.0.0.1:4438").await?;
//! client.create("orders", CreateOptions::new()).await?;
//! client.append("orders", "a record").await?; // returns once it is durable
//!
//! let mut orders = client.subscribe("orders", SubscribeOptions::new()).await?;
//! while let Some(record) = orders.next().await {
//!     let record = record?;
//!     println!("{}: {:?}", record.offset, record.payload);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Choosing a way to append
//!
//! | way | waits for | after a lost connection |
//! | --- | --- | --- |
//! | [`Client::append`], [`Client::append_batch`] | the confirm | [`Error::Unconfirmed`] |
//! | [`Client::append_pipelined`] | room; the [`Ticket`] waits for the confirm | [`Error::Unconfirmed`] from the ticket |
//! | [`Client::producer`] | room; batches by itself; [`Receipt`] or [`Producer::flush`] wait | sent again, stored once |
//! | [`Client::pipeline`] | room; outcomes are taken in bulk | [`Error::Unconfirmed`] as outcome |
//!
//! # Connections
//!
//! A [`Client`] is a handle on one connection, owned by one task. When the connection is lost the task opens it again
//! ([`Reconnect`]): subscriptions go on at their next offset, producers send what was not confirmed, requests that
//! are safe to repeat are repeated, and new requests wait up to the request timeout. What may be in flight is bounded
//! ([`ClientBuilder::in_flight_bytes_max`], [`ClientBuilder::producer_bytes_max`]); beyond it callers wait.
//!
//! # Errors
//!
//! [`Error::advice`] says what to do: retry, check, make a new client, fix the call, or give up. Details of a
//! server's refusal are fields of [`Refusal`].
//!
//! # Inside
//!
//! `link` is what callers and the connection task share; `connection` is that task (handshake, reader, writer,
//! heartbeat, reconnecting); `append`, `producer`, `subscription`, `pipeline` and `listing` are built on the link.

mod address;
mod append;
mod builder;
mod client;
mod config;
mod connection;
mod convert;
mod error;
mod link;
mod listing;
mod options;
mod pipeline;
mod producer;
mod reconnect;
mod subscription;
mod sync;
mod transport;
mod types;

pub use streamkeeper_protocol::command::{Start, Storage};
pub use streamkeeper_protocol::event::EndReason;
pub use streamkeeper_protocol::{ErrorCode, Str};

pub use address::Address;
pub use append::Ticket;
pub use builder::ClientBuilder;
pub use client::Client;
pub use error::{Advice, Doubt, Error, Part, Refusal};
pub use listing::Listing;
pub use options::{AppendOptions, CreateOptions, ReadOptions, SubscribeOptions};
pub use pipeline::{Confirmed, Confirms, Pipeline};
pub use producer::{Producer, ProducerBuilder, Receipt, Stored};
pub use reconnect::Reconnect;
pub use subscription::Subscription;
pub use transport::{Dial, Dialing, Transport};
pub use types::{Appended, Created, ListPage, Page, Record, ServerInfo, StreamEntry, StreamStatus};
