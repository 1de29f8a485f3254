//! Fan-out: one stream, appends at a steady rate, and many subscribers with a connection each.
//!
//! A record carries the moment its append was due; a delivery is timed from then to when the subscriber has read and
//! checked it. Every subscriber must get every record in order, or the run ends with an error. A thread of its own tells
//! when an append is due, since the timers of the runtime are a millisecond wide.

use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Bench, mebibytes, millis};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::link::Link;
use crate::load::{histogram, together};
use crate::measure::Measure;
use crate::record;
use crate::server::Server;
use crate::system::System;

const STREAM: u32 = 1;
/// Room for one read of a subscriber: there are many of them.
const READ_BYTES: usize = 16 << 10;
/// Without a byte for so long, the rest is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection that follows the stream.
struct Subscriber {
    link: Link,
    dialect: Box<dyn Dialect>,
}

pub(super) async fn run(bench: &mut Bench<'_>, system: System, path: &Path) -> Result<(), Error> {
    let server = Server::start(system, bench.parts, path).await?;
    let (mut link, mut dialect) = server.open(&[STREAM], READ_BYTES).await?;
    if dialect.create(0, &mut link.output) {
        confirmed(&mut link, dialect.as_mut(), 1).await?;
    }
    let mut subscribers = Vec::new();
    for _ in 0..bench.plan.subscribers {
        subscribers.push(Subscriber::open(&server).await?);
    }
    let (rate, expected) = (bench.plan.rate, bench.plan.followed);
    let clock = Instant::now();
    let following = together(subscribers, move |subscriber| {
        subscriber.follow(clock, expected)
    });
    let publishing = publish(link, dialect, clock, rate, expected);
    let (latencies, ()) = tokio::try_join!(following, publishing)?;
    let mut all = histogram();
    for latencies in latencies {
        all += latencies;
    }
    let quantile = |quantile| millis(Duration::from_nanos(all.value_at_quantile(quantile)));
    let results = &mut bench.results;
    results.add(Measure::DeliveryP50, system, quantile(0.5));
    results.add(Measure::DeliveryP99, system, quantile(0.99));
    let memory = server.memory()?;
    results.add(Measure::RssDelivering, system, mebibytes(memory.peak));
    Ok(())
}

async fn confirmed(link: &mut Link, dialect: &mut dyn Dialect, mut left: u64) -> Result<(), Error> {
    while left > 0 {
        link.turn().await?;
        left = left.saturating_sub(dialect.replies(&mut link.input, &mut link.output)?);
    }
    Ok(())
}

/// Appends at the rate, and returns when all are confirmed.
async fn publish(
    mut link: Link,
    mut dialect: Box<dyn Dialect>,
    clock: Instant,
    rate: u64,
    count: u64,
) -> Result<(), Error> {
    let mut due = pace(clock, rate, count);
    let mut in_flight = 0;
    let mut sequence = 0;
    loop {
        tokio::select! {
            moment = due.recv() => {
                let Some(moment) = moment else { break };
                let record = record::make(STREAM, sequence, moment);
                dialect.append(0, &record, &mut link.output);
                sequence += 1;
                in_flight += 1;
                link.flush()?;
            }
            turned = link.turn() => {
                turned?;
                in_flight -= dialect.replies(&mut link.input, &mut link.output)?;
            }
        }
    }
    confirmed(&mut link, dialect.as_mut(), in_flight).await
}

/// Gives the moment of each append when it has come, in nanoseconds of `clock`.
fn pace(clock: Instant, rate: u64, count: u64) -> mpsc::UnboundedReceiver<u64> {
    // It holds at most one number per append of the run.
    let (tell, due) = mpsc::unbounded_channel();
    let begun = clock.elapsed() + Duration::from_millis(100);
    std::thread::spawn(move || {
        for number in 0..count {
            let moment = begun + Duration::from_nanos(number * 1_000_000_000 / rate);
            std::thread::sleep(moment.saturating_sub(clock.elapsed()));
            let nanos = u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX);
            if tell.send(nanos).is_err() {
                break;
            }
        }
    });
    due
}

impl Subscriber {
    /// Connects, and waits until the server has taken it up.
    async fn open(server: &Server) -> Result<Self, Error> {
        let (mut link, mut dialect) = server.open(&[STREAM], READ_BYTES).await?;
        dialect.follow(0, &mut link.output);
        while dialect.held().is_none() {
            link.turn().await?;
            let early = &mut |_: &[u8]| Err(Error::said(b"a record before there was one"));
            dialect.records(&mut link.input, &mut link.output, early)?;
        }
        Ok(Self { link, dialect })
    }

    /// Takes all records, each in its place.
    async fn follow(mut self, clock: Instant, expected: u64) -> Result<Histogram<u64>, Error> {
        let mut latencies = histogram();
        let mut seen = 0;
        while seen < expected {
            let come = timeout(PATIENCE, self.link.turn()).await;
            come.map_err(|_elapsed| Error::Count {
                stream: STREAM,
                have: seen,
                expected,
            })??;
            let Link { input, output, .. } = &mut self.link;
            self.dialect.records(input, output, &mut |payload| {
                let moment = record::check(payload, STREAM, seen);
                let moment = moment.ok_or(Error::Record {
                    stream: STREAM,
                    sequence: seen,
                })?;
                seen += 1;
                let now = u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
                latencies.saturating_record(now.saturating_sub(moment));
                Ok(())
            })?;
        }
        Ok(latencies)
    }
}
