//! What others cost somebody who appends little: how long an append takes alone, and how long beside each kind of bad neighbour.
//!
//! The neighbours are runs of `bench append` in processes of their own, on the same broker. Time counts from the moment an append
//! was due; these moments are uneven, so that they meet each phase of what a neighbour does. All share the machine's cores, so part of
//! what neighbours cost is the wait for a core, as it is for an application.

use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use streamkeeper_client::{Client, CreateOptions};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::broker::{Broker, stream_name};
use super::measure::{Budget, Extent, Latencies, Pace, RunClock, payload};
use super::own::{self, Told, number};
use super::report::{Phase, Report, Unit, float};
use crate::cli::failure::Failure;

/// Append little, alone and then beside clients that take all they can get
#[derive(Clone, Debug, Args)]
pub(super) struct Neighbours {
    /// Appends a second, one at a time
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,

    /// Payload bytes of a record
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,

    /// Measure this long, alone and beside each neighbour
    #[arg(long, value_name = "TIME", default_value = "5s")]
    duration: humantime::Duration,

    /// Let each neighbour get up to speed for this long before
    #[arg(long, value_name = "TIME", default_value = "1s")]
    lead: humantime::Duration,
}

/// A neighbour: what it runs, and how what it does to others is called.
struct Neighbour {
    command: &'static str,
    appends: &'static str,
    ratio: &'static str,
    speed: &'static str,
}

const NEIGHBOURS: [Neighbour; 3] = [
    Neighbour {
        command: "append --connections 1 --streams 1 --in-flight 16 --record-bytes 1048576 --rate 50",
        appends: "appends beside 50 records of 1 MiB a second",
        ratio: "large_p99_over_alone",
        speed: "large_records_per_second",
    },
    Neighbour {
        command: "append --connections 4 --streams 4 --producer",
        appends: "appends beside 4 producers at full speed",
        ratio: "producers_p99_over_alone",
        speed: "producers_records_per_second",
    },
    Neighbour {
        command: "append --connections 4 --streams 4 --in-flight 1024",
        appends: "appends beside 4 x 1,024 single records",
        ratio: "pipelines_p99_over_alone",
        speed: "pipelines_records_per_second",
    },
];

impl Neighbours {
    pub(super) async fn run(self, broker: &Broker) -> Result<Report, Failure> {
        let client = broker.connect().await?;
        let created = client.create(stream_name("small"), CreateOptions::new());
        created
            .await
            .map_err(Failure::during("creating the stream"))?;
        let parameters = vec![
            ("rate", json!(self.rate)),
            ("record_bytes", json!(self.record_bytes)),
        ];
        let alone = self.append(&client).await?;
        let p99 = |taken: &Histogram<u64>| float(taken.value_at_percentile(99.0));
        let quiet = p99(&alone);
        let mut report =
            Report::new("neighbours", parameters).phase(self.phase("appends alone", alone));
        let mut facts = Vec::new();
        for neighbour in &NEIGHBOURS {
            let running = self.start(neighbour, broker);
            tokio::time::sleep(*self.lead).await;
            let taken = self.append(&client).await?;
            let theirs = running
                .await
                .map_err(|error| Failure::io("a neighbour", error))??;
            facts.push((neighbour.ratio, p99(&taken) / quiet, Unit::Ratio));
            let speed = number(&theirs, "/phases/0/per_second")?;
            facts.push((neighbour.speed, speed, Unit::PerSecond));
            report = report.phase(self.phase(neighbour.appends, taken));
        }
        client.close().await;
        let add = |report: Report, (name, value, unit)| report.fact(name, value, unit);
        Ok(facts.into_iter().fold(report, add))
    }

    /// Starts a neighbour; it ends by itself, after us.
    fn start(
        &self,
        neighbour: &Neighbour,
        broker: &Broker,
    ) -> tokio::task::JoinHandle<Result<Value, Failure>> {
        let words = neighbour.command.split(' ').map(str::to_owned);
        let mut arguments: Vec<String> = words.collect();
        let lead = (*self.lead).as_millis();
        let duration = (*self.duration).as_millis() + lead;
        arguments.extend(["--warm-up".to_owned(), format!("{lead}ms")]);
        arguments.extend(["--duration".to_owned(), format!("{duration}ms")]);
        arguments.extend(["--server".to_owned(), broker.address().to_owned()]);
        if let Some(token) = broker.token() {
            arguments.extend(["--token".to_owned(), token.to_owned()]);
        }
        spawn_blocking(move || own::bench(&arguments, &Told::default()))
    }

    /// Appends at the rate, from a thread of its own: a timer of the runtime would be late by up to a millisecond.
    async fn append(&self, client: &Client) -> Result<Histogram<u64>, Failure> {
        let (own, client, runtime) = (self.clone(), client.clone(), Handle::current());
        let appending = spawn_blocking(move || own.append_blocking(&client, &runtime));
        appending
            .await
            .map_err(|error| Failure::io("a task of the run", error))?
    }

    fn append_blocking(
        &self,
        client: &Client,
        runtime: &Handle,
    ) -> Result<Histogram<u64>, Failure> {
        let (name, record) = (stream_name("small"), payload(self.record_bytes));
        let latencies = Latencies::new()?;
        let clock = RunClock::start();
        let extent = Extent {
            duration: self.duration,
            count: None,
        };
        let budget = Budget::new(clock, extent, Duration::ZERO);
        let mut pace = Pace::new(clock, self.rate, 1).uneven();
        while budget.take() {
            let due = pace.next_blocking();
            let appended = runtime.block_on(client.append(name.as_str(), &record));
            appended.map_err(Failure::during("appending"))?;
            latencies.record_all([clock.now().saturating_sub(due)]);
        }
        Ok(latencies.snapshot())
    }

    fn phase(&self, unit: &'static str, latencies: Histogram<u64>) -> Phase {
        let count = latencies.len();
        Phase {
            unit,
            count,
            bytes: count * self.record_bytes as u64,
            elapsed: *self.duration,
            latency: "due to confirm",
            latencies: Some(latencies),
        }
    }
}
