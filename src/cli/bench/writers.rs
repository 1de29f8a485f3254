//! Writers at full speed that go on until they are dropped, or their broker is killed under them.
//!
//! Each of a few connections writes to its share of the streams in turn and keeps a window of appends without an answer. What
//! counts as written was confirmed. A writer that fails ends whatever is waited for.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use streamkeeper_client::{AppendOptions, Client};
use tokio::task::JoinSet;

use super::broker::{Broker, stream_name};
use super::measure::{RunClock, payload};
use super::progress::{self, Goal};
use super::report::Phase;
use crate::cli::failure::Failure;

const CONNECTIONS: u64 = 4;

/// Payload of a record.
pub(super) const RECORD_BYTES: usize = 256;

/// Over so few streams an append is a batch, as of a producer. Over more it is one record, so that the journal is about as many
/// streams as it can be.
const STREAMS_OF_BATCHES: u64 = 64;

/// How often it is looked whether enough is written.
const TICK: Duration = Duration::from_millis(5);

/// Records of an append, and appends without an answer on each connection: a few MiB altogether, which the broker takes in.
#[derive(Clone, Copy, Debug)]
struct Load {
    batch: usize,
    window: usize,
}

impl Load {
    fn over(streams: u64) -> Self {
        let (batch, window) = if streams <= STREAMS_OF_BATCHES {
            (64, 64)
        } else {
            (1, 1024)
        };
        Self { batch, window }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writers {
    running: JoinSet<Result<(), Failure>>,
    written: Arc<AtomicU64>,
}

impl Writers {
    /// Begins to write to the first so many streams of this run, which must be there.
    pub(super) async fn start(broker: &Broker, streams: u64) -> Result<Self, Failure> {
        let written = Arc::new(AtomicU64::new(0));
        let load = Load::over(streams);
        let mut clients = Vec::new();
        for first in 0..CONNECTIONS.min(streams) {
            clients.push((first, broker.connect().await?));
        }
        let mut running = JoinSet::new();
        for (first, client) in clients {
            let share = (first..streams).filter(|stream| stream % CONNECTIONS == first);
            let names: Vec<String> = share.map(stream_name).collect();
            running.spawn(write(client, names, load, Arc::clone(&written)));
        }
        Ok(Self { running, written })
    }

    /// Returns once so many records are written.
    pub(super) async fn reach(&mut self, records: u64) -> Result<Phase, Failure> {
        let clock = RunClock::start();
        let written = Arc::clone(&self.written);
        let seen = || written.load(Ordering::Relaxed);
        let enough = async {
            let mut tick = tokio::time::interval(TICK);
            while seen() < records {
                tick.tick().await;
            }
        };
        let writing = self.write_during(enough);
        progress::show("filling", Goal::Operations(records), &seen, writing).await?;
        Ok(phase("records written", seen(), clock))
    }

    /// Lets them write for so long; gives what they wrote meanwhile.
    pub(super) async fn go_on(
        &mut self,
        time: Duration,
        unit: &'static str,
    ) -> Result<Phase, Failure> {
        let before = self.written.load(Ordering::Relaxed);
        let clock = RunClock::start();
        self.write_during(tokio::time::sleep(time)).await?;
        let after = self.written.load(Ordering::Relaxed);
        Ok(phase(unit, after - before, clock))
    }

    async fn write_during(&mut self, wait: impl Future<Output = ()>) -> Result<(), Failure> {
        let ended = tokio::select! {
            () = wait => return Ok(()),
            Some(ended) = self.running.join_next() => ended,
        };
        ended.map_err(|error| Failure::io("a task of the run", error))?
    }
}

fn phase(unit: &'static str, count: u64, clock: RunClock) -> Phase {
    Phase {
        unit,
        count,
        bytes: count * RECORD_BYTES as u64,
        elapsed: Duration::from_nanos(clock.now()),
        latency: "",
        latencies: None,
    }
}

/// Writes to these streams in turn, without an end.
async fn write(
    client: Client,
    names: Vec<String>,
    load: Load,
    written: Arc<AtomicU64>,
) -> Result<(), Failure> {
    let during = || Failure::during("writing");
    let record = payload(RECORD_BYTES);
    let mut tickets = FuturesUnordered::new();
    for name in names.iter().cycle() {
        if tickets.len() >= load.window {
            let confirmed = tickets.next().await;
            confirmed.transpose().map_err(during())?;
            written.fetch_add(load.batch as u64, Ordering::Relaxed);
        }
        let records = std::iter::repeat_n(&record, load.batch);
        let sent = client
            .append_batch_pipelined(name.as_str(), records, AppendOptions::new())
            .await;
        tickets.push(sent.map_err(during())?);
    }
    Ok(())
}
