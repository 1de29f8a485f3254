//! Every metric family of the broker, made once and handed around as `Arc<Metrics>`.
//!
//! A [`Metrics`] is a struct of handles: using one is an atomic add, with no lookup by name and no lock. The
//! recorder behind [`Exporter`] is this value's own, never the global one of the `metrics` facade, so two brokers
//! in one process do not mix their numbers.
//!
//! The recorder keeps every sample of a histogram until it is put into its bucket, by a scrape or by
//! [`Exporter::run_upkeep`]. So memory is bounded by two things together: whoever holds the exporter runs the upkeep
//! every second, scraped or not (`serve` does), and those who record often record a bounded number of samples (the
//! committer per commit, a session per DELIVER).
//!
//! Names are in base units (`_total`, `_seconds`, `_bytes`); no label names a stream, a client or a record.
//! What is measured where is the business of the modules that hold the handles, not of this one.

mod instruments;
mod requests;
mod wakes;

pub use instruments::{Counter, Gauge, Held, Histogram};
pub use requests::Requests;
pub use wakes::Wakes;

use std::fmt;
use std::sync::Arc;

use ::metrics::{NoopRecorder, with_local_recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
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
    /// HTTP connections open now.
    pub http_connections: Gauge,
    /// Requests answered on stream routes, by method and status class.
    pub http_requests: Requests,
    /// Bytes of request bodies that are being read or appended.
    pub http_body_bytes: Gauge,
    /// Long-polls and event streams open now.
    pub http_live_readers: Gauge,
    /// Subscriptions that wake workers.
    pub wakes: Wakes,
    /// Connections past their CONNECT.
    pub sessions: Gauge,
    /// Appends accepted and durable, duplicates not counted.
    pub appends: Counter,
    /// Records in them.
    pub append_records: Counter,
    /// Payload bytes in them.
    pub append_bytes: Counter,
    /// Seconds from an append's entry into its write queue to its confirm, for a sample of the streams of a commit.
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
    /// Records between a subscription's position and the durable tail, at a sample of the DELIVERs.
    pub delivery_lag_records: Histogram,
    /// Requests and connections refused, by error code.
    pub refusals: Refusals,
    /// Times the start of a stream moved.
    pub trims: Counter,
    /// Records dropped by it.
    pub trimmed_records: Counter,
    /// Of them, those that could not be read.
    pub trimmed_unread: Counter,
    /// Reads of stored records that failed.
    pub failed_reads: Counter,
    /// Streams that went away because their ttl or expiry passed.
    pub expiries: Counter,
    /// Size of the journal file.
    pub journal_file_bytes: Gauge,
    /// Size of the store file.
    pub store_file_bytes: Gauge,
    /// Size of the segment files together.
    pub segment_file_bytes: Gauge,
    /// Streams whose state is in memory.
    pub resident_streams: Gauge,
    /// Folds of journal rows into the store.
    pub folds: Counter,
    /// Last frames of the journal that a start left out, since they were not whole.
    pub journal_left_out: Counter,
    /// Bytes of the journal that the start replayed.
    pub journal_replayed_bytes: Gauge,
    /// Seconds of one fold.
    pub fold_seconds: Histogram,
    /// 1 while the broker is ready to serve, else 0.
    pub ready: Gauge,
}

impl Metrics {
    /// A new set of handles, all at zero, and the exporter that renders them. The holder of the exporter runs its
    /// upkeep every second.
    pub fn new() -> (Arc<Self>, Exporter) {
        let recorder = recorder();
        let metrics = with_local_recorder(&recorder, || {
            let version = ("version", env!("CARGO_PKG_VERSION"));
            instruments::gauge_of("build_info", "Version of this broker", version).set(1);
            Self::register()
        });
        let handle = recorder.handle();
        (Arc::new(metrics), Exporter { handle })
    }

    /// Handles that record nothing, for a broker embedded in a program that does not ask for metrics.
    pub fn disabled() -> Arc<Self> {
        Arc::new(with_local_recorder(&NoopRecorder, Self::register))
    }

    /// Makes every handle from the recorder in force.
    fn register() -> Self {
        use instruments::{counter, counter_of, gauge, gauge_of, histogram};
        let accepted = |transport| {
            let name = "connections_accepted_total";
            counter_of(name, "Connections accepted", ("transport", transport))
        };
        let file = |file| {
            let name = "store_file_bytes";
            gauge_of(name, "Size of a data file", ("file", file))
        };
        Self {
            connections: gauge("connections", "Connections open now"),
            connections_accepted_tcp: accepted("tcp"),
            connections_accepted_unix: accepted("unix"),
            connections_refused: counter(
                "connections_refused_total",
                "Connections over the most allowed",
            ),
            http_connections: gauge("http_connections", "HTTP connections open now"),
            http_requests: Requests::register(),
            http_body_bytes: gauge("http_body_bytes", "Bytes of request bodies at work"),
            http_live_readers: gauge("http_live_readers", "Long-polls and event streams open now"),
            wakes: Wakes::register(),
            sessions: gauge("sessions", "Connections past their CONNECT"),
            appends: counter("appends_total", "Appends accepted and durable"),
            append_records: counter("append_records_total", "Records appended and durable"),
            append_bytes: counter("append_bytes_total", "Payload bytes appended and durable"),
            confirm_seconds: histogram(
                "confirm_seconds",
                "From an append's queueing to its confirm",
            ),
            commit_seconds: histogram(
                "commit_seconds",
                "Time of one journal commit with its fsync",
            ),
            commit_bytes: histogram("commit_bytes", "Bytes written by one journal commit"),
            commit_records: histogram("commit_records", "Records written by one journal commit"),
            fsyncs: counter("fsyncs_total", "Times a file was synced"),
            queue_bytes: gauge("queue_bytes", "Bytes that wait in write queues"),
            hot_tail_bytes: gauge("hot_tail_bytes", "Bytes of records not yet folded"),
            subscriptions: gauge("subscriptions", "Subscriptions open now"),
            delivered_records: counter("delivered_records_total", "Records sent to subscribers"),
            delivered_bytes: counter("delivered_bytes_total", "Bytes of runs sent to subscribers"),
            delivery_lag_records: histogram("delivery_lag_records", "Records a delivery is behind"),
            refusals: Refusals::register(),
            trims: counter("trims_total", "Times the start of a stream moved"),
            trimmed_records: counter("trimmed_records_total", "Records trimmed"),
            trimmed_unread: counter(
                "trimmed_unread_total",
                "Records trimmed that could not be read any more",
            ),
            failed_reads: counter("failed_reads_total", "Reads of stored records that failed"),
            expiries: counter("expiries_total", "Streams that expired"),
            journal_file_bytes: file("journal"),
            store_file_bytes: file("store"),
            segment_file_bytes: file("segments"),
            resident_streams: gauge("resident_streams", "Streams whose state is in memory"),
            folds: counter("folds_total", "Folds of journal rows into the store"),
            journal_left_out: counter(
                "journal_left_out_total",
                "Last commits of the journal that a start left out: not whole",
            ),
            journal_replayed_bytes: gauge(
                "journal_replayed_bytes",
                "Bytes of the journal that the start replayed",
            ),
            fold_seconds: histogram("fold_seconds", "Time of one fold"),
            ready: gauge("ready", "1 while the broker is ready to serve"),
        }
    }
}

/// A recorder of this broker alone. Histograms take their buckets from the unit that their name ends in.
fn recorder() -> PrometheusRecorder {
    let units = [
        ("_seconds", SECONDS),
        ("_bytes", BYTES),
        ("_records", RECORDS),
    ];
    let builder = units
        .into_iter()
        .fold(PrometheusBuilder::new(), |builder, (unit, bounds)| {
            builder
                .set_buckets_for_metric(Matcher::Suffix(unit.to_owned()), bounds)
                .expect("every unit has buckets")
        });
    builder.build_recorder()
}

/// One counter per error code, made once.
#[derive(Debug)]
pub struct Refusals {
    /// Indexed by code; `None` where no code has this number.
    counters: Box<[Option<Counter>]>,
}

impl Refusals {
    fn register() -> Self {
        let counter = |code| {
            let code = ErrorCode::try_from(code).ok()?;
            let name = "refusals_total";
            let help = "Requests and connections refused";
            let label = ("code", code.as_str());
            Some(instruments::counter_of(name, help, label))
        };
        Self {
            counters: (0..CODES).map(counter).collect(),
        }
    }

    /// Counts one ERR with this code.
    pub fn increment(&self, code: ErrorCode) {
        let slot = self.counters.get(usize::from(code as u16));
        if let Some(Some(counter)) = slot {
            counter.increment(1);
        }
    }
}

/// Renders the metrics of one broker. Cheap to clone.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
}

impl Exporter {
    /// Media type of what [`Exporter::render`] gives.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4";

    /// All metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Puts the histogram samples recorded since the last time into their buckets, and frees them. Needed every
    /// second or so, scraped or not: see the module.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
