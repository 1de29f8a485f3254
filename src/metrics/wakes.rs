//! Counts of subscriptions that wake workers (`docs/subscriptions.md`), not of those that push records over a connection.

use super::instruments::{self, Counter, Gauge};

/// Handles to what there is to know of them.
#[derive(Debug)]
pub struct Wakes {
    /// Subscriptions kept.
    pub subscriptions: Gauge,
    /// Streams linked to them.
    pub links: Gauge,
    /// Wakes that were taken, and are worked on.
    pub accepted: Counter,
    /// Wakes that were taken and done in one.
    pub done: Counter,
    /// Deliveries that failed, and will be made again.
    pub failed: Counter,
}

impl Wakes {
    pub(super) fn register() -> Self {
        let deliveries = |outcome| {
            let help = "Wakes delivered by webhook or event, or not";
            instruments::counter_of("wake_deliveries_total", help, ("outcome", outcome))
        };
        Self {
            subscriptions: instruments::gauge(
                "wake_subscriptions",
                "Subscriptions that wake workers",
            ),
            links: instruments::gauge("wake_links", "Streams linked to subscriptions"),
            accepted: deliveries("accepted"),
            done: deliveries("done"),
            failed: deliveries("failed"),
        }
    }
}
