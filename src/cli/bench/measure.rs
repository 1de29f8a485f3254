//! Counting and timing: latencies, what is left to do, and when it is due.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::cli::failure::Failure;

/// The longest latency told apart from longer ones: ten minutes, in nanoseconds.
const LATENCY_MAX: u64 = 600_000_000_000;

/// How long a run is.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Extent {
    /// Run this long
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(super) duration: humantime::Duration,

    /// Run for so many operations instead, all connections together
    #[arg(long, value_name = "COUNT")]
    pub(super) count: Option<u64>,
}

/// A clock that starts with the run and gives nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunClock(Instant);

impl RunClock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> u64 {
        nanos(self.0.elapsed())
    }

    /// The moment `nanos` after the start.
    fn at(self, nanos: u64) -> Instant {
        self.0 + Duration::from_nanos(nanos)
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Hands out operations until the time or the count is used up. Shared by all connections.
#[derive(Debug)]
pub(super) struct Budget {
    clock: RunClock,
    end: Option<u64>,
    left: AtomicU64,
}

impl Budget {
    pub(super) fn new(clock: RunClock, extent: Extent, warm_up: Duration) -> Self {
        let end = nanos(*extent.duration).saturating_add(nanos(warm_up));
        let end = extent.count.is_none().then_some(end);
        Self {
            clock,
            end,
            left: AtomicU64::new(extent.count.unwrap_or(u64::MAX)),
        }
    }

    /// Whether another operation may begin.
    pub(super) fn take(&self) -> bool {
        if self.end.is_some_and(|end| self.clock.now() >= end) {
            return false;
        }
        let less = |left: u64| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }
}

/// Multiples of it fall evenly into the unit interval, and never in step with anything.
const GOLDEN_RATIO: f64 = 0.618_033_988_75;

/// Says when each operation of one connection is due.
#[derive(Debug)]
pub(super) struct Pace {
    clock: RunClock,
    /// Nanoseconds between two operations; `None` for as fast as possible.
    interval: Option<f64>,
    begun: u64,
    done: u64,
    is_even: bool,
}

impl Pace {
    /// `rate` operations a second over `connections` of which this is one; 0 for no limit.
    #[expect(
        clippy::cast_precision_loss,
        reason = "rates and counts far below 2^53"
    )]
    pub(super) fn new(clock: RunClock, rate: u64, connections: u64) -> Self {
        let interval = (rate > 0).then(|| 1e9 * connections as f64 / rate as f64);
        Self {
            clock,
            interval,
            begun: clock.now(),
            done: 0,
            is_even: true,
        }
    }

    /// The same rate at uneven moments: an even one may stay in step with another load, and always or never meet it.
    pub(super) fn uneven(self) -> Self {
        Self {
            is_even: false,
            ..self
        }
    }

    /// The pace of the connection of this number, whose operations fall between those of the others.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "less than one interval"
    )]
    pub(super) fn staggered(mut self, index: u64, connections: u64) -> Self {
        let share = index as f64 / connections as f64;
        self.begun += (self.interval.unwrap_or_default() * share) as u64;
        self
    }

    /// Waits until the next operation is due and gives that moment, which may lie in the past if the load fell behind.
    pub(super) async fn next(&mut self) -> u64 {
        let due = self.due();
        if due > self.clock.now() {
            tokio::time::sleep_until(self.clock.at(due).into()).await;
        }
        due
    }

    /// As [`Self::next`], to less than a millisecond, by stopping the thread.
    pub(super) fn next_blocking(&mut self) -> u64 {
        let due = self.due();
        let early = due.saturating_sub(self.clock.now());
        std::thread::sleep(Duration::from_nanos(early));
        due
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a run of months would be needed to leave the exact range"
    )]
    fn due(&mut self) -> u64 {
        let Some(interval) = self.interval else {
            return self.clock.now();
        };
        let number = self.done as f64;
        let share = if self.is_even {
            0.0
        } else {
            (number * GOLDEN_RATIO).fract()
        };
        self.done += 1;
        self.begun + ((number + share) * interval) as u64
    }
}

/// Latencies in nanoseconds, and how many operations there were.
#[derive(Debug)]
pub(super) struct Latencies {
    histogram: Mutex<Histogram<u64>>,
    /// Operations that are over, those of the warm-up included.
    seen: AtomicU64,
}

impl Latencies {
    pub(super) fn new() -> Result<Self, Failure> {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX, 3);
        let histogram = histogram.map_err(|error| Failure::io("making a histogram", error))?;
        Ok(Self {
            histogram: Mutex::new(histogram),
            seen: AtomicU64::new(0),
        })
    }

    /// Records many at once.
    pub(super) fn record_all(&self, latencies: impl IntoIterator<Item = u64>) {
        let mut histogram = self.histogram.lock();
        for latency in latencies {
            histogram.saturating_record(latency.max(1));
        }
    }

    /// Counts operations for the progress bar.
    pub(super) fn saw(&self, operations: u64) {
        self.seen.fetch_add(operations, Ordering::Relaxed);
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    pub(super) fn snapshot(&self) -> Histogram<u64> {
        self.histogram.lock().clone()
    }
}

/// Runs one task per connection and waits for all; the first failure ends them.
pub(super) async fn together<F>(tasks: impl IntoIterator<Item = F>) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut running: JoinSet<_> = tasks.into_iter().collect();
    while let Some(ended) = running.join_next().await {
        ended.map_err(|error| Failure::io("a task of the run", error))??;
    }
    Ok(())
}

/// A payload of `bytes` bytes that does not compress away.
pub(super) fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(bytes).collect()
}
