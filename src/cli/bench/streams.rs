//! What many streams cost: making them, one record in each, and the broker's memory afterwards.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;
use streamkeeper_client::{Client, CreateOptions};

use super::broker::{Broker, stream_name};
use super::measure::{Latencies, RunClock, payload, together};
use super::progress::{self, Goal};
use super::report::{Phase, Report};
use crate::cli::failure::Failure;

/// Create many streams with one record each
#[derive(Clone, Debug, Args)]
pub(super) struct Streams {
    /// Streams
    #[arg(long = "streams", value_name = "STREAMS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,

    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    connections: u64,

    /// Requests without an answer, per connection
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..))]
    in_flight: u64,

    /// Payload bytes of a record
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    Append,
}

impl Streams {
    /// So many streams, made in the usual way.
    pub(super) fn of(number: u64) -> Self {
        Self {
            number,
            connections: 4,
            in_flight: 512,
            record_bytes: 256,
        }
    }

    pub(super) async fn run(self, broker: &Broker) -> Result<Report, Failure> {
        let before = broker.usage();
        let create = self.all(broker, Step::Create, "creating").await?;
        let append = self.all(broker, Step::Append, "appending").await?;
        let after = broker.usage();
        let each = after.rss.saturating_sub(before.rss) / self.number;
        let parameters = vec![
            ("streams", json!(self.number)),
            ("connections", json!(self.connections)),
            ("in_flight", json!(self.in_flight)),
            ("record_bytes", json!(self.record_bytes)),
        ];
        let both = create.elapsed + append.elapsed;
        let report = Report::new("streams", parameters)
            .phase(create)
            .phase(append)
            .time("create_and_append", both);
        if !broker.is_spawned() {
            return Ok(report);
        }
        Ok(report.bytes("memory_per_stream_bytes", each))
    }

    /// Does one step to all streams.
    async fn all(
        &self,
        broker: &Broker,
        step: Step,
        title: &'static str,
    ) -> Result<Phase, Failure> {
        let latencies = Arc::new(Latencies::new()?);
        let mut connections = Vec::new();
        for index in 0..self.connections {
            let client = broker.connect().await?;
            connections.push(
                self.clone()
                    .connection(client, index, step, Arc::clone(&latencies)),
            );
        }
        let clock = RunClock::start();
        progress::show(
            title,
            Goal::Operations(self.number),
            || latencies.seen(),
            together(connections),
        )
        .await?;
        let elapsed = Duration::from_nanos(clock.now());
        let (unit, bytes, latency) = match step {
            Step::Create => ("streams created", 0, "create to answer"),
            Step::Append => (
                "records confirmed",
                self.record_bytes as u64,
                "append to confirm",
            ),
        };
        Ok(Phase {
            unit,
            count: self.number,
            bytes: bytes * self.number,
            elapsed,
            latency,
            latencies: Some(latencies.snapshot()),
        })
    }

    /// The streams whose number leaves `index` when divided by the connections.
    async fn connection(
        self,
        client: Client,
        index: u64,
        step: Step,
        latencies: Arc<Latencies>,
    ) -> Result<(), Failure> {
        let stride = usize::try_from(self.connections).unwrap_or(usize::MAX);
        let in_flight = usize::try_from(self.in_flight).unwrap_or(usize::MAX);
        let record = payload(self.record_bytes);
        let numbers = (index..self.number).step_by(stride);
        let (client, record, latencies) = (&client, &record, &latencies);
        let requests = numbers.map(|number| async move {
            let name = stream_name(number);
            let begun = RunClock::start();
            let outcome = match step {
                Step::Create => client.create(name, CreateOptions::new()).await.map(drop),
                Step::Append => client.append(name, record).await.map(drop),
            };
            latencies.record_all([begun.now()]);
            latencies.saw(1);
            outcome
        });
        let mut answers = stream::iter(requests).buffer_unordered(in_flight);
        while let Some(outcome) = answers.next().await {
            outcome.map_err(Failure::during("loading the broker"))?;
        }
        Ok(())
    }
}
