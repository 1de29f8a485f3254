//! The start after a kill: much in the store, a full journal, nothing in memory.
//!
//! Writers fill the store and go on; under them the broker is killed, so the journal holds as much as it does at full speed. What it left
//! is taken out of the page cache, and then it is started again and written to at once by the same load.

use std::time::Duration;

use serde_json::json;

use super::super::broker::Broker;
use super::super::report::{Phase, Report, Unit, float};
use super::super::streams::Streams;
use super::super::writers::{RECORD_BYTES, Writers};
use crate::cli::failure::Failure;
use crate::config::ByteCount;

/// Streams unless it is said how many.
const STREAMS: u64 = 4;

/// See the module; `lead` is how long the speed of the writers is measured, before and after.
pub(super) async fn run(
    fill: ByteCount,
    streams: u64,
    lead: Duration,
    broker: &mut Broker,
) -> Result<Report, Failure> {
    let streams = if streams == 0 { STREAMS } else { streams };
    Streams::of(streams).run(broker).await?;
    let mut writers = Writers::start(broker, streams).await?;
    let filled = writers.reach(fill.0 / RECORD_BYTES as u64).await?;
    let before = writers.go_on(lead, "records before the kill").await?;
    let left = broker.kill()?;
    drop(writers);
    let told = broker.start_cold()?;
    let started = broker.usage();
    let mut writers = Writers::start(broker, streams).await?;
    let after = writers.go_on(lead, "records after the start").await?;
    let kept = speed(&after) / speed(&before).max(1.0);
    let parameters = vec![
        ("fill", json!(fill.to_string())),
        ("streams", json!(streams)),
        ("record_bytes", json!(RECORD_BYTES)),
    ];
    Ok(Report::new("start", parameters)
        .phase(filled)
        .phase(before)
        .phase(after)
        .time("ready_after_kill", started.ready)
        .bytes("store_bytes", left.store)
        .bytes("journal_bytes", left.journal)
        .bytes("replayed_bytes", told.replayed)
        .bytes("ready_rss_bytes_peak", started.ready_rss_peak)
        .fact("write_speed_kept", kept, Unit::Ratio)
        .told("readyz", told.states))
}

fn speed(phase: &Phase) -> f64 {
    float(phase.count) / phase.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}
