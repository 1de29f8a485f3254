//! Every metric family of the broker, made once and handed around as `Arc<Metrics>`.
//!
//! A [`Metrics`] is a struct of handles: using one is an atomic add, with no lookup by name and no lock. The
//! registry behind [`Exporter`] is this value's own, never a global one, so two brokers in one process do not
//! mix their numbers. Memory is fixed however many samples are recorded and whether or not anyone scrapes.
//!
//! Names are in base units (`_total`, `_seconds`, `_bytes`); no label names a stream, a client or a record.
//! What is measured where is the business of the modules that hold the handles, not of this one.

mod instruments;

use instruments::Labelled;
pub use instruments::{Counter, Gauge, Held, Histogram};

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use streamkeeper_protocol::ErrorCode;

/// Seconds of a confirm, a commit or a fold: from a fast flash write to a stuck disk, by powers of two.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.003_2, 0.006_4, 0.012_8, 0.025_6, 0.051_2,
    0.102_4, 0.204_8, 0.409_6, 0.819_2, 1.638_4, 3.276_8, 6.553_6, 13.107_2,
];

/// Bytes of a commit, by powers of four from 256 bytes to 64 MiB.
const BYTES: &[f64] = &[
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Counts of records, by powers of four; the first bucket tells "none" from "some".
const RECORDS: &[f64] = &[
    0.0,
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
];

/// Error codes lie below this number (SPEC.md, response codes), so a table by code is small.
const CODES: u16 = 256;

/// Handles to every metric of one broker.
#[derive(Debug)]
pub struct Metrics {
    /// Connections open now, whatever their state.
    pub connections: Gauge,
    /// TCP connections accepted.
    pub connections_accepted_tcp: Counter,
    /// Unix socket connections accepted.
    pub connections_accepted_unix: Counter,
    /// Connections turned away at the door, because the most allowed were open.
    pub connections_refused: Counter,
    /// Connections past their CONNECT.
    pub sessions: Gauge,
    /// Appends accepted and durable, duplicates not counted.
    pub appends: Counter,
    /// Records in them.
    pub append_records: Counter,
    /// Payload bytes in them.
    pub append_bytes: Counter,
    /// Seconds from an append's entry into its write queue to its confirm.
    pub confirm_seconds: Histogram,
    /// Seconds of one journal commit, its fsync included.
    pub commit_seconds: Histogram,
    /// Bytes written by one journal commit.
    pub commit_bytes: Histogram,
    /// Records written by one journal commit.
    pub commit_records: Histogram,
    /// Times a file was synced.
    pub fsyncs: Counter,
    /// Bytes that wait in write queues.
    pub queue_bytes: Gauge,
    /// Bytes of records in memory that are not yet folded into the store.
    pub hot_tail_bytes: Gauge,
    /// Subscriptions open now.
    pub subscriptions: Gauge,
    /// Records sent to subscribers.
    pub delivered_records: Counter,
    /// Bytes of runs sent to subscribers.
    pub delivered_bytes: Counter,
    /// Records between a subscription's position and the durable tail, sampled at each DELIVER.
    pub delivery_lag_records: Histogram,
    /// Requests and connections refused, by error code.
    pub refusals: Refusals,
    /// Times the start of a stream moved.
    pub trims: Counter,
    /// Records dropped by it.
    pub trimmed_records: Counter,
    /// Streams that went away because their ttl or expiry passed.
    pub expiries: Counter,
    /// Size of the journal file.
    pub journal_file_bytes: Gauge,
    /// Size of the store file.
    pub store_file_bytes: Gauge,
    /// Streams whose state is in memory.
    pub resident_streams: Gauge,
    /// Folds of journal rows into the store.
    pub folds: Counter,
    /// Seconds of one fold.
    pub fold_seconds: Histogram,
    /// 1 while the broker is ready to serve, else 0.
    pub ready: Gauge,
}

impl Metrics {
    /// A new set of handles, all at zero, and the exporter that renders them.
    pub fn new() -> (Arc<Self>, Exporter) {
        let metrics = Self::unregistered();
        let mut registry = Registry::with_prefix("streamkeeper");
        metrics.register_traffic(&mut registry);
        metrics.register_delivery(&mut registry);
        metrics.register_storage(&mut registry);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        // An OpenMetrics info metric: appears as `streamkeeper_build_info{version="..."} 1`.
        registry.register("build", "Version of this broker", version);
        (
            Arc::new(metrics),
            Exporter {
                registry: Arc::new(registry),
            },
        )
    }

    /// Handles that nothing renders, for a broker embedded in a program that does not ask for metrics.
    pub fn disabled() -> Arc<Self> {
        Arc::new(Self::unregistered())
    }

    fn unregistered() -> Self {
        Self {
            connections: Gauge::default(),
            connections_accepted_tcp: Counter::default(),
            connections_accepted_unix: Counter::default(),
            connections_refused: Counter::default(),
            sessions: Gauge::default(),
            appends: Counter::default(),
            append_records: Counter::default(),
            append_bytes: Counter::default(),
            confirm_seconds: Histogram::new(SECONDS),
            commit_seconds: Histogram::new(SECONDS),
            commit_bytes: Histogram::new(BYTES),
            commit_records: Histogram::new(RECORDS),
            fsyncs: Counter::default(),
            queue_bytes: Gauge::default(),
            hot_tail_bytes: Gauge::default(),
            subscriptions: Gauge::default(),
            delivered_records: Counter::default(),
            delivered_bytes: Counter::default(),
            delivery_lag_records: Histogram::new(RECORDS),
            refusals: Refusals::new(),
            trims: Counter::default(),
            trimmed_records: Counter::default(),
            expiries: Counter::default(),
            journal_file_bytes: Gauge::default(),
            store_file_bytes: Gauge::default(),
            resident_streams: Gauge::default(),
            folds: Counter::default(),
            fold_seconds: Histogram::new(SECONDS),
            ready: Gauge::default(),
        }
    }

    fn register_traffic(&self, to: &mut Registry) {
        plain(to, "connections", "Connections open now", &self.connections);
        // The counter cannot be called `connections` as well: OpenMetrics names a family without its `_total`.
        let accepted = [
            ("tcp", self.connections_accepted_tcp.clone()),
            ("unix", self.connections_accepted_unix.clone()),
        ];
        let accepted = Labelled::new("transport", accepted);
        to.register("connections_accepted", "Connections accepted", accepted);
        let help = "Connections turned away because the most allowed were open";
        plain(to, "connections_refused", help, &self.connections_refused);
        plain(
            to,
            "sessions",
            "Connections past their CONNECT",
            &self.sessions,
        );
        plain(to, "appends", "Appends accepted and durable", &self.appends);
        plain(
            to,
            "append_records",
            "Records appended and durable",
            &self.append_records,
        );
        bytes(
            to,
            "append",
            "Payload bytes appended and durable",
            &self.append_bytes,
        );
        let help = "Time from an append's entry into its write queue to its confirm";
        seconds(to, "confirm", help, &self.confirm_seconds);
        bytes(
            to,
            "queue",
            "Bytes that wait in write queues",
            &self.queue_bytes,
        );
        let refusals = Labelled::new("code", self.refusals.by_code());
        to.register("refusals", "Requests and connections refused", refusals);
        plain(
            to,
            "ready",
            "1 while the broker is ready to serve",
            &self.ready,
        );
    }

    fn register_delivery(&self, to: &mut Registry) {
        plain(
            to,
            "subscriptions",
            "Subscriptions open now",
            &self.subscriptions,
        );
        plain(
            to,
            "delivered_records",
            "Records sent to subscribers",
            &self.delivered_records,
        );
        bytes(
            to,
            "delivered",
            "Bytes of runs sent to subscribers",
            &self.delivered_bytes,
        );
        let help = "Records between a subscription and the durable tail, at each DELIVER";
        plain(to, "delivery_lag_records", help, &self.delivery_lag_records);
    }

    fn register_storage(&self, to: &mut Registry) {
        let help = "Time of one journal commit with its fsync";
        seconds(to, "commit", help, &self.commit_seconds);
        bytes(
            to,
            "commit",
            "Bytes written by one journal commit",
            &self.commit_bytes,
        );
        let help = "Records written by one journal commit";
        plain(to, "commit_records", help, &self.commit_records);
        plain(to, "fsyncs", "Times a file was synced", &self.fsyncs);
        let help = "Bytes of records in memory not yet folded into the store";
        bytes(to, "hot_tail", help, &self.hot_tail_bytes);
        plain(
            to,
            "trims",
            "Times the start of a stream moved",
            &self.trims,
        );
        plain(
            to,
            "trimmed_records",
            "Records trimmed",
            &self.trimmed_records,
        );
        plain(to, "expiries", "Streams that expired", &self.expiries);
        let files = [
            ("journal", self.journal_file_bytes.clone()),
            ("store", self.store_file_bytes.clone()),
        ];
        let files = Labelled::new("file", files);
        to.register_with_unit("store_file", "Size of a data file", Unit::Bytes, files);
        plain(
            to,
            "resident_streams",
            "Streams whose state is in memory",
            &self.resident_streams,
        );
        plain(
            to,
            "folds",
            "Folds of journal rows into the store",
            &self.folds,
        );
        seconds(to, "fold", "Time of one fold", &self.fold_seconds);
    }
}

fn plain(to: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    to.register(name, help, metric.clone());
}

/// Registers `name` with the suffix `_bytes`.
fn bytes(to: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    to.register_with_unit(name, help, Unit::Bytes, metric.clone());
}

/// Registers `name` with the suffix `_seconds`.
fn seconds(to: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    to.register_with_unit(name, help, Unit::Seconds, metric.clone());
}

/// One counter per error code, made once.
#[derive(Debug)]
pub struct Refusals {
    /// Indexed by code; `None` where no code has this number.
    counters: Box<[Option<(ErrorCode, Counter)>]>,
}

impl Refusals {
    fn new() -> Self {
        let counter = |code| {
            ErrorCode::try_from(code)
                .ok()
                .map(|code| (code, Counter::default()))
        };
        Self {
            counters: (0..CODES).map(counter).collect(),
        }
    }

    /// Counts one ERR with this code.
    pub fn increment(&self, code: ErrorCode) {
        if let Some(counter) = self.get(code) {
            counter.increment(1);
        }
    }

    /// The counter of this code.
    pub fn get(&self, code: ErrorCode) -> Option<&Counter> {
        let slot = self.counters.get(usize::from(code as u16))?;
        slot.as_ref().map(|(_, counter)| counter)
    }

    fn by_code(&self) -> impl Iterator<Item = (&'static str, Counter)> {
        self.counters
            .iter()
            .flatten()
            .map(|(code, counter)| (code.as_str(), counter.clone()))
    }
}

/// Renders the metrics of one broker. Cheap to clone.
#[derive(Clone)]
pub struct Exporter {
    registry: Arc<Registry>,
}

impl Exporter {
    /// Media type of what [`Exporter::render`] gives.
    pub const CONTENT_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All metrics as `OpenMetrics` text, which Prometheus reads as its own.
    ///
    /// # Errors
    /// If the encoder refuses a metric, which none of ours gives it cause to.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
