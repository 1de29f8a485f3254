//! How long a record takes from its append to each subscriber, and whether any subscriber misses one.
//!
//! The payload carries its number and the moment its append was due. Both ends are in this process, so they share a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use streamkeeper_client::{
    Client, Confirms, CreateOptions, Pipeline, Start, SubscribeOptions, Subscription,
};
use tokio::sync::watch;

use super::broker::{Broker, stream_name};
use super::measure::{Budget, Extent, Latencies, Pace, RunClock, together};
use super::progress::{self, Goal};
use super::report::{Phase, Report};
use crate::cli::failure::Failure;

/// Append to one stream at a rate while many subscribers follow it
#[derive(Clone, Debug, Args)]
pub(super) struct Deliver {
    /// Subscribers
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    subscribers: u64,

    /// Connections that the subscribers share [default: one each, at most 64]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    connections: Option<u64>,

    /// Appends a second; 0 for as many as possible
    #[arg(long, default_value_t = 1000)]
    rate: u64,

    /// Appends without a confirm
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,

    /// Payload bytes of a record, at least 16
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..))]
    record_bytes: u32,

    /// After the last append, wait this long for what is still on its way
    #[arg(long, value_name = "TIME", default_value = "30s")]
    patience: humantime::Duration,

    #[command(flatten)]
    extent: Extent,
}

/// Connections for subscribers, unless told otherwise.
const CONNECTIONS_MAX: u64 = 64;

/// What subscribers and the publisher share.
struct Run {
    clock: RunClock,
    latencies: Latencies,
    missing: AtomicU64,
    out_of_order: AtomicU64,
}

impl Deliver {
    pub(super) async fn run(self, broker: &Broker) -> Result<Report, Failure> {
        let publisher = broker.connect().await?;
        let name = stream_name("deliver");
        let created = publisher.create(name.as_str(), CreateOptions::new()).await;
        created.map_err(Failure::during("creating the stream"))?;
        let run = Arc::new(Run {
            clock: RunClock::start(),
            latencies: Latencies::new()?,
            missing: AtomicU64::new(0),
            out_of_order: AtomicU64::new(0),
        });
        let connections = self.connect(broker).await?;
        // How many appends there were, once that is known.
        let (total, told) = watch::channel(None);
        let mut following = Vec::new();
        for index in 0..self.subscribers {
            let client = connections
                .iter()
                .cycle()
                .nth(usize::try_from(index).unwrap_or_default());
            let Some(client) = client else { continue };
            let options = SubscribeOptions::new().from(Start::Now);
            let records = client.subscribe(name.as_str(), options).await;
            let records = records.map_err(Failure::during("subscribing"))?;
            following.push(Arc::clone(&run).follow(records, told.clone(), *self.patience));
        }
        let begun = run.clock.now();
        let work = async {
            let (sent, ()) = tokio::try_join!(
                self.publish(&publisher, &name, &run, &total),
                together(following),
            )?;
            Ok::<u64, Failure>(sent)
        };
        let goal = match Goal::of(self.extent, Duration::ZERO) {
            Goal::Operations(count) => Goal::Operations(count * self.subscribers),
            time @ Goal::Time(_) => time,
        };
        let sent = progress::show("deliver", goal, || run.latencies.seen(), work).await?;
        let elapsed = Duration::from_nanos(run.clock.now().saturating_sub(begun));
        Ok(self.report(&run, sent, elapsed))
    }

    async fn connect(&self, broker: &Broker) -> Result<Vec<Client>, Failure> {
        let connections = self
            .connections
            .unwrap_or(self.subscribers.min(CONNECTIONS_MAX));
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(broker.connect().await?);
        }
        Ok(clients)
    }

    /// Appends until the budget is used up, then tells the subscribers how many there were.
    async fn publish(
        &self,
        client: &Client,
        name: &str,
        run: &Run,
        total: &watch::Sender<Option<u64>>,
    ) -> Result<u64, Failure> {
        let (pipeline, confirms) = client.pipeline(name, self.in_flight);
        let (sent, ()) = tokio::try_join!(self.send(pipeline, run), confirmed(confirms))?;
        total.send_replace(Some(sent));
        Ok(sent)
    }

    async fn send(&self, pipeline: Pipeline, run: &Run) -> Result<u64, Failure> {
        let budget = Budget::new(RunClock::start(), self.extent, Duration::ZERO);
        let mut pace = Pace::new(run.clock, self.rate, 1);
        let mut payload = vec![0; self.record_bytes as usize];
        let mut sent = 0_u64;
        while budget.take() {
            let due = pace.next().await;
            stamp(&mut payload, sent, due);
            pipeline
                .append(&payload, sent)
                .await
                .map_err(Failure::during("appending"))?;
            sent += 1;
        }
        Ok(sent)
    }

    fn report(&self, run: &Run, sent: u64, elapsed: Duration) -> Report {
        let latencies = run.latencies.snapshot();
        let delivered = latencies.len();
        let missing = run.missing.load(Ordering::Relaxed);
        let out_of_order = run.out_of_order.load(Ordering::Relaxed);
        let parameters = vec![
            ("subscribers", json!(self.subscribers)),
            ("rate", json!(self.rate)),
            ("record_bytes", json!(self.record_bytes)),
        ];
        Report::new("deliver", parameters)
            .phase(Phase {
                unit: "records delivered",
                count: delivered,
                bytes: delivered * u64::from(self.record_bytes),
                elapsed,
                latency: "append to delivery",
                latencies: Some(latencies),
            })
            .count("appended", sent)
            .count("missing", missing)
            .count("out_of_order", out_of_order)
    }
}

async fn confirmed(mut confirms: Confirms) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    while confirms.take(&mut outcomes).await > 0 {
        for confirmed in outcomes.drain(..) {
            confirmed.outcome.map_err(Failure::during("appending"))?;
        }
    }
    Ok(())
}

/// Writes number and moment into the first 16 bytes.
fn stamp(payload: &mut [u8], number: u64, due: u64) {
    let stamp = number.to_be_bytes().into_iter().chain(due.to_be_bytes());
    for (byte, value) in payload.iter_mut().zip(stamp) {
        *byte = value;
    }
}

/// Number and moment, if the payload has them.
fn read_stamp(payload: &[u8]) -> Option<(u64, u64)> {
    let (number, rest) = payload.split_first_chunk()?;
    let (due, _) = rest.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), u64::from_be_bytes(*due)))
}

impl Run {
    /// Follows until everything that was appended has come, or patience ends.
    async fn follow(
        self: Arc<Self>,
        mut records: Subscription,
        mut total: watch::Receiver<Option<u64>>,
        patience: Duration,
    ) -> Result<(), Failure> {
        let mut seen = 0_u64;
        loop {
            let known = *total.borrow_and_update();
            if known.is_some_and(|total| seen >= total) {
                return Ok(());
            }
            tokio::select! {
                record = records.next() => {
                    let Some(record) = record else { break };
                    let record = record.map_err(Failure::during("following"))?;
                    let now = self.clock.now();
                    let Some((number, due)) = read_stamp(&record.payload) else { continue };
                    if number != seen {
                        self.out_of_order.fetch_add(1, Ordering::Relaxed);
                    }
                    seen += 1;
                    self.latencies.saw(1);
                    self.latencies.record_all([now.saturating_sub(due)]);
                }
                _ = total.changed(), if known.is_none() => {}
                () = tokio::time::sleep(patience), if known.is_some() => break,
            }
        }
        let missing = (*total.borrow()).unwrap_or_default().saturating_sub(seen);
        self.missing.fetch_add(missing, Ordering::Relaxed);
        Ok(())
    }
}
