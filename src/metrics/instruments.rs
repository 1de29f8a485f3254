//! The instruments behind the handles: counter, gauge and histogram as plain atomics.
//!
//! They live here, and not in a library, for two reasons: a histogram must cost the same fixed memory whether or
//! not anyone scrapes it, and `record` is called by the committer and by every session at once, so it must take
//! no lock. `prometheus-client` only encodes them. All orderings are relaxed: the numbers are statistics, and a
//! scrape that falls between two adds is right about one of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// A number that only grows. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `by`.
    pub fn increment(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// What has been counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl EncodeMetric for Counter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.get(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// A number that rises and falls. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Adds `by`.
    pub fn increment(&self, by: u64) {
        self.0.fetch_add(signed(by), Ordering::Relaxed);
    }

    /// Takes `by` away.
    pub fn decrement(&self, by: u64) {
        self.0.fetch_sub(signed(by), Ordering::Relaxed);
    }

    /// Sets it to `value`.
    pub fn set(&self, value: u64) {
        self.0.store(signed(value), Ordering::Relaxed);
    }

    /// Adds 1 until the answer is dropped.
    #[must_use = "the gauge falls again when this is dropped"]
    pub fn hold(&self) -> Held {
        self.increment(1);
        Held(self.clone())
    }

    /// Where it stands. Below zero only for the moment in which a decrement overtakes its increment.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl EncodeMetric for Gauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// One unit of a [`Gauge`], given back on drop.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// How a set of samples is distributed over fixed buckets. Clones share it.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Upper bounds, inclusive and rising.
    bounds: &'static [f64],
    /// Samples per bucket, one more than bounds: the last is for what lies above all of them.
    counts: Box<[AtomicU64]>,
    /// Sum of all samples, as the bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    /// An empty histogram with these rising upper bounds.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets {
            bounds,
            counts,
            sum: AtomicU64::new(0),
        }))
    }

    /// Records one sample, in the histogram's unit.
    pub fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    /// Records `count` samples of the same value at the price of one.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub fn record_many(&self, value: f64, count: u64) {
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        if let Some(samples) = self.0.counts.get(bucket) {
            samples.fetch_add(count, Ordering::Relaxed);
        }
        let added = value * count as f64;
        let add = |sum: u64| Some((f64::from_bits(sum) + added).to_bits());
        // The update never refuses, so there is no error to look at.
        self.0
            .sum
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .ok();
    }

    /// Records a time, in seconds.
    pub fn record_duration(&self, time: Duration) {
        self.record(time.as_secs_f64());
    }

    /// Records a size or a count.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a bucketed size need not be exact beyond 2^53"
    )]
    pub fn record_count(&self, value: u64) {
        self.record(value as f64);
    }

    /// How many samples were recorded.
    pub fn count(&self) -> u64 {
        self.0
            .counts
            .iter()
            .map(|samples| samples.load(Ordering::Relaxed))
            .sum()
    }

    /// The sum of all samples.
    pub fn sum(&self) -> f64 {
        f64::from_bits(self.0.sum.load(Ordering::Relaxed))
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // The encoder makes counts cumulative itself; the bucket above all bounds is its `+Inf`.
        let above = std::iter::once(f64::INFINITY);
        let bounds = self.0.bounds.iter().copied().chain(above);
        let counts = self
            .0
            .counts
            .iter()
            .map(|samples| samples.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let total = buckets.iter().map(|(_, samples)| samples).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum(), total, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Metrics of one family, told apart by the value of one label.
#[derive(Debug)]
pub(super) struct Labelled<M> {
    label: &'static str,
    metrics: Vec<(&'static str, M)>,
}

impl<M> Labelled<M> {
    pub(super) fn new(
        label: &'static str,
        metrics: impl IntoIterator<Item = (&'static str, M)>,
    ) -> Self {
        Self {
            label,
            metrics: metrics.into_iter().collect(),
        }
    }
}

impl<M: EncodeMetric> EncodeMetric for Labelled<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (value, metric) in &self.metrics {
            metric.encode(encoder.encode_family(&[(self.label, *value)])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.metrics
            .first()
            .map_or(MetricType::Unknown, |(_, metric)| metric.metric_type())
    }
}
