//! How fast a subscription reads a stream that is already there.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use streamkeeper_client::{Client, CreateOptions, SubscribeOptions};

use super::broker::{Broker, stream_name};
use super::fill::fill;
use super::measure::{Latencies, RunClock, together};
use super::process::End;
use super::progress::{self, Goal};
use super::report::{Phase, Report};
use crate::cli::failure::Failure;
use crate::config::ByteCount;

/// Read a whole stream by subscription, from its beginning to its tail
#[derive(Clone, Debug, Args)]
pub(super) struct CatchUp {
    /// Payload bytes of the stream that is made for it, as in 256MiB
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    bytes: ByteCount,

    /// Payload bytes of a record
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    record_bytes: u64,

    /// Subscribers at a time, each with its own connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    subscribers: u64,

    /// Where the broker's files are when reading begins
    #[arg(long)]
    from: Option<From>,

    /// Bytes that may be on their way to one subscriber
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    window: ByteCount,
}

/// Where the broker's files are when reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum From {
    /// In the system's page cache, as after writing
    Cache,
    /// On the disk alone; the broker is restarted
    Disk,
    /// One after the other; the default for a broker that is started for the run
    Both,
}

impl CatchUp {
    pub(super) async fn run(self, broker: &mut Broker) -> Result<Report, Failure> {
        let from = match self.from {
            Some(from) => from,
            None if broker.is_spawned() => From::Both,
            None => From::Cache,
        };
        let name = stream_name("catch-up");
        let records = (self.bytes.0 / self.record_bytes).max(1);
        let fill_time = self.fill(broker, &name, records).await?;
        let parameters = vec![
            ("bytes", json!(self.bytes.to_string())),
            ("record_bytes", json!(self.record_bytes)),
            ("subscribers", json!(self.subscribers)),
            ("window", json!(self.window.to_string())),
        ];
        let phase = |unit, count, elapsed| Phase {
            unit,
            count,
            bytes: count * self.record_bytes,
            elapsed,
            latency: "",
            latencies: None,
        };
        let mut report =
            Report::new("catch-up", parameters).phase(phase("records written", records, fill_time));
        let expected = records * self.subscribers;
        if from != From::Disk {
            let took = self.read(broker, &name, records).await?;
            report = report.phase(phase("records read, cached", expected, took));
        }
        if from != From::Cache {
            broker.restart(End::Drained, true)?;
            let took = self.read(broker, &name, records).await?;
            report = report.phase(phase("records read, from disk", expected, took));
        }
        Ok(report)
    }

    async fn fill(&self, broker: &Broker, name: &str, records: u64) -> Result<Duration, Failure> {
        let client = broker.connect().await?;
        let created = client.create(name, CreateOptions::new()).await;
        created.map_err(Failure::during("creating the stream"))?;
        let filled = Latencies::new()?;
        let bytes = usize::try_from(self.record_bytes).unwrap_or(usize::MAX);
        let clock = RunClock::start();
        let filling = fill(&client, name, records, bytes, &filled);
        let goal = Goal::Operations(records);
        progress::show("filling", goal, || filled.seen(), filling).await?;
        let took = Duration::from_nanos(clock.now());
        client.close().await;
        Ok(took)
    }

    /// Has all subscribers read the whole stream.
    async fn read(&self, broker: &Broker, name: &str, records: u64) -> Result<Duration, Failure> {
        let seen = Arc::new(Latencies::new()?);
        let mut readers = Vec::new();
        for _ in 0..self.subscribers {
            let options = SubscribeOptions::new().window_bytes(self.window.0);
            let client = broker.connect().await?;
            readers.push(read(
                client,
                name.to_owned(),
                options,
                records,
                Arc::clone(&seen),
            ));
        }
        let clock = RunClock::start();
        let goal = Goal::Operations(records * self.subscribers);
        progress::show("reading", goal, || seen.seen(), together(readers)).await?;
        Ok(Duration::from_nanos(clock.now()))
    }
}

/// Reads `records` records from the beginning.
async fn read(
    client: Client,
    name: String,
    options: SubscribeOptions,
    records: u64,
    seen: Arc<Latencies>,
) -> Result<(), Failure> {
    let during = || Failure::during("reading the stream");
    let mut subscription = client
        .subscribe(name.as_str(), options)
        .await
        .map_err(during())?;
    for expected in 0..records {
        let record = subscription.next().await.transpose().map_err(during())?;
        if record.is_none_or(|record| record.offset != expected) {
            return Err(Failure::io(
                "reading the stream",
                format!("record {expected} did not come"),
            ));
        }
        seen.saw(1);
    }
    Ok(())
}
