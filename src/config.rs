//! What the broker is told: flags over `STREAMKEEPER_*` environment over a TOML file over defaults.
//!
//! [`Layers`] collects what was said and where, as text; [`Config::resolve`] turns it into typed values once, and
//! refuses the first value that is wrong with the place it came from. After that nothing validates again. The list
//! of settings is [`keys::KEYS`], one row each: flags, environment, file keys and `--print-config` all follow it.
//!
//! Environment variables that are not ours are left alone, even if they begin with `STREAMKEEPER_`: orchestrators
//! add such variables for a service of that name. A file is ours alone, so an unknown key in it is an error.
//!
//! This module does not open, bind or create anything.

mod error;
mod file;
mod flags;
pub mod keys;
mod layers;
mod memory;
mod print;
mod values;

pub use error::ConfigError;
pub use layers::{Layers, Source};
pub use print::Resolved;
pub use values::{ByteCount, Http, LogFormat, LogLevel, Origin, PublicUrl, Secret};

use std::path::PathBuf;
use std::time::Duration;

use streamkeeper_protocol::limits;

use crate::server::ListenAddress;
use crate::types::StorageKind;
use layers::Resolver;

/// The whole configuration of `streamkeeper serve`, valid by construction.
#[derive(Clone, Debug)]
pub struct Config {
    /// Data directory; created if it is missing.
    pub data: PathBuf,
    /// Where the wire protocol is served. At least one.
    pub listen: Vec<ListenAddress>,
    /// Where streams over HTTP, probes and metrics are served.
    pub http: Http,
    /// Tokens a client may show; empty means that none is needed.
    pub auth_token: Vec<Secret>,
    /// Where streams live whose creator does not say.
    pub storage: StorageKind,
    /// Log lines as text or JSON.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: LogLevel,
    /// Most connections at a time. At least 1.
    pub connections_max: u32,
    /// Silence after which a peer is probed. At least 1 s.
    pub heartbeat: Duration,
    /// Time a peer has for its CONNECT.
    pub handshake_timeout: Duration,
    /// Time a peer may leave the broker's writes unread.
    pub write_timeout: Duration,
    /// Largest frame, after its length field.
    pub frame_bytes_max: u32,
    /// Largest record payload.
    pub record_bytes_max: u32,
    /// Most records in one APPEND.
    pub batch_records_max: u32,
    /// Most subscriptions of one connection.
    pub subscriptions_max: u32,
    /// Write queues of all streams together.
    pub queue_bytes_max: u64,
    /// Write queue of one stream.
    pub stream_queue_bytes_max: u64,
    /// Records in memory that are not yet folded.
    pub hot_tail_bytes_max: u64,
    /// Ceiling for the memory of the process; absent if it is what the bounds add up to.
    pub memory_max: Option<u64>,
    /// All memory streams together.
    pub memory_streams_bytes_max: u64,
    /// Page cache of the store file.
    pub store_cache_bytes: u64,
    /// Journal bytes that one fold aims at.
    pub fold_bytes: u64,
    /// Most bytes in one commit.
    pub commit_bytes_max: u64,
    /// Largest body of an HTTP request.
    pub http_body_bytes_max: u64,
    /// Bodies of all HTTP requests that are being read or appended.
    pub http_bodies_bytes_max: u64,
    /// Answers over HTTP that wait to be taken.
    pub http_answers_bytes_max: u64,
    /// Bytes of frames of all clients that are not whole, or wait for their queue.
    pub incoming_bytes_max: u64,
    /// Deliveries that wait to be taken, over all connections.
    pub unsent_bytes_max: u64,
    /// How long a long-poll waits.
    pub long_poll_timeout: Duration,
    /// Origins whose pages may use the streams; `*` is any. At least one.
    pub cors_origins: Vec<Origin>,
    /// The root under which workers reach the HTTP port.
    pub public_url: PublicUrl,
    /// Whether webhooks may go to loopback addresses.
    pub webhooks_allow_loopback: bool,
    /// Time that a shutdown may take. Connections are cut a little before.
    pub drain_grace: Duration,
}

impl Config {
    /// Reads the file if one is named, and resolves all layers. The second value says where each value came from.
    ///
    /// # Errors
    /// The first setting that is wrong, unknown or contradicts another.
    pub fn load(mut layers: Layers) -> Result<(Self, Resolved), ConfigError> {
        if let Some(path) = layers.file.take() {
            file::read(&path, &mut layers)?;
        }
        Self::resolve(layers)
    }

    /// Resolves layers that are complete.
    ///
    /// # Errors
    /// The first setting that is wrong or contradicts another.
    pub fn resolve(layers: Layers) -> Result<(Self, Resolved), ConfigError> {
        let mut settings = Resolver::new(layers);
        let config = Self::take(&mut settings)?;
        let resolved = settings.finish();
        config.check(&resolved)?;
        Ok((config, resolved))
    }

    fn take(from: &mut Resolver) -> Result<Self, ConfigError> {
        let (connections_max, ceiling) = Self::take_ceiling(from)?;
        Ok(Self {
            data: from.one::<values::Directory>("data")?.0,
            listen: from.list("listen")?,
            http: from.one("http")?,
            auth_token: from.list("auth_token")?,
            storage: from.one::<values::DefaultStorage>("storage")?.0,
            log_format: from.one("log_format")?,
            log_level: from.one("log_level")?,
            connections_max,
            heartbeat: from.duration("heartbeat", Duration::from_secs(1))?,
            handshake_timeout: from.duration("handshake_timeout", Duration::from_millis(10))?,
            write_timeout: from.duration("write_timeout", Duration::from_millis(10))?,
            frame_bytes_max: from.bytes32("frame_bytes_max", FRAME_BYTES)?,
            record_bytes_max: from.bytes32("record_bytes_max", RECORD_BYTES)?,
            batch_records_max: from.count("batch_records_max", 1, limits::BATCH_RECORDS_MAX)?,
            subscriptions_max: from.count("subscriptions_max", 1, 1_000_000)?,
            memory_max: ceiling,
            queue_bytes_max: from.bytes("queue_bytes_max", QUEUE_BYTES_MIN)?,
            stream_queue_bytes_max: from.bytes("stream_queue_bytes_max", QUEUE_BYTES_MIN)?,
            hot_tail_bytes_max: from.bytes("hot_tail_bytes_max", MIB)?,
            memory_streams_bytes_max: from.bytes("memory_streams_bytes_max", 0)?,
            store_cache_bytes: from.bytes("store_cache_bytes", CACHE_BYTES_MIN)?,
            fold_bytes: from.bytes("fold_bytes", FOLD_BYTES_MIN)?,
            commit_bytes_max: from.bytes("commit_bytes_max", COMMIT_BYTES_MIN)?,
            http_body_bytes_max: from.bytes("http_body_bytes_max", 1)?,
            http_bodies_bytes_max: from.bytes("http_bodies_bytes_max", 1)?,
            http_answers_bytes_max: from.bytes("http_answers_bytes_max", MIB)?,
            incoming_bytes_max: from.bytes("incoming_bytes_max", MIB)?,
            unsent_bytes_max: from.bytes("unsent_bytes_max", MIB)?,
            long_poll_timeout: from.duration("long_poll_timeout", Duration::ZERO)?,
            cors_origins: from.list("cors_origins")?,
            public_url: from.one("public_url")?,
            webhooks_allow_loopback: from.one("webhooks_allow_loopback")?,
            drain_grace: from.duration("drain_grace", Duration::ZERO)?,
        })
    }

    /// The ceiling comes first, since the bounds follow from it.
    fn take_ceiling(from: &mut Resolver) -> Result<(u32, Option<u64>), ConfigError> {
        let connections_max = from.count("connections_max", 1, 1_000_000)?;
        let ceiling = from.one::<values::Ceiling>("memory_max")?.0;
        if let Some(ceiling) = ceiling {
            memory::divide(ceiling, connections_max, from);
        }
        Ok((connections_max, ceiling))
    }

    /// The rules between settings.
    fn check(&self, resolved: &Resolved) -> Result<(), ConfigError> {
        let record = u64::from(self.record_bytes_max);
        let frame = u64::from(self.frame_bytes_max);
        // An APPEND of one record also holds its name and fields; a DELIVER the header of a run.
        let needed = record + FRAME_OVERHEAD_BYTES;
        if frame < needed {
            let need = format!(
                "{} or more, to carry a record of record_bytes_max",
                ByteCount(needed)
            );
            return Err(resolved.contradiction("frame_bytes_max", need));
        }
        if let Some(need) = self.memory_lacking() {
            let need = format!(
                "{} or more, for all bounds and connections_max",
                ByteCount(need)
            );
            return Err(resolved.contradiction("memory_max", need));
        }
        if self.stream_queue_bytes_max > self.queue_bytes_max {
            let need = format!(
                "at most queue_bytes_max, {}",
                ByteCount(self.queue_bytes_max)
            );
            return Err(resolved.contradiction("stream_queue_bytes_max", need));
        }
        if self.http_body_bytes_max > self.http_bodies_bytes_max {
            let need = format!(
                "at most http_bodies_bytes_max, {}",
                ByteCount(self.http_bodies_bytes_max)
            );
            return Err(resolved.contradiction("http_body_bytes_max", need));
        }
        Ok(())
    }
}

const MIB: u64 = 1 << 20;
/// Smaller queues would make each append wait for a commit of its own.
const QUEUE_BYTES_MIN: u64 = 64 << 10;
/// redb needs a few pages to work at all.
const CACHE_BYTES_MIN: u64 = 256 << 10;
/// Folds write rows near 64 KiB; smaller ones would leave mostly empty rows.
const FOLD_BYTES_MIN: u64 = 256 << 10;
/// One journal row.
const COMMIT_BYTES_MIN: u64 = 64 << 10;
/// What an APPEND of one record may hold besides its payload, rounded up.
const FRAME_OVERHEAD_BYTES: u64 = 4 << 10;
/// What the protocol lets a server announce.
const FRAME_BYTES: (u32, u32) = (limits::FRAME_BYTES_FLOOR, limits::FRAME_BYTES_CEILING);
/// From one byte to the protocol's ceiling.
const RECORD_BYTES: (u32, u32) = (1, limits::RECORD_BYTES_CEILING);

#[cfg(test)]
mod tests;
