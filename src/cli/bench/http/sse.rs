//! How long a record takes from its POST to each SSE reader, and whether any reader misses one.
//!
//! The stream is of text: a record is one line with its number and the moment its append was due. All readers begin at
//! the start of the empty stream, before the first append, and read until it is closed; one that is sent away, as SSE
//! servers do now and then, comes back to where it was. Appends take turns on several connections, since on one each would
//! wait for the answer to the last; so their order is that of each connection.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use memchr::memmem;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

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
    out_of_order: AtomicU64,
    returns: AtomicU64,
    /// Events with data, all readers together.
    events: AtomicU64,
    writers: usize,
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
            out_of_order: AtomicU64::new(0),
            returns: AtomicU64::new(0),
            events: AtomicU64::new(0),
            writers: self.writers as usize,
        });
        let names = [run.stream.clone()];
        create(broker, &run.requests, TEXT, "", &names).await?;
        let mut following = Vec::new();
        for _ in 0..self.readers {
            let reader = Reader::start(&run).await?;
            following.push(Arc::clone(&run).follow(reader));
        }
        let begun = run.clock.now();
        let work = async {
            let (over, ends) = oneshot::channel();
            let publishing = async {
                let sent = self.publish(&run).await?;
                close(&run).await?;
                over.send(()).ok();
                Ok::<u64, Failure>(sent)
            };
            let following = until_patience_ends(together(following), ends, *self.patience);
            let (sent, ()) = tokio::try_join!(publishing, following)?;
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
        let (publisher, shared, runtime) = (self.clone(), Arc::clone(run), Handle::current());
        let sending = tokio::task::spawn_blocking(move || {
            let sent = publisher.send(&shared, &mut senders, &begun, &runtime)?;
            Ok::<_, Failure>((sent, senders))
        });
        let sending = async {
            let sent = sending.await;
            sent.map_err(|error| Failure::io("the thread that appends", error))?
        };
        // The senders outlive the last answer: dropping one closes our side of its connection.
        let ((sent, _senders), ()) = tokio::try_join!(sending, together(confirming))?;
        Ok(sent)
    }

    /// Sends on a thread of its own: the timers of the other one tick by the millisecond, and events keep it busy, so that
    /// appends would be late for reasons of the load.
    fn send(
        &self,
        run: &Run,
        senders: &mut [Sender],
        begun: &[mpsc::UnboundedSender<u64>],
        runtime: &Handle,
    ) -> Result<u64, Failure> {
        let budget = Budget::new(RunClock::start(), self.extent, Duration::ZERO);
        let mut pace = Pace::new(run.clock, self.rate, 1);
        let padding = ".".repeat(self.record_bytes as usize - (2 * DIGITS + "  \n".len()));
        let mut sent = 0_u64;
        loop {
            for (sender, begun) in senders.iter_mut().zip(begun) {
                if !budget.take() {
                    return Ok(sent);
                }
                let due = pace.next_blocking();
                let record = format!("{sent:016x} {due:016x} {padding}\n");
                let record = record.as_bytes();
                let post = run
                    .requests
                    .with_body("POST", &run.stream, TEXT, "", record);
                runtime.block_on(sender.send(&post))?;
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
        let missing = (sent * self.readers).saturating_sub(run.deliveries.seen());
        for (name, count) in [
            ("missing", missing),
            ("out_of_order", run.out_of_order.load(Ordering::Relaxed)),
            ("reconnects", run.returns.load(Ordering::Relaxed)),
            ("events", run.events.load(Ordering::Relaxed)),
        ] {
            report = report.count(name, count);
        }
        report
    }
}

/// Ends the stream, and with it the wait of its readers.
async fn close(run: &Run) -> Result<(), Failure> {
    let closing = "Stream-Closed: true\r\n";
    let close = run
        .requests
        .with_body("POST", &run.stream, TEXT, closing, b"");
    let mut connection = Connection::open(&run.address).await?;
    connection.send(&close).await?;
    connection.answer().await
}

/// Waits for `following`, but not longer than `patience` after `ends`.
async fn until_patience_ends(
    following: impl Future<Output = Result<(), Failure>>,
    ends: oneshot::Receiver<()>,
    patience: Duration,
) -> Result<(), Failure> {
    let mut following = pin!(following);
    tokio::select! {
        ended = following.as_mut() => return ended,
        _ = ends => {}
    }
    let ended = tokio::time::timeout(patience, following).await;
    ended.unwrap_or(Ok(()))
}

/// A connection that is sent events.
#[derive(Debug)]
struct Reader {
    receiver: Receiver,
    /// Kept open: a client that closes its side may be taken for gone.
    _sender: Sender,
    events: Events,
    place: Place,
}

/// How far a reader is.
#[derive(Debug)]
struct Place {
    /// Where it began, until a control event says more.
    offset: String,
    /// The last control event.
    control: Vec<u8>,
    /// The next record of each writer.
    expected: Vec<u64>,
    /// At the end of the stream.
    closed: bool,
}

impl Reader {
    /// A reader from the beginning of the stream.
    async fn start(run: &Run) -> Result<Self, Failure> {
        let place = Place {
            offset: "-1".to_owned(),
            control: Vec::new(),
            expected: (0..).take(run.writers).collect(),
            closed: false,
        };
        Self::open(run, place).await
    }

    async fn open(run: &Run, mut place: Place) -> Result<Self, Failure> {
        if let Some(next) = next_offset(&place.control) {
            place.offset = next;
        }
        let mut connection = Connection::open(&run.address).await?;
        let query = format!("?offset={}&live=sse", place.offset);
        let accept = "Accept: text/event-stream\r\n";
        let get = run
            .requests
            .without_body("GET", &run.stream, &query, accept);
        connection.send(&get).await?;
        let Connection {
            sender,
            mut receiver,
        } = connection;
        // The first bytes may have come with the head of the answer.
        let first = receiver.chunked().await?;
        let mut events = Events::default();
        run.take(&mut events, &mut place, &first)?;
        Ok(Self {
            receiver,
            _sender: sender,
            events,
            place,
        })
    }

    /// Takes what comes next; false at the end of the body.
    async fn more(&mut self, run: &Run) -> Result<bool, Failure> {
        let (events, place) = (&mut self.events, &mut self.place);
        if events.is_over() {
            return Ok(false);
        }
        let take = |bytes: &[u8]| {
            run.take(events, place, bytes)?;
            Ok(!bytes.is_empty() && !events.is_over())
        };
        self.receiver.more(take).await
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

    /// Follows to the end of the stream.
    async fn follow(self: Arc<Self>, mut reader: Reader) -> Result<(), Failure> {
        while !reader.place.closed {
            if !reader.more(&self).await? && !reader.place.closed {
                self.returns.fetch_add(1, Ordering::Relaxed);
                reader = Reader::open(&self, reader.place).await?;
            }
        }
        Ok(())
    }

    /// Takes what has come.
    fn take(&self, events: &mut Events, place: &mut Place, bytes: &[u8]) -> Result<(), Failure> {
        let now = self.clock.now();
        let mut seen = 0;
        let fed = events.feed(bytes, |line| match line {
            Line::Data(text) => {
                let Some((number, due)) = stamp(text) else {
                    return;
                };
                let writers = place.expected.len() as u64;
                let Some(expected) = place.expected.get_mut(writer(number, writers)) else {
                    return;
                };
                if number != *expected {
                    self.out_of_order.fetch_add(1, Ordering::Relaxed);
                }
                // One that comes again is not another one.
                if number >= *expected {
                    *expected = number + writers;
                    seen += 1;
                    self.deliveries.record_all([now.saturating_sub(due)]);
                }
            }
            Line::Control(control) => {
                self.events.fetch_add(1, Ordering::Relaxed);
                place.closed = memmem::find(control, b"\"streamClosed\":true").is_some();
                place.control.clear();
                place.control.extend_from_slice(control);
            }
        });
        fed.map_err(|error| Failure::io("reading events", error))?;
        self.deliveries.saw(seen);
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
