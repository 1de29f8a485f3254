//! The load: one loop per connection that keeps a window of requests in flight, the same for every server.
//!
//! ```text
//!  fill the window -> one write -> wait for the socket -> one read -> count what was confirmed -> ...
//! ```
//!
//! A connection owns its streams, and takes them in turn, so the order in each is the order of sending. The loop ends
//! when everything it sent was confirmed; what is counted was therefore confirmed. All connections of a load run on one
//! thread, which leaves the same share of the machine to every server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::dialect::Dialect;
use crate::error::Error;
use crate::link::Link;
use crate::record;
use crate::server::Server;

/// Room for one read of the load.
const READ_BYTES: usize = 64 << 10;
/// Looks at the clock are this many appends apart.
const LOOKS: u64 = 64;

/// How much is appended: so many records, but for no longer than this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) records: u64,
    pub(crate) time: Duration,
}

/// One load.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// Appends without a confirm, per connection.
    pub(crate) window: u64,
    /// The number of the first stream, and how many there are.
    pub(crate) first: u32,
    pub(crate) streams: u32,
    pub(crate) extent: Extent,
}

/// What a load did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Streams and the records that were confirmed in each.
    pub(crate) streams: Vec<(u32, u64)>,
    /// From the first request to the last confirm.
    pub(crate) elapsed: Duration,
    /// Nanoseconds from append to confirm; only of a window of one.
    pub(crate) latencies: Histogram<u64>,
}

impl Outcome {
    pub(crate) fn records(&self) -> u64 {
        self.streams.iter().map(|(_, records)| records).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub(crate) fn per_second(&self) -> f64 {
        self.records() as f64 / self.elapsed.as_secs_f64()
    }
}

/// An empty histogram of nanoseconds, up to ten minutes.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are in order")
}

/// What is left to do, shared by the connections of a load.
#[derive(Debug)]
struct Budget {
    left: AtomicU64,
    end: Instant,
}

impl Budget {
    fn take(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        let Ok(left) = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        else {
            return false;
        };
        if left.is_multiple_of(LOOKS) && Instant::now() >= self.end {
            self.left.store(0, Ordering::Relaxed);
        }
        true
    }
}

/// One connection with its share of the streams.
struct Lane {
    link: Link,
    dialect: Box<dyn Dialect>,
    streams: Vec<u32>,
    /// Records sent to each.
    sent: Vec<u64>,
    window: u64,
}

impl Load {
    /// The streams of one connection.
    pub(crate) fn share(&self, connection: usize) -> Vec<u32> {
        let streams = self.first..self.first + self.streams;
        streams.skip(connection).step_by(self.connections).collect()
    }

    async fn lanes(&self, server: &Server) -> Result<Vec<Lane>, Error> {
        let mut lanes = Vec::new();
        for connection in 0..self.connections {
            let streams = self.share(connection);
            let (link, dialect) = server.open(&streams, READ_BYTES).await?;
            lanes.push(Lane {
                link,
                dialect,
                sent: vec![0; streams.len()],
                streams,
                window: self.window,
            });
        }
        Ok(lanes)
    }

    /// Makes the streams, then appends; only the appends are timed.
    pub(crate) async fn run(&self, server: &Server) -> Result<Outcome, Error> {
        let lanes = together(self.lanes(server).await?, Lane::create).await?;
        let begun = Instant::now();
        let budget = self.budget(self.extent.records, begun);
        let done = together(lanes, move |lane| lane.append(Arc::clone(&budget))).await?;
        Ok(Outcome::of(done, begun.elapsed()))
    }

    /// Makes the streams and appends one record to each, all timed.
    pub(crate) async fn one_record_each(&self, server: &Server) -> Result<Outcome, Error> {
        let lanes = self.lanes(server).await?;
        let begun = Instant::now();
        let lanes = together(lanes, Lane::create).await?;
        let append = |lane: Lane| {
            let budget = self.budget(lane.streams.len() as u64, begun);
            lane.append(budget)
        };
        let done = together(lanes, append).await?;
        Ok(Outcome::of(done, begun.elapsed()))
    }

    fn budget(&self, records: u64, begun: Instant) -> Arc<Budget> {
        Arc::new(Budget {
            left: AtomicU64::new(records),
            end: begun + self.extent.time,
        })
    }
}

impl Outcome {
    fn of(lanes: Vec<(Lane, Histogram<u64>)>, elapsed: Duration) -> Self {
        let mut outcome = Self {
            streams: Vec::new(),
            elapsed,
            latencies: histogram(),
        };
        for (lane, latencies) in lanes {
            outcome
                .streams
                .extend(lane.streams.into_iter().zip(lane.sent));
            outcome.latencies += latencies;
        }
        outcome
    }
}

impl Lane {
    async fn create(mut self) -> Result<Self, Error> {
        let (mut next, mut in_flight) = (0, 0);
        loop {
            while in_flight < self.window && next < self.streams.len() {
                in_flight += u64::from(self.dialect.create(next, &mut self.link.output));
                next += 1;
            }
            if in_flight == 0 {
                return Ok(self);
            }
            in_flight = self.confirmed(in_flight).await?;
        }
    }

    async fn append(mut self, budget: Arc<Budget>) -> Result<(Self, Histogram<u64>), Error> {
        let mut latencies = histogram();
        let (mut next, mut in_flight) = (0, 0);
        loop {
            let begun = Instant::now();
            while in_flight < self.window && budget.take() {
                self.put(next);
                next = (next + 1) % self.streams.len();
                in_flight += 1;
            }
            if in_flight == 0 {
                return Ok((self, latencies));
            }
            in_flight = self.confirmed(in_flight).await?;
            if self.window == 1 {
                let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                latencies.saturating_record(took);
            }
        }
    }

    /// Lays out one append.
    fn put(&mut self, local: usize) {
        let place = self.streams.get(local).zip(self.sent.get_mut(local));
        let (stream, sent) = place.expect("the streams are taken in turn");
        let record = record::make(*stream, *sent, 0);
        *sent += 1;
        self.dialect.append(local, &record, &mut self.link.output);
    }

    /// Waits for confirms; gives what is still in flight.
    async fn confirmed(&mut self, in_flight: u64) -> Result<u64, Error> {
        self.link.turn().await?;
        let Link { input, output, .. } = &mut self.link;
        let confirmed = self.dialect.replies(input, output)?;
        in_flight
            .checked_sub(confirmed)
            .ok_or_else(|| Error::said(b"more confirms than there were appends"))
    }
}

/// Runs one task for each, and gives what they made in the same order.
pub(crate) async fn together<T, F, R>(items: Vec<T>, task: impl Fn(T) -> F) -> Result<Vec<R>, Error>
where
    F: Future<Output = Result<R, Error>> + Send + 'static,
    R: Send + 'static,
{
    let mut running = JoinSet::new();
    for (place, item) in items.into_iter().enumerate() {
        let task = task(item);
        running.spawn(async move { task.await.map(|made| (place, made)) });
    }
    let mut made = Vec::new();
    while let Some(ended) = running.join_next().await {
        made.push(ended??);
    }
    made.sort_by_key(|(place, _)| *place);
    Ok(made.into_iter().map(|(_, made)| made).collect())
}
