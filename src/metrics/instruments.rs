//! The instruments behind the handles: counter, gauge and histogram, thin over those of the `metrics` facade.
//!
//! They give the broker one vocabulary (whole numbers in, a gauge that is held and given back) and keep the facade's
//! macros in this file. The functions that make them ask the recorder in force, so they are called only while
//! [`super::Metrics`] is made; afterwards a handle knows its cell and asks nobody.

use std::time::Duration;

use ::metrics::{describe_counter, describe_gauge, describe_histogram};

/// A number that only grows. Clones share it.
#[derive(Clone, Debug)]
pub struct Counter(::metrics::Counter);

impl Counter {
    /// Adds `by`.
    pub fn increment(&self, by: u64) {
        self.0.increment(by);
    }
}

/// A number that rises and falls. Clones share it.
#[derive(Clone, Debug)]
pub struct Gauge(::metrics::Gauge);

impl Gauge {
    /// Adds `by`.
    pub fn increment(&self, by: u64) {
        self.0.increment(float(by));
    }

    /// Takes `by` away.
    pub fn decrement(&self, by: u64) {
        self.0.decrement(float(by));
    }

    /// Sets it to `value`.
    pub fn set(&self, value: u64) {
        self.0.set(float(value));
    }

    /// Adds 1 until the answer is dropped.
    #[must_use = "the gauge falls again when this is dropped"]
    pub fn hold(&self) -> Held {
        self.increment(1);
        Held(self.clone())
    }
}

/// One unit of a [`Gauge`], given back on drop.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// How a set of samples is distributed over fixed buckets. Clones share it. Every sample takes memory until the next
/// upkeep of the exporter.
#[derive(Clone, Debug)]
pub struct Histogram(::metrics::Histogram);

impl Histogram {
    /// Records one sample, in the histogram's unit.
    pub fn record(&self, value: f64) {
        self.0.record(value);
    }

    /// Records a time, in seconds.
    pub fn record_duration(&self, time: Duration) {
        self.record(time.as_secs_f64());
    }

    /// Records a size or a count.
    pub fn record_count(&self, value: u64) {
        self.record(float(value));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a statistic need not be exact beyond 2^53"
)]
fn float(value: u64) -> f64 {
    value as f64
}

/// A label and its value.
type Label = (&'static str, &'static str);

/// Every family's name begins with the product's.
fn full(name: &str) -> String {
    format!("streamkeeper_{name}")
}

pub(super) fn counter(name: &str, help: &'static str) -> Counter {
    describe_counter!(full(name), help);
    Counter(::metrics::counter!(full(name)))
}

/// The member with this label of the family `name`.
pub(super) fn counter_of(name: &str, help: &'static str, label: Label) -> Counter {
    describe_counter!(full(name), help);
    Counter(::metrics::counter!(full(name), &[label]))
}

/// The member with these labels of the family `name`.
pub(super) fn counter_with(name: &str, help: &'static str, labels: &[Label; 2]) -> Counter {
    describe_counter!(full(name), help);
    Counter(::metrics::counter!(full(name), labels))
}

pub(super) fn gauge(name: &str, help: &'static str) -> Gauge {
    describe_gauge!(full(name), help);
    Gauge(::metrics::gauge!(full(name)))
}

/// The member with this label of the family `name`.
pub(super) fn gauge_of(name: &str, help: &'static str, label: Label) -> Gauge {
    describe_gauge!(full(name), help);
    Gauge(::metrics::gauge!(full(name), &[label]))
}

/// `name` ends in its unit, from which it gets its buckets.
pub(super) fn histogram(name: &str, help: &'static str) -> Histogram {
    describe_histogram!(full(name), help);
    Histogram(::metrics::histogram!(full(name)))
}
