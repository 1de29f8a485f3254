//! Finding out that the peer is gone when nothing says so.
//!
//! Anything received counts as a sign of life. After one silent interval a PING goes out; after a second the
//! connection is declared dead. The reader notes arrivals with one relaxed store, so a busy connection pays
//! nothing and the timer fires once per interval.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use streamkeeper_protocol::Command;
use tokio::time::{Instant, sleep_until};

use crate::Error;
use crate::link::Link;

/// When the peer was last heard.
#[derive(Debug)]
pub(super) struct Pulse {
    opened: Instant,
    /// Milliseconds from `opened` to the last arrival.
    heard_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            heard_ms: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// Something arrived.
    pub(super) fn beat(&self) {
        let elapsed = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(elapsed, Ordering::Relaxed);
    }

    fn heard(&self) -> Instant {
        self.opened + Duration::from_millis(self.heard_ms.load(Ordering::Relaxed))
    }
}

/// Watches `pulse`; returns when the peer is taken for dead. An interval of zero switches the watch off.
///
/// # Cancel safety
/// Safe.
pub(super) async fn run(link: &Arc<Link>, pulse: &Pulse, interval: Duration) -> Error {
    if interval.is_zero() {
        return std::future::pending().await;
    }
    let mut asked = None;
    loop {
        let heard = pulse.heard();
        let silent_intervals = if asked == Some(heard) { 2 } else { 1 };
        sleep_until(heard + interval * silent_intervals).await;
        if pulse.heard() != heard {
            continue;
        }
        if silent_intervals == 2 {
            return Error::Silent {
                after: interval * 2,
            };
        }
        link.control(&Command::Ping);
        asked = Some(heard);
    }
}
