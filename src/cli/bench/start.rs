//! How long a broker takes until it serves, what it holds when idle, and what the first use of a stream costs.
//!
//! With `--streams`, the store is filled first. Then the broker is drained and started with its files on the disk alone, and
//! records are appended to streams that nobody touched since, each followed by another to the same stream; the
//! difference is the price of loading a stream. Last it is killed in the middle of its work and started again.
//!
//! With `--fill`, it is about a start with much in the store and a full journal ([`killed`]).

mod killed;

use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use streamkeeper_client::Client;

use super::broker::{Broker, stream_name};
use super::measure::{Latencies, RunClock, payload};
use super::process::End;
use super::report::{Phase, Report};
use super::streams::Streams;
use crate::cli::failure::Failure;
use crate::config::ByteCount;

/// Start a broker and see how soon it serves
#[derive(Clone, Debug, Args)]
pub(super) struct Start {
    /// Restart it over a store of this many streams with a record each
    #[arg(long, value_name = "STREAMS", default_value_t = 0)]
    streams: u64,

    /// Of these, append to this many for the first time
    #[arg(long, value_name = "STREAMS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "fill")]
    touched: u64,

    /// Fill the store with this much, as in 10GiB, kill the broker as it is written to at full speed, and start it with
    /// its data on the disk alone; over --streams, or else over 4
    #[arg(long, value_name = "SIZE")]
    fill: Option<ByteCount>,

    /// With --fill, measure the speed of writing this long, before the kill and right after the start
    #[arg(long, value_name = "TIME", default_value = "2s", requires = "fill")]
    lead: humantime::Duration,

    /// Let it rest this long before its memory is measured
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1s",
        conflicts_with = "fill"
    )]
    settle: humantime::Duration,
}

impl Start {
    pub(super) async fn run(self, broker: &mut Broker) -> Result<Report, Failure> {
        if !broker.is_spawned() {
            return Err(Failure::usage(
                "--server: this workload starts its broker; leave it out",
            ));
        }
        if let Some(fill) = self.fill {
            return killed::run(fill, self.streams, *self.lead, broker).await;
        }
        let empty = broker.usage().ready;
        let rss = self.idle(broker).await?;
        let parameters = vec![("streams", json!(self.streams))];
        let mut report = Report::new("start", parameters)
            .time("ready", empty)
            .bytes("idle_rss_bytes", rss);
        if self.streams == 0 {
            return Ok(report);
        }
        Streams::of(self.streams).run(broker).await?;
        broker.restart(End::Drained, true)?;
        let drained = broker.usage().ready;
        let rss = self.idle(broker).await?;
        let client = broker.connect().await?;
        let (first, next) = self.touch(&client).await?;
        broker.restart(End::Killed, false)?;
        let killed = broker.usage().ready;
        let p50 = |taken: &Histogram<u64>| Duration::from_nanos(taken.value_at_percentile(50.0));
        let dearer = p50(&first).saturating_sub(p50(&next));
        report = report
            .phase(phase("first appends", first))
            .phase(phase("next appends", next))
            .time("ready_after_drain", drained)
            .time("ready_after_kill", killed)
            .bytes("filled_idle_rss_bytes", rss)
            .time("first_append_dearer", dearer);
        Ok(report)
    }

    /// Memory when nothing goes on, after one client came and went.
    async fn idle(&self, broker: &Broker) -> Result<u64, Failure> {
        let client = broker.connect().await?;
        let during = Failure::during("connecting");
        client.server().await.map_err(during)?;
        client.close().await;
        tokio::time::sleep(*self.settle).await;
        Ok(broker.usage().rss)
    }

    /// Appends twice to streams all over the store; gives how long first and second took.
    async fn touch(&self, client: &Client) -> Result<(Histogram<u64>, Histogram<u64>), Failure> {
        let (first, next) = (Latencies::new()?, Latencies::new()?);
        let record = payload(256);
        let touched = self.touched.min(self.streams);
        for index in 0..touched {
            let name = stream_name(index * (self.streams / touched));
            for latencies in [&first, &next] {
                let begun = RunClock::start();
                let appended = client.append(name.as_str(), &record).await;
                latencies.record_all([begun.now()]);
                appended.map_err(Failure::during("appending"))?;
            }
        }
        Ok((first.snapshot(), next.snapshot()))
    }
}

/// Appends one after the other.
fn phase(unit: &'static str, latencies: Histogram<u64>) -> Phase {
    Phase {
        unit,
        count: latencies.len(),
        bytes: 0,
        elapsed: Duration::from_nanos(
            latencies
                .iter_recorded()
                .map(|v| v.value_iterated_to() * v.count_at_value())
                .sum(),
        ),
        latency: "append to confirm",
        latencies: Some(latencies),
    }
}
