//! A client's settings, gathered by the builder and fixed from then on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::Reconnect;
use crate::transport::Dial;

/// See [`crate::ClientBuilder`], which documents each and holds the defaults.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) dial: Arc<dyn Dial>,
    /// What errors call the server.
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) token: Option<Bytes>,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    /// `None`: what the server suggests.
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) reconnect: Reconnect,
    pub(crate) in_flight_bytes_max: u32,
    pub(crate) in_flight_requests_max: u32,
    pub(crate) producer_bytes_max: u32,
}
