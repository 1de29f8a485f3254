//! Time as a value, and the injected source of it.
//!
//! Nothing in the broker reads the system clock except through a [`Clock`], so that tests move time at will.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time plus `duration`, saturating.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// How long ago `earlier` was, zero if it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Where the broker gets the time from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's real-time clock.
    #[default]
    System,
    /// A clock that only moves when a test says so.
    Manual(Arc<ManualClock>),
}

impl Clock {
    /// A manual clock that starts at `start`.
    pub fn manual(start: Timestamp) -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock {
            now: AtomicU64::new(start.0),
            moved: Notify::new(),
        });
        (Self::Manual(Arc::clone(&clock)), clock)
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp(system_micros()),
            Self::Manual(clock) => Timestamp(clock.now.load(Ordering::Acquire)),
        }
    }

    /// Waits until `deadline` on this clock. A manual clock wakes waiters each time it moves.
    ///
    /// Cancel safe.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        loop {
            match self {
                Self::System => {
                    let left = deadline.since(self.now());
                    if left.is_zero() {
                        return;
                    }
                    tokio::time::sleep(left).await;
                }
                Self::Manual(clock) => {
                    let moved = clock.moved.notified();
                    tokio::pin!(moved);
                    moved.as_mut().enable();
                    if self.now() >= deadline {
                        return;
                    }
                    moved.await;
                }
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the system clock"
)]
fn system_micros() -> u64 {
    // A clock set before 1970 reads as the epoch: expiries then fire late, never early.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(micros)
        .unwrap_or_default()
}

/// The hand on a [`Clock::Manual`].
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicU64,
    moved: Notify,
}

impl ManualClock {
    /// Moves the clock forward and wakes everyone who waits on it.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(micros(by), Ordering::AcqRel);
        self.moved.notify_waiters();
    }
}
