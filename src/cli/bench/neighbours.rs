//! What others cost somebody who appends little: how long an append takes alone, and how long beside each kind of bad neighbour.
//!
//! The busy neighbours are runs of `bench append` in processes of their own, on the same broker; the others are connections of this process
//! that are just there, or that subscribe to what is appended and read nothing. Time counts from the moment an append
//! was due; these moments are uneven, so that they meet each phase of what a neighbour does. All share the machine's cores, so part of
//! what neighbours cost is the wait for a core, as it is for an application.

use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use streamkeeper_client::{Client, CreateOptions};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::broker::{Broker, stream_name};
use super::connections;
use super::measure::{Budget, Extent, Latencies, Pace, RunClock, payload};
use super::own::{self, Told, number};
use super::report::{Phase, Report, Unit, float};
use super::stalled;
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

    /// Idle connections of that neighbour: a broker takes 10,000 unless told otherwise
    #[arg(long, default_value_t = 9_990)]
    connections: u64,

    /// Subscribers that do not read
    #[arg(long, default_value_t = 1_000)]
    subscribers: u64,

    /// Streams of the neighbour with many
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    streams: u64,

    /// Measure this long, alone and beside each neighbour
    #[arg(long, value_name = "TIME", default_value = "5s")]
    duration: humantime::Duration,

    /// Only beside these, as their figures begin: idle, stalled, large, mixed, producers, pipelines, streams, crowd
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,

    /// Let each neighbour get up to speed for this long before: its streams are made in it
    #[arg(long, value_name = "TIME", default_value = "3s")]
    lead: humantime::Duration,
}

/// A neighbour, and how what it does to others is called.
struct Neighbour {
    does: Does,
    appends: &'static str,
    ratio: &'static str,
}

enum Does {
    /// Runs workloads; the speed of the first is called so.
    Run {
        commands: Vec<String>,
        speed: &'static str,
    },
    /// Holds so many connections.
    Nothing(u64),
    /// Subscribes on so many connections to what is appended, from its beginning, and reads none of it.
    Stall(u64),
}

const LARGE: &str =
    "append --connections 1 --streams 1 --in-flight 16 --record-bytes 1048576 --rate 50";

/// A neighbour that runs workloads.
fn running<const N: usize>(
    commands: [&str; N],
    appends: &'static str,
    ratio: &'static str,
    speed: &'static str,
) -> Neighbour {
    let commands = commands.map(str::to_owned).into();
    Neighbour {
        does: Does::Run { commands, speed },
        appends,
        ratio,
    }
}

/// A neighbour at work.
enum Beside {
    /// And how the speed of the first is called.
    Running(&'static str, Vec<JoinHandle<Result<Value, Failure>>>),
    Idle(Vec<Client>),
    Stalled(Vec<TcpStream>),
}

impl Neighbours {
    fn chosen(&self) -> impl Iterator<Item = Neighbour> {
        let named = |neighbour: &Neighbour| {
            let begins = |name: &String| neighbour.ratio.starts_with(name.as_str());
            self.only.is_empty() || self.only.iter().any(begins)
        };
        self.all().into_iter().filter(named)
    }

    fn all(&self) -> [Neighbour; 8] {
        let streams = self.streams;
        let many = format!("append --connections 4 --streams {streams} --rate 10000");
        // Of each stream, one append is on its way all the time.
        let crowd = format!("append --connections 4 --streams {streams}");
        [
            Neighbour {
                does: Does::Nothing(self.connections),
                appends: "appends beside idle connections",
                ratio: "idle_p99_over_alone",
            },
            Neighbour {
                does: Does::Stall(self.subscribers),
                appends: "appends beside subscribers that do not read",
                ratio: "stalled_p99_over_alone",
            },
            running(
                [LARGE],
                "appends beside 50 records of 1 MiB a second",
                "large_p99_over_alone",
                "large_records_per_second",
            ),
            running(
                [LARGE, "append --connections 4 --streams 1000 --rate 1000"],
                "appends beside 50 records of 1 MiB a second and 1,000 small streams",
                "mixed_p99_over_alone",
                "mixed_records_per_second",
            ),
            running(
                ["append --connections 4 --streams 4 --producer"],
                "appends beside 4 producers at full speed",
                "producers_p99_over_alone",
                "producers_records_per_second",
            ),
            running(
                ["append --connections 4 --streams 4 --in-flight 1024"],
                "appends beside 4 x 1,024 single records",
                "pipelines_p99_over_alone",
                "pipelines_records_per_second",
            ),
            running(
                [&many],
                "appends beside 10,000 a second over many streams",
                "streams_p99_over_alone",
                "streams_records_per_second",
            ),
            running(
                [&crowd],
                "appends beside many streams at full speed",
                "crowd_p99_over_alone",
                "crowd_records_per_second",
            ),
        ]
    }

    pub(super) async fn run(self, broker: &Broker) -> Result<Report, Failure> {
        let client = broker.connect().await?;
        let created = client.create(stream_name("small"), CreateOptions::new());
        created
            .await
            .map_err(Failure::during("creating the stream"))?;
        let parameters = vec![
            ("rate", json!(self.rate)),
            ("record_bytes", json!(self.record_bytes)),
            ("connections", json!(self.connections)),
            ("subscribers", json!(self.subscribers)),
            ("streams", json!(self.streams)),
        ];
        tokio::time::sleep(*self.lead).await;
        let alone = self.append(&client).await?;
        let p99 = |taken: &Histogram<u64>| float(taken.value_at_percentile(99.0));
        let quiet = p99(&alone);
        let mut report =
            Report::new("neighbours", parameters).phase(self.phase("appends alone", alone));
        let mut facts = Vec::new();
        for neighbour in self.chosen() {
            let beside = self.begin(&neighbour.does, broker).await?;
            tokio::time::sleep(*self.lead).await;
            let taken = self.append(&client).await?;
            facts.push((neighbour.ratio, p99(&taken) / quiet, Unit::Ratio));
            facts.extend(end(beside).await?);
            report = report.phase(self.phase(neighbour.appends, taken));
        }
        client.close().await;
        let add = |report: Report, (name, value, unit)| report.fact(name, value, unit);
        Ok(facts.into_iter().fold(report, add))
    }

    async fn begin(&self, does: &Does, broker: &Broker) -> Result<Beside, Failure> {
        match does {
            Does::Run { commands, speed } => {
                let started = commands.iter().map(|command| self.start(command, broker));
                Ok(Beside::Running(speed, started.collect()))
            }
            Does::Nothing(connections) => {
                let opened = Latencies::new()?;
                let idle = connections::open(broker, *connections, &opened).await?;
                Ok(Beside::Idle(idle))
            }
            Does::Stall(subscribers) => {
                let stream = stream_name("small");
                let stalled = stalled::subscribe(broker, &stream, *subscribers).await?;
                Ok(Beside::Stalled(stalled))
            }
        }
    }

    /// Starts a workload; it ends by itself, after us.
    fn start(&self, command: &str, broker: &Broker) -> JoinHandle<Result<Value, Failure>> {
        let mut arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
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

/// Waits for the neighbour's end, or lets go of it: what there is to say of it.
async fn end(beside: Beside) -> Result<Option<(&'static str, f64, Unit)>, Failure> {
    match beside {
        Beside::Running(speed, running) => {
            let mut told = Vec::new();
            for each in running {
                let each = each.await;
                told.push(each.map_err(|error| Failure::io("a neighbour", error))??);
            }
            let first = told.first().unwrap_or(&Value::Null);
            let per_second = number(first, "/phases/0/per_second")?;
            Ok(Some((speed, per_second, Unit::PerSecond)))
        }
        Beside::Idle(clients) => {
            drop(clients);
            Ok(None)
        }
        Beside::Stalled(sockets) => {
            drop(sockets);
            Ok(None)
        }
    }
}
