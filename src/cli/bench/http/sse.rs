//! How long a record takes from its POST to each SSE reader, and whether any reader misses one.
//!
//! The stream is of text: a record is one line with its number and the moment its append was due. All readers begin at
//! the start of the empty stream, before the first append; one that is sent away, as SSE servers do now and then,
//! comes back to where it was.

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
use crate::cli::bench::report::{Phase, Report, float, thousands};
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
    async fn publish(&self, run: &Run) -> Result<u64, Failure> {
        let Connection {
            mut sender,
            receiver,
        } = Connection::open(&run.address).await?;
        let (due, dues) = mpsc::unbounded_channel();
        // The sender outlives the last answer: dropping it would close our side of the connection.
        let sending = self.send(run, &mut sender, due);
        let (sent, ()) = tokio::try_join!(sending, run.confirm(receiver, dues))?;
        Ok(sent)
    }

    async fn send(
        &self,
        run: &Run,
        sender: &mut Sender,
        due: mpsc::UnboundedSender<u64>,
    ) -> Result<u64, Failure> {
        let budget = Budget::new(RunClock::start(), self.extent, Duration::ZERO);
        let mut pace = Pace::new(run.clock, self.rate, 1);
        let padding = ".".repeat(self.record_bytes as usize - (2 * DIGITS + "  \n".len()));
        let mut sent = 0_u64;
        while budget.take() {
            let moment = pace.next().await;
            let record = format!("{sent:016x} {moment:016x} {padding}\n");
            let post = run
                .requests
                .with_body("POST", &run.stream, TEXT, "", record.as_bytes());
            sender.send(&post).await?;
            // Nobody takes it any more only if an answer was a failure, which ends the run.
            due.send(moment).ok();
            sent += 1;
        }
        Ok(sent)
    }

    fn report(&self, run: &Run, sent: u64, elapsed: Duration) -> Report {
        let deliveries = run.deliveries.snapshot();
        let delivered = deliveries.len();
        let parameters = vec![
            ("readers", json!(self.readers)),
            ("rate", json!(self.rate)),
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
        ] {
            let count = counter.load(Ordering::Relaxed);
            report = report.fact(name, count, thousands(float(count)));
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
    offset: String,
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
        &self,
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
        let mut seen = 0_u64;
        loop {
            let known = *total.borrow_and_update();
            if known.is_some_and(|total| seen >= total) {
                return Ok(());
            }
            tokio::select! {
                more = reader.more() => {
                    if more? {
                        seen = self.take(&mut reader, seen)?;
                    } else {
                        self.returns.fetch_add(1, Ordering::Relaxed);
                        reader = Reader::open(&self, &reader.offset).await?;
                    }
                }
                _ = total.changed(), if known.is_none() => {}
                () = tokio::time::sleep(self.patience), if known.is_some() => break,
            }
        }
        let missing = (*total.borrow()).unwrap_or_default().saturating_sub(seen);
        self.missing.fetch_add(missing, Ordering::Relaxed);
        Ok(())
    }

    /// Takes what has come; answers how many records the reader has seen in all.
    fn take(&self, reader: &mut Reader, mut seen: u64) -> Result<u64, Failure> {
        let now = self.clock.now();
        let (bytes, offset) = (&reader.buffer, &mut reader.offset);
        let before = seen;
        let fed = reader.events.feed(bytes, |line| match line {
            Line::Data(text) => {
                let Some((number, due)) = stamp(text) else {
                    return;
                };
                if number != seen {
                    self.out_of_order.fetch_add(1, Ordering::Relaxed);
                }
                seen += 1;
                self.deliveries.record_all([now.saturating_sub(due)]);
            }
            Line::Control(control) => {
                if let Some(next) = next_offset(control) {
                    *offset = next;
                }
            }
        });
        fed.map_err(|error| Failure::io("reading events", error))?;
        reader.buffer.clear();
        self.deliveries.saw(seen - before);
        Ok(seen)
    }
}

/// The number of a record and the moment it was due, if the line is one.
fn stamp(line: &[u8]) -> Option<(u64, u64)> {
    let (number, rest) = line.split_at_checked(DIGITS)?;
    let due = rest.get(1..=DIGITS)?;
    let hexadecimal = |digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    Some((hexadecimal(number)?, hexadecimal(due)?))
}
