//! What idle connections cost the broker in memory, and how fast they are made.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use streamkeeper_client::Client;

use super::broker::Broker;
use super::measure::{Latencies, RunClock};
use super::progress::{self, Goal};
use super::report::{Phase, Report};
use crate::cli::failure::Failure;

/// Open many connections and leave them idle
#[derive(Clone, Debug, Args)]
pub(super) struct Connections {
    /// Connections
    #[arg(long = "connections", value_name = "CONNECTIONS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,

    /// Let them rest this long before memory is measured
    #[arg(long, value_name = "TIME", default_value = "2s")]
    settle: humantime::Duration,
}

impl Connections {
    pub(super) async fn run(self, broker: &Broker) -> Result<Report, Failure> {
        // What the first client brings about is not a price of each connection.
        let first = broker.connect().await?;
        tokio::time::sleep(*self.settle).await;
        let before = broker.usage();
        let opened = Latencies::new()?;
        let clock = RunClock::start();
        let goal = Goal::Operations(self.number);
        let opening = open(broker, self.number, &opened);
        let clients = progress::show("connections", goal, || opened.seen(), opening).await?;
        let elapsed = Duration::from_nanos(clock.now());
        tokio::time::sleep(*self.settle).await;
        let after = broker.usage();
        drop((first, clients));
        let parameters = vec![("connections", json!(self.number))];
        let report = Report::new("connections", parameters).phase(Phase {
            unit: "connections opened",
            count: self.number,
            bytes: 0,
            elapsed,
            latency: "open to welcome",
            latencies: Some(opened.snapshot()),
        });
        if !broker.is_spawned() {
            return Ok(report);
        }
        let each = after.rss.saturating_sub(before.rss) / self.number;
        Ok(report.bytes("memory_per_connection_bytes", each))
    }
}

/// Opens so many connections, one after the other.
pub(super) async fn open(
    broker: &Broker,
    number: u64,
    opened: &Latencies,
) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::new();
    for _ in 0..number {
        let begun = RunClock::start();
        clients.push(broker.connect().await?);
        opened.record_all([begun.now()]);
        opened.saw(1);
    }
    Ok(clients)
}
