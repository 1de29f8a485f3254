//! How long a record takes from its POST to each SSE reader, and whether any reader misses one.
//!
//! The stream is of text: a record is one line with its number and the moment its append was due. All readers begin at
//! the start of the empty stream, before the first append; one that is sent away, as SSE servers do now and then,
//! comes back to where it was. Appends take turns on several connections, since on one each would wait for the answer to
//! the last; so their order is that of each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use clap::Args;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::connection::{Connection, Receiver, Sender};
use super::events::{Events, Line, next_offset};
use super::{Requests, create, delete};
use crate::cli::bench::broker::{Broker, stream_name};
use crate::cli::bench::measure::{Budget, Extent, Latencies, Pace, RunClock, together};
use crate::cli::bench::progress::{self, Goal};
use crate::cli::bench::report::{Phase, Report};
use crate::cli::failure::Failure;

/// Append to one stream at a rate while many readers follow it as server-sent events
#[derive(Clone, Debug, Args)]
pub(super) struct Sse {
    /// Readers, each on a connection of its own
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    readers: u64,

    /// Appends a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,

    /// Connections that the appends take turns on
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    writers: u32,

    /// Bytes of a record, at least 48
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(48..))]
    record_bytes: u32,

    /// After the last append, wait this long for what is still on its way
    #[arg(long, value_name = "TIME", default_value = "30s")]
    patience: humantime::Duration,

    #[command(flatten)]
    extent: Extent,
}

const TEXT: &str = "text/plain";

/// Hexadecimal digits of a number in a record.
const DIGITS: usize = 16;

/// What the readers and the writer share.
struct Run {
    clock: RunClock,
    requests: Requests,
    address: String,
    stream: String,
    appends: Latencies,
    deliveries: Latencies,
    missing: AtomicU64,
    out_of_order: AtomicU64,
    returns: AtomicU64,
    /// Events with data, all readers together.
    events: AtomicU64,
    writers: usize,
    patience: Duration,
}

impl Sse {
    pub(super) async fn run(self, broker: &Broker) -> Result<Report, Failure> {
        let run = Arc::new(Run {
            clock: RunClock::start(),
            requests: Requests::to(broker),
            address: broker.address().to_owned(),
            stream: stream_name("sse"),
            appends: Latencies::new()?,
            deliveries: Latencies::new()?,
            missing: AtomicU64::new(0),
            out_of_order: AtomicU64::new(0),
            returns: AtomicU64::new(0),
            events: AtomicU64::new(0),
            writers: self.writers as usize,
            patience: *self.patience,
        });
        let names = [run.stream.clone()];
        create(broker, &run.requests, TEXT, "", &names).await?;
        // How many appends there were, once that is known.
        let (total, told) = watch::channel(None);
        let mut following = Vec::new();
        for _ in 0..self.readers {
            let reader = Reader::open(&run, "-1").await?;
            following.push(Arc::clone(&run).follow(reader, told.clone()));
        }
        let begun = run.clock.now();
        let work = async {
            let publishing = async {
                let sent = self.publish(&run).await?;
                total.send_replace(Some(sent));
                Ok::<u64, Failure>(sent)
            };
            let (sent, ()) = tokio::try_join!(publishing, together(following))?;
            Ok::<u64, Failure>(sent)
        };
        let goal = match Goal::of(self.extent, Duration::ZERO) {
            Goal::Operations(count) => Goal::Operations(count * self.readers),
            time @ Goal::Time(_) => time,
        };
        let sent = progress::show("http sse", goal, || run.deliveries.seen(), work).await?;
        let elapsed = Duration::from_nanos(run.clock.now().saturating_sub(begun));
        delete(broker, &run.requests, &names).await?;
        Ok(self.report(&run, sent, elapsed))
    }

    /// Appends when each is due, whether or not the last was answered, until the budget is used up.
    async fn publish(&self, run: &Arc<Run>) -> Result<u64, Failure> {
        let (mut senders, mut begun, mut confirming) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..run.writers {
            let Connection { sender, receiver } = Connection::open(&run.address).await?;
            let (due, dues) = mpsc::unbounded_channel();
            senders.push(sender);
            begun.push(due);
            confirming.push(Arc::clone(run).confirm(receiver, dues));
        }
        // The senders outlive the last answer: dropping one closes our side of its connection.
        let sending = self.send(run, &mut senders, begun);
        Ok(tokio::try_join!(sending, together(confirming))?.0)
    }

    async fn send(
        &self,
        run: &Run,
        senders: &mut [Sender],
        begun: Vec<mpsc::UnboundedSender<u64>>,
    ) -> Result<u64, Failure> {
        let budget = Budget::new(RunClock::start(), self.extent, Duration::ZERO);
        let mut pace = Pace::new(run.clock, self.rate, 1);
        let padding = ".".repeat(self.record_bytes as usize - (2 * DIGITS + "  \n".len()));
        let mut sent = 0_u64;
        loop {
            for (sender, begun) in senders.iter_mut().zip(&begun) {
                if !budget.take() {
                    return Ok(sent);
                }
                let due = pace.next().await;
                let record = format!("{sent:016x} {due:016x} {padding}\n");
                let record = record.as_bytes();
                let post = run
                    .requests
                    .with_body("POST", &run.stream, TEXT, "", record);
                sender.send(&post).await?;
                // Nobody takes it any more only if an answer was a failure, which ends the run.
                begun.send(due).ok();
                sent += 1;
            }
        }
    }

    fn report(&self, run: &Run, sent: u64, elapsed: Duration) -> Report {
        let deliveries = run.deliveries.snapshot();
        let delivered = deliveries.len();
        let parameters = vec![
            ("readers", json!(self.readers)),
            ("rate", json!(self.rate)),
            ("writers", json!(self.writers)),
            ("record_bytes", json!(self.record_bytes)),
        ];
        let phase = |unit, count, latency, latencies| Phase {
            unit,
            count,
            bytes: count * u64::from(self.record_bytes),
            elapsed,
            latency,
            latencies: Some(latencies),
        };
        let appends = run.appends.snapshot();
        let mut report = Report::new("http sse", parameters)
            .phase(phase(
                "records delivered",
                delivered,
                "append due to delivery",
                deliveries,
            ))
            .phase(phase(
                "records confirmed",
                sent,
                "append due to answer",
                appends,
            ));
        for (name, counter) in [
            ("missing", &run.missing),
            ("out_of_order", &run.out_of_order),
            ("reconnects", &run.returns),
            ("events", &run.events),
        ] {
            let count = counter.load(Ordering::Relaxed);
            report = report.count(name, count);
        }
        report
    }
}

/// A connection that is sent events.
#[derive(Debug)]
struct Reader {
    receiver: Receiver,
    /// Kept open: a client that closes its side may be taken for gone.
    _sender: Sender,
    events: Events,
    buffer: BytesMut,
    /// Where it began, until a control event says more.
    offset: String,
    /// The last control event.
    control: Vec<u8>,
    /// Records seen.
    seen: u64,
    /// The next record of each writer.
    expected: Vec<u64>,
}

impl Reader {
    async fn open(run: &Run, offset: &str) -> Result<Self, Failure> {
        let mut connection = Connection::open(&run.address).await?;
        let query = format!("?offset={offset}&live=sse");
        let accept = "Accept: text/event-stream\r\n";
        let get = run
            .requests
            .without_body("GET", &run.stream, &query, accept);
        connection.send(&get).await?;
        let Connection {
            sender,
            mut receiver,
        } = connection;
        let buffer = receiver.chunked().await?;
        Ok(Self {
            receiver,
            _sender: sender,
            events: Events::default(),
            buffer,
            offset: offset.to_owned(),
            control: Vec::new(),
            seen: 0,
            expected: (0..).take(run.writers).collect(),
        })
    }

    /// A new connection from where this one is.
    async fn again(self, run: &Run) -> Result<Self, Failure> {
        let offset = next_offset(&self.control).unwrap_or(self.offset);
        Ok(Self {
            seen: self.seen,
            expected: self.expected,
            ..Self::open(run, &offset).await?
        })
    }

    /// Waits for more; false at the end of the body.
    async fn more(&mut self) -> Result<bool, Failure> {
        // The first bytes may have come with the head of the answer.
        if !self.buffer.is_empty() {
            return Ok(true);
        }
        Ok(!self.events.is_over() && self.receiver.more(&mut self.buffer).await? > 0)
    }
}

impl Run {
    /// Takes the answer to each append, in order.
    async fn confirm(
        self: Arc<Self>,
        mut receiver: Receiver,
        mut dues: mpsc::UnboundedReceiver<u64>,
    ) -> Result<(), Failure> {
        while let Some(due) = dues.recv().await {
            receiver.answer().await?;
            self.appends
                .record_all([self.clock.now().saturating_sub(due)]);
        }
        Ok(())
    }

    /// Follows until everything that was appended has come, or patience ends.
    async fn follow(
        self: Arc<Self>,
        mut reader: Reader,
        mut total: watch::Receiver<Option<u64>>,
    ) -> Result<(), Failure> {
        loop {
            let known = *total.borrow_and_update();
            if known.is_some_and(|total| reader.seen >= total) {
                return Ok(());
            }
            tokio::select! {
                more = reader.more() => {
                    if more? {
                        self.take(&mut reader)?;
                    } else {
                        self.returns.fetch_add(1, Ordering::Relaxed);
                        reader = reader.again(&self).await?;
                    }
                }
                _ = total.changed(), if known.is_none() => {}
                () = tokio::time::sleep(self.patience), if known.is_some() => break,
            }
        }
        let missing = (*total.borrow())
            .unwrap_or_default()
            .saturating_sub(reader.seen);
        self.missing.fetch_add(missing, Ordering::Relaxed);
        Ok(())
    }

    /// Takes what has come.
    fn take(&self, reader: &mut Reader) -> Result<(), Failure> {
        let now = self.clock.now();
        let before = reader.seen;
        let (bytes, place) = (&reader.buffer, &mut reader.control);
        let (seen, expected) = (&mut reader.seen, &mut reader.expected);
        let fed = reader.events.feed(bytes, |line| match line {
            Line::Data(text) => {
                let Some((number, due)) = stamp(text) else {
                    return;
                };
                let (writers, expected) = (expected.len() as u64, expected.as_mut_slice());
                let Some(expected) = expected.get_mut(writer(number, writers)) else {
                    return;
                };
                if number != *expected {
                    self.out_of_order.fetch_add(1, Ordering::Relaxed);
                }
                // One that comes again is not another one.
                if number >= *expected {
                    *expected = number + writers;
                    *seen += 1;
                    self.deliveries.record_all([now.saturating_sub(due)]);
                }
            }
            Line::Control(control) => {
                self.events.fetch_add(1, Ordering::Relaxed);
                place.clear();
                place.extend_from_slice(control);
            }
        });
        fed.map_err(|error| Failure::io("reading events", error))?;
        reader.buffer.clear();
        self.deliveries.saw(reader.seen - before);
        Ok(())
    }
}

/// Whose record it is: they take turns.
fn writer(number: u64, writers: u64) -> usize {
    usize::try_from(number % writers.max(1)).unwrap_or(usize::MAX)
}

/// The number of a record and the moment it was due, if the line is one.
fn stamp(line: &[u8]) -> Option<(u64, u64)> {
    let (number, rest) = line.split_at_checked(DIGITS)?;
    let due = rest.get(1..=DIGITS)?;
    let hexadecimal = |digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    Some((hexadecimal(number)?, hexadecimal(due)?))
}
