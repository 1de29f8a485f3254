//! How fast a subscription reads a stream that is already there.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use streamkeeper_client::{Client, CreateOptions, SubscribeOptions};

use super::broker::{Broker, stream_name};
use super::measure::{Latencies, RunClock, payload, together};
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

    /// Bytes that may be on their way to one subscriber
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    window: ByteCount,
}

impl CatchUp {
    pub(super) async fn run(self, broker: &Broker) -> Result<Report, Failure> {
        let client = broker.connect().await?;
        let name = stream_name("catch-up");
        let created = client.create(name.as_str(), CreateOptions::new()).await;
        created.map_err(Failure::during("creating the stream"))?;
        let records = (self.bytes.0 / self.record_bytes).max(1);
        let filled = Latencies::new()?;
        let clock = RunClock::start();
        let filling = self.fill(&client, &name, records, &filled);
        progress::show(
            "filling",
            Goal::Operations(records),
            || filled.seen(),
            filling,
        )
        .await?;
        let fill_time = Duration::from_nanos(clock.now());

        let seen = Arc::new(Latencies::new()?);
        let mut readers = Vec::new();
        for _ in 0..self.subscribers {
            let options = SubscribeOptions::new().window_bytes(self.window.0);
            let (client, name) = (broker.connect().await?, name.clone());
            readers.push(read(client, name, options, records, Arc::clone(&seen)));
        }
        let clock = RunClock::start();
        let expected = records * self.subscribers;
        progress::show(
            "reading",
            Goal::Operations(expected),
            || seen.seen(),
            together(readers),
        )
        .await?;
        let read_time = Duration::from_nanos(clock.now());

        let phase = |unit, count, elapsed| Phase {
            unit,
            count,
            bytes: count * self.record_bytes,
            elapsed,
            latency: "",
            latencies: None,
        };
        let parameters = vec![
            ("bytes", json!(self.bytes.to_string())),
            ("record_bytes", json!(self.record_bytes)),
            ("subscribers", json!(self.subscribers)),
            ("window", json!(self.window.to_string())),
        ];
        Ok(Report::new("catch-up", parameters)
            .phase(phase("records written", records, fill_time))
            .phase(phase("records read", expected, read_time)))
    }

    async fn fill(
        &self,
        client: &Client,
        name: &str,
        records: u64,
        filled: &Latencies,
    ) -> Result<(), Failure> {
        let during = || Failure::during("filling the stream");
        let record = payload(usize::try_from(self.record_bytes).unwrap_or(usize::MAX));
        let producer = client.producer(name).open().await.map_err(during())?;
        for _ in 0..records {
            // The flush below reports the same failures as the receipt would.
            drop(producer.send(&record).await.map_err(during())?);
            filled.saw(1);
        }
        producer.close().await.map_err(during())
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
