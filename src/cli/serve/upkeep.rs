//! Upkeep of the metrics: every second for as long as the broker lives, in every state of it, scraped or not.
//!
//! The exporter keeps each histogram sample until an upkeep or a scrape puts it into its bucket. Without this task a
//! busy broker that nobody scrapes would grow without end, so it does not depend on the HTTP port.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::metrics::Exporter;

/// Time between two upkeeps; bounds what samples take in memory to those of one second.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until dropped.
pub(super) async fn run(exporter: Exporter) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        exporter.run_upkeep();
    }
}
