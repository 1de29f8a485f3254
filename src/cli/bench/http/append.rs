//! How many appends a second by POST, and how long each takes to be durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::connection::Connection;
use super::{Requests, create, delete};
use crate::cli::bench::broker::{Broker, memory_stream_bytes, stream_name};
use crate::cli::bench::measure::{Budget, Extent, Latencies, RunClock, nanos, payload, together};
use crate::cli::bench::progress::{self, Goal};
use crate::cli::bench::report::{Phase, Report};
use crate::cli::failure::Failure;

const OCTETS: &str = "application/octet-stream";

/// Append one record per POST, each connection as fast as it is answered
#[derive(Clone, Debug, Args)]
pub(super) struct Append {
    /// Connections, kept alive
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    connections: u64,

    /// Streams, shared out over the connections
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    streams: u64,

    /// POSTs without an answer, per connection; more than one is HTTP/1.1 pipelining
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pipeline: u32,

    /// Bytes of a record
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    record_bytes: u32,

    /// Append to streams in memory, which keep 32 MiB together
    #[arg(long)]
    memory: bool,

    /// Leave this much at the beginning out of the numbers
    #[arg(long, value_name = "TIME", default_value = "1s")]
    warm_up: humantime::Duration,

    #[command(flatten)]
    extent: Extent,
}

/// What the connections share.
struct Run {
    clock: RunClock,
    budget: Budget,
    /// Appends that began earlier than this are not counted.
    warm_at: u64,
    latencies: Latencies,
    /// Records confirmed after the warm-up.
    counted: AtomicU64,
    pipeline: usize,
}

impl Append {
    pub(super) async fn run(self, broker: &Broker) -> Result<Report, Failure> {
        let requests = Requests::to(broker);
        let names: Vec<String> = (0..self.streams).map(stream_name).collect();
        let storage = if self.memory {
            let kept = memory_stream_bytes(self.streams);
            format!("Stream-Storage: memory\r\nStream-Retention-Max-Bytes: {kept}\r\n")
        } else {
            String::new()
        };
        create(broker, &requests, OCTETS, &storage, &names).await?;
        let warm_up = if self.extent.count.is_some() {
            Duration::ZERO
        } else {
            *self.warm_up
        };
        let mut connections = Vec::new();
        for index in 0..self.connections {
            let posts = self.posts(index, &requests, &names);
            connections.push((Connection::open(broker.address()).await?, posts));
        }
        let clock = RunClock::start();
        let run = Arc::new(Run {
            clock,
            budget: Budget::new(clock, self.extent, warm_up),
            warm_at: nanos(warm_up),
            latencies: Latencies::new()?,
            counted: AtomicU64::new(0),
            pipeline: usize::try_from(self.pipeline).unwrap_or(usize::MAX),
        });
        let tasks = connections
            .into_iter()
            .map(|(connection, posts)| Arc::clone(&run).connection(connection, posts));
        let goal = Goal::of(self.extent, warm_up);
        progress::show(
            "http append",
            goal,
            || run.latencies.seen(),
            together(tasks),
        )
        .await?;
        let elapsed = run.clock.now().saturating_sub(run.warm_at);
        delete(broker, &requests, &names).await?;
        Ok(self.report(&run, Duration::from_nanos(elapsed)))
    }

    /// The requests of one connection: a POST to each of its streams.
    fn posts(&self, connection: u64, requests: &Requests, names: &[String]) -> Vec<Vec<u8>> {
        let record = payload(usize::try_from(self.record_bytes).unwrap_or(usize::MAX));
        let mine = |(index, _): &(u64, &String)| {
            if self.streams >= self.connections {
                index % self.connections == connection
            } else {
                *index == connection % self.streams
            }
        };
        (0..)
            .zip(names)
            .filter(mine)
            .map(|(_, name)| requests.with_body("POST", name, OCTETS, "", &record))
            .collect()
    }

    fn report(&self, run: &Run, elapsed: Duration) -> Report {
        let count = run.counted.load(Ordering::Relaxed);
        let parameters = vec![
            ("connections", json!(self.connections)),
            ("streams", json!(self.streams)),
            ("pipeline", json!(self.pipeline)),
            ("record_bytes", json!(self.record_bytes)),
        ];
        Report::new("http append", parameters).phase(Phase {
            unit: "records confirmed",
            count,
            bytes: count * u64::from(self.record_bytes),
            elapsed,
            latency: "POST to answer",
            latencies: Some(run.latencies.snapshot()),
        })
    }
}

impl Run {
    async fn connection(
        self: Arc<Self>,
        mut connection: Connection,
        posts: Vec<Vec<u8>>,
    ) -> Result<(), Failure> {
        let mut posts = posts.iter().cycle();
        let mut begun = VecDeque::new();
        let mut batch = Vec::new();
        loop {
            batch.clear();
            while begun.len() < self.pipeline && self.budget.take() {
                begun.push_back(self.clock.now());
                batch.extend_from_slice(posts.next().map_or(&[][..], Vec::as_slice));
            }
            if begun.is_empty() {
                return Ok(());
            }
            connection.send(&batch).await?;
            connection.answer().await?;
            self.answered(begun.pop_front());
            while !begun.is_empty() && connection.receiver.take_answer()? {
                self.answered(begun.pop_front());
            }
        }
    }

    fn answered(&self, begun: Option<u64>) {
        self.latencies.saw(1);
        if let Some(begun) = begun.filter(|begun| *begun >= self.warm_at) {
            self.counted.fetch_add(1, Ordering::Relaxed);
            self.latencies
                .record_all([self.clock.now().saturating_sub(begun)]);
        }
    }
}
