//! How many appends a second, and how long each takes to be durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};
use serde_json::json;
use streamkeeper_client::{
    AppendOptions, Client, Confirms, CreateOptions, Error, Receipt, Storage,
};
use tokio::sync::mpsc;

use super::broker::{Broker, memory_stream_bytes, stream_name};
use super::fill::fill;
use super::measure::{Budget, Extent, Latencies, Pace, RunClock, nanos, payload, together};
use super::progress::{self, Goal};
use super::report::{Phase, Report};
use crate::cli::failure::Failure;
use crate::config::ByteCount;

/// Streams that are being created at once.
const CREATES_MAX: usize = 512;

/// Append as fast as possible, or at a rate, from many connections to many streams
#[derive(Clone, Debug, Args)]
pub(super) struct Append {
    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    connections: u64,

    /// Streams, shared out over the connections
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    streams: u64,

    /// Appends without a confirm, per connection; at least one for each of its streams
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,

    /// Payload bytes of a record
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,

    /// Records in one append
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// Let the client's idempotent producer do the batching; latencies are then of every 64th record
    #[arg(long, conflicts_with_all = ["batch", "in_flight"])]
    producer: bool,

    /// Appends a second, all connections together; 0 for as many as possible
    #[arg(long, default_value_t = 0)]
    rate: u64,

    /// Append to streams in memory, which keep 32 MiB together
    #[arg(long)]
    memory: bool,

    /// Fill the store with this much before, as in 10GiB, over the same streams
    #[arg(long, value_name = "SIZE", default_value = "0B")]
    prefill: ByteCount,

    /// Leave this much at the beginning out of the numbers
    #[arg(long, value_name = "TIME", default_value = "1s")]
    warm_up: humantime::Duration,

    #[command(flatten)]
    extent: Extent,
}

/// Of a producer's records, one in this many is timed.
const SAMPLED: u64 = 64;

/// What the connections share.
struct Run {
    plan: Append,
    clock: RunClock,
    budget: Budget,
    /// Operations that began earlier than this are not counted.
    warm_at: u64,
    latencies: Latencies,
    /// Records confirmed after the warm-up.
    counted: AtomicU64,
    payload: Vec<u8>,
    names: Vec<String>,
}

impl Append {
    pub(super) async fn run(self, broker: &Broker) -> Result<Report, Failure> {
        let names = self.create_streams(broker).await?;
        self.prefill(broker, &names).await?;
        let before = broker.usage();
        // With a count of operations, each of them counts.
        let warm_up = if self.extent.count.is_some() {
            Duration::ZERO
        } else {
            *self.warm_up
        };
        let clock = RunClock::start();
        let run = Arc::new(Run {
            clock,
            budget: Budget::new(clock, self.extent, warm_up),
            warm_at: nanos(warm_up),
            latencies: Latencies::new()?,
            counted: AtomicU64::new(0),
            payload: payload(self.record_bytes),
            names,
            plan: self,
        });
        let mut connections = Vec::new();
        for index in 0..run.plan.connections {
            connections.push(Arc::clone(&run).connection(broker.connect().await?, index));
        }
        let goal = Goal::of(run.plan.extent, warm_up);
        let seen = || run.latencies.seen();
        progress::show("append", goal, seen, together(connections)).await?;
        let report = run.report();
        if !broker.is_spawned() {
            return Ok(report);
        }
        let each = run.per_record(broker.usage().cpu.saturating_sub(before.cpu));
        Ok(report.time("broker_cpu_per_record", each))
    }

    async fn create_streams(&self, broker: &Broker) -> Result<Vec<String>, Failure> {
        let client = broker.connect().await?;
        let names: Vec<String> = (0..self.streams).map(stream_name).collect();
        let mut options = CreateOptions::new();
        if self.memory {
            let kept = memory_stream_bytes(self.streams);
            options = options.storage(Storage::Memory).max_bytes(kept);
        }
        let creating = names
            .iter()
            .map(|name| client.create(name.as_str(), options.clone()));
        let mut created = stream::iter(creating).buffer_unordered(CREATES_MAX);
        while let Some(outcome) = created.next().await {
            outcome.map_err(Failure::during("creating the streams"))?;
        }
        drop(created);
        Ok(names)
    }

    /// Fills the streams one after the other.
    async fn prefill(&self, broker: &Broker, names: &[String]) -> Result<(), Failure> {
        let records = self.prefill.0 / self.record_bytes.max(1) as u64;
        let each = records / names.len().max(1) as u64;
        if each == 0 {
            return Ok(());
        }
        let filled = Latencies::new()?;
        let client = broker.connect().await?;
        let filling = async {
            for name in names {
                fill(&client, name, each, self.record_bytes, &filled).await?;
            }
            Ok::<(), Failure>(())
        };
        progress::show(
            "filling",
            Goal::Operations(records),
            || filled.seen(),
            filling,
        )
        .await
    }
}

impl Run {
    /// The streams of one connection.
    fn streams(&self, connection: u64) -> Vec<&str> {
        let (streams, connections) = (self.plan.streams, self.plan.connections);
        let mine = |(index, _): &(u64, &String)| {
            if streams >= connections {
                index % connections == connection
            } else {
                *index == connection % streams
            }
        };
        (0..)
            .zip(&self.names)
            .filter(mine)
            .map(|(_, name)| name.as_str())
            .collect()
    }

    async fn connection(self: Arc<Self>, client: Client, index: u64) -> Result<(), Failure> {
        let connections = self.plan.connections;
        let pace = Pace::new(self.clock, self.plan.rate, connections).staggered(index, connections);
        if self.plan.producer {
            self.produce(&client, index, pace).await?;
        } else if self.plan.batch > 1 {
            self.batches(&client, index, pace).await?;
        } else {
            self.single_records(&client, index, pace).await?;
        }
        client.close().await;
        Ok(())
    }

    /// One record per append, by the client's pipelines.
    async fn single_records(
        self: &Arc<Self>,
        client: &Client,
        index: u64,
        mut pace: Pace,
    ) -> Result<(), Failure> {
        let names = self.streams(index);
        let share = u32::try_from(names.len()).unwrap_or(u32::MAX).max(1);
        let window = (self.plan.in_flight / share).max(1);
        let (pipelines, confirms): (Vec<_>, Vec<_>) = names
            .iter()
            .map(|name| client.pipeline(*name, window))
            .unzip();
        let sending = async move {
            for pipeline in pipelines.iter().cycle() {
                if !self.budget.take() {
                    break;
                }
                let due = pace.next().await;
                pipeline
                    .append(&self.payload, due)
                    .await
                    .map_err(during())?;
            }
            Ok(())
        };
        let taking = together(
            confirms
                .into_iter()
                .map(|confirms| Arc::clone(self).take(confirms)),
        );
        tokio::try_join!(sending, taking).map(|_| ())
    }

    async fn take(self: Arc<Self>, mut confirms: Confirms) -> Result<(), Failure> {
        let mut outcomes = Vec::new();
        while confirms.take(&mut outcomes).await > 0 {
            let now = self.clock.now();
            if let Some(failed) = outcomes
                .iter()
                .find_map(|confirmed| confirmed.outcome.clone().err())
            {
                return Err(during()(failed));
            }
            self.latencies.saw(outcomes.len() as u64);
            let due = outcomes.drain(..).map(|confirmed| confirmed.tag);
            let warm: Vec<u64> = due.filter(|due| *due >= self.warm_at).collect();
            self.counted.fetch_add(warm.len() as u64, Ordering::Relaxed);
            self.latencies
                .record_all(warm.into_iter().map(|due| now.saturating_sub(due)));
        }
        Ok(())
    }

    /// Several records per append.
    async fn batches(&self, client: &Client, index: u64, mut pace: Pace) -> Result<(), Failure> {
        let names = self.streams(index);
        let window = usize::try_from(self.plan.in_flight).unwrap_or(usize::MAX);
        let mut tickets = FuturesUnordered::new();
        let mut streams = names.iter().cycle();
        loop {
            let more = self.budget.take();
            // With the window full, or at the end, confirms are waited for.
            while tickets.len() >= window || (!more && !tickets.is_empty()) {
                self.confirmed(tickets.next().await)?;
            }
            let (true, Some(name)) = (more, streams.next()) else {
                return Ok(());
            };
            let due = pace.next().await;
            let records = std::iter::repeat_n(&self.payload, self.plan.batch as usize);
            let sent = client
                .append_batch_pipelined(*name, records, AppendOptions::new())
                .await;
            let ticket = sent.map_err(during())?;
            self.latencies.saw(1);
            tickets.push(async move { (due, ticket.await) });
            while let Some(Some(ready)) = futures_util::FutureExt::now_or_never(tickets.next()) {
                self.confirmed(Some(ready))?;
            }
        }
    }

    /// Notes the outcome of one append, or of a producer's record that is timed.
    fn confirmed<T>(&self, outcome: Option<(u64, Result<T, Error>)>) -> Result<(), Failure> {
        let Some((due, outcome)) = outcome else {
            return Ok(());
        };
        outcome.map_err(during())?;
        if due >= self.warm_at {
            self.latencies
                .record_all([self.clock.now().saturating_sub(due)]);
            if !self.plan.producer {
                self.counted
                    .fetch_add(self.plan.batch.into(), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Records handed to the client's producers.
    async fn produce(
        self: &Arc<Self>,
        client: &Client,
        index: u64,
        mut pace: Pace,
    ) -> Result<(), Failure> {
        let mut producers = Vec::new();
        for name in self.streams(index) {
            producers.push(client.producer(name).open().await.map_err(during())?);
        }
        let (timed, samples) = mpsc::channel(1024);
        let timing = tokio::spawn(Arc::clone(self).time(samples));
        let (mut sent, mut warm) = (0_u64, 0_u64);
        for producer in producers.iter().cycle() {
            if !self.budget.take() {
                break;
            }
            let due = pace.next().await;
            let receipt = producer.send(&self.payload).await.map_err(during())?;
            if sent.is_multiple_of(SAMPLED) {
                // A full channel means that enough is being timed already; a receipt may be dropped freely.
                drop(timed.try_send((due, receipt)));
                self.latencies.saw(SAMPLED);
            }
            sent += 1;
            warm += u64::from(due >= self.warm_at);
        }
        drop(timed);
        for producer in producers {
            producer.close().await.map_err(during())?;
        }
        self.counted.fetch_add(warm, Ordering::Relaxed);
        timing
            .await
            .map_err(|error| Failure::io("a task of the run", error))?
    }

    /// Waits for the receipts that are timed, all at once.
    async fn time(
        self: Arc<Self>,
        mut samples: mpsc::Receiver<(u64, Receipt)>,
    ) -> Result<(), Failure> {
        let mut waiting = FuturesUnordered::new();
        loop {
            tokio::select! {
                sample = samples.recv() => match sample {
                    Some((due, receipt)) => waiting.push(async move { (due, receipt.await) }),
                    None => break,
                },
                Some(outcome) = waiting.next() => self.confirmed(Some(outcome))?,
            }
        }
        while let Some(outcome) = waiting.next().await {
            self.confirmed(Some(outcome))?;
        }
        Ok(())
    }

    /// A part of the processor time of a whole run, its warm-up included.
    fn per_record(&self, whole: Duration) -> Duration {
        let batch = if self.plan.producer {
            1
        } else {
            self.plan.batch
        };
        let records = self.latencies.seen().saturating_mul(batch.into());
        let each = nanos(whole).checked_div(records);
        Duration::from_nanos(each.unwrap_or_default())
    }

    fn report(&self) -> Report {
        let plan = &self.plan;
        let latencies = self.latencies.snapshot();
        let now = self.clock.now();
        let elapsed = Duration::from_nanos(now.saturating_sub(self.warm_at));
        let count = self.counted.load(Ordering::Relaxed);
        let way = if plan.producer {
            "producer"
        } else {
            "pipeline"
        };
        let parameters = vec![
            ("connections", json!(plan.connections)),
            ("streams", json!(plan.streams)),
            ("in_flight", json!(plan.in_flight)),
            ("record_bytes", json!(plan.record_bytes)),
            ("batch", json!(plan.batch)),
            ("way", json!(way)),
            ("rate", json!(plan.rate)),
            ("prefill", json!(plan.prefill.to_string())),
        ];
        Report::new("append", parameters).phase(Phase {
            unit: "records confirmed",
            count,
            bytes: count * plan.record_bytes as u64,
            elapsed,
            latency: "append to confirm",
            latencies: Some(latencies),
        })
    }
}

fn during() -> impl FnOnce(Error) -> Failure {
    Failure::during("appending")
}
