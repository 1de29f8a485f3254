//! Settings of a client, and the first connection.
//!
//! The only place with defaults. After [`ClientBuilder::connect`] nothing can be changed: every clone, producer and
//! subscription sees the same configuration.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::Address;
use crate::client::{Client, Handle};
use crate::config::Config;
use crate::connection;
use crate::error::Error;
use crate::link::Link;
use crate::reconnect::Reconnect;
use crate::transport::Dial;

/// Settings of a [`Client`]; made by [`Client::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientBuilder {
    name: String,
    token: Option<Bytes>,
    connect_timeout: Duration,
    request_timeout: Duration,
    heartbeat: Option<Duration>,
    reconnect: Reconnect,
    in_flight_bytes_max: u32,
    in_flight_requests_max: u32,
    producer_bytes_max: u32,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            name: String::new(),
            token: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            heartbeat: None,
            reconnect: Reconnect::default(),
            in_flight_bytes_max: 16 << 20,
            in_flight_requests_max: 65_536,
            producer_bytes_max: 32 << 20,
        }
    }
}

impl ClientBuilder {
    /// What this program is called in the server's logs (default: nothing; at most 255 bytes).
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The token to show to a server that asks for one.
    pub fn token(mut self, token: impl Into<Bytes>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How long one attempt to connect and shake hands may take (default 5 s).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an awaited request may take in all, reconnects included (default 30 s).
    ///
    /// Tickets, pipelines, producers and subscriptions have no timeout of their own: the heartbeat finds dead peers.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// After how much silence to send a PING; twice that is death (default: what the server suggests; zero: never).
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// What to do when the connection is lost (default: [`Reconnect::default`], for ever).
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.reconnect = policy;
        self
    }

    /// How many bytes of requests may be sent or waiting to be sent and not answered (default 16 MiB). Callers wait
    /// for room beyond it. Producers have [`ClientBuilder::producer_bytes_max`], subscriptions windows of their own.
    pub fn in_flight_bytes_max(mut self, bytes: u32) -> Self {
        self.in_flight_bytes_max = bytes.max(1);
        self
    }

    /// How many requests may be in flight (default 65,536); callers wait beyond it.
    ///
    /// Every request counts as at least its share of `in_flight_bytes_max`, which enforces both with one number.
    pub fn in_flight_requests_max(mut self, requests: u32) -> Self {
        self.in_flight_requests_max = requests.max(1);
        self
    }

    /// How many bytes of records the producers of this client may hold together, accepted and not confirmed (default
    /// 32 MiB). Callers of [`crate::Producer::send`] wait for room beyond it, first come, first served; but one record is always
    /// accepted by a producer that holds none, so that a stream that is refused for now does not keep the others from going on.
    pub fn producer_bytes_max(mut self, bytes: u32) -> Self {
        self.producer_bytes_max = bytes.max(1);
        self
    }

    /// Connects to `HOST:PORT` or `unix:PATH`.
    ///
    /// # Errors
    /// As [`Client::connect`].
    ///
    /// # Cancel safety
    /// Safe: dropped early, nothing stays open.
    pub async fn connect(self, address: &str) -> Result<Client, Error> {
        let address: Address = address.parse()?;
        self.connect_with(address).await
    }

    /// Connects through `dial`: TLS, a tunnel, or anything else that gives a byte stream.
    ///
    /// # Errors
    /// As [`Client::connect`].
    ///
    /// # Cancel safety
    /// Safe: dropped early, nothing stays open.
    pub async fn connect_with(self, dial: impl Dial) -> Result<Client, Error> {
        let config = Config {
            address: dial.name(),
            dial: Arc::new(dial),
            name: self.name,
            token: self.token,
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            heartbeat: self.heartbeat,
            reconnect: self.reconnect,
            in_flight_bytes_max: self.in_flight_bytes_max,
            in_flight_requests_max: self.in_flight_requests_max,
            producer_bytes_max: self.producer_bytes_max,
        };
        let first = connection::open(&config).await?;
        let link = Arc::new(Link::new(config));
        link.up(first.info());
        connection::spawn(Arc::clone(&link), first);
        Ok(Client {
            handle: Arc::new(Handle::new(link)),
        })
    }
}
