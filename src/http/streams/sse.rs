//! GET with `live=sse`: events from a position on, for about a minute.
//!
//! A reader is a [`Cursor`] like any other, polled by hyper when the socket takes more: one that does not read costs its
//! position and a few events, which are counted (`outgoing`). What has piled up since the last event goes out in one. With many readers each one rests a little
//! after an event, so that a busy stream costs its readers a bounded number of writes, and what comes meanwhile goes out
//! together; and a data event is made once for all who are at the same place (`crowd`).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use http_body_util::StreamBody;
use smallvec::SmallVec;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Face;
use super::crowd::{Place, Told};
use super::error::Failure;
use super::headers;
use super::live_cursor::LiveCursor;
use super::outgoing::{Outgoing, Reader, Reserved};
use super::query::ReadQuery;
use super::read::keep_alive;
use super::sse_encode::{Control, Encoding};
use super::text::Joint;
use crate::broker::{Broker, verified};
use crate::fanout::{Bell, Cursor, EndReason, Step, Watcher};
use crate::http::{Reply, ReplyBody};
use crate::metrics::Held;
use crate::storage::{ReadLimits, Storage as _};
use crate::types::{Error, Expiry, Offset, Position, Refusal, Run, Start, StreamName};

/// About what a control event takes.
const CONTROL_BYTES: usize = 160;
/// About how much goes into one event.
const EVENT_BYTES: usize = 64 << 10;
/// And while answers hold all they may. Less than this is made without room for it.
const FRUGAL_BYTES: usize = 4 << 10;
/// Connections are closed after about this long, spread so that not all readers return at once.
const LIFE: std::ops::RangeInclusive<u64> = 55_000..=65_000;

/// Most of a character that a [`Joint`] holds back: all but the last of its four bytes.
const HELD_BYTES_MAX: usize = 3;
/// Records looked at for them: few are empty.
const LOOKS_BACK_MAX: usize = 16;

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

impl Face {
    pub(super) async fn sse(
        &self,
        broker: &Broker,
        stream: &StreamName,
        query: &ReadQuery,
    ) -> Result<Reply, Failure> {
        let bell = Arc::new(Bell::default());
        let loads = Loads {
            outgoing: self.outgoing.clone(),
            record_bytes_max: self.options.record_bytes_max,
        };
        let begun = begin(broker, stream, query.from, &bell, &loads).await;
        let (cursor, first, room) = match begun {
            Ok(Some(begun)) => begun,
            Ok(None) => return Err(Failure::unread()),
            Err(error) => return Err(Failure::located(broker, stream, error).await),
        };
        check_position(query, &first, cursor.next())?;
        let mut encoding = Encoding::of(cursor.options().content_type.as_bytes());
        if let (Encoding::Text(joint), Start::At(offset)) = (&mut encoding, query.from) {
            *joint = joint_before(broker, stream, offset).await;
        }
        let mut reply = Response::new(ReplyBody::Empty);
        let out = reply.headers_mut();
        out.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        out.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
        if matches!(encoding, Encoding::Base64) {
            out.insert(headers::SSE_ENCODING, HeaderValue::from_static("base64"));
        }
        let life = Duration::from_millis(fastrand::u64(LIFE));
        // Boxed, since every event moves it.
        let feed = Box::new(Feed {
            broker: broker.clone(),
            stream: stream.clone(),
            cursor,
            bell,
            first: Some((first, room)),
            encoding,
            live_cursor: LiveCursor::new(query.cursor),
            said: false,
            ended: false,
            rest: None,
            life: Box::pin(tokio::time::sleep(life)),
            drain: Box::pin(self.draining.clone().cancelled_owned()),
            crowd: self.crowd.enter(),
            loads,
            reader: self.outgoing.reader(),
            _counted: self.metrics.http_live_readers.hold(),
        });
        let events = futures_util::stream::unfold(feed, async |mut feed| {
            let event = feed.next().await?;
            let frame = Frame::data(feed.reader.hold(event));
            Some((Ok::<_, Infallible>(frame), feed))
        });
        *reply.body_mut() = ReplyBody::other(StreamBody::new(events));
        Ok(reply)
    }
}

/// How readers of events read the store.
struct Loads {
    outgoing: Outgoing,
    record_bytes_max: usize,
}

impl Loads {
    /// Most bytes that one read brings: a single record may be larger than an event.
    fn bytes_max(&self) -> usize {
        self.record_bytes_max.max(EVENT_BYTES)
    }

    /// How much to ask for.
    fn share(&self) -> usize {
        if self.outgoing.is_full() {
            FRUGAL_BYTES
        } else {
            self.outgoing.share(EVENT_BYTES)
        }
    }

    /// Reads on from where `cursor` is, with `room` for it.
    async fn load(&self, cursor: &mut Cursor, mut room: Reserved) -> Result<Loaded, Error> {
        let step = cursor.load(self.outgoing.share(EVENT_BYTES)).await?;
        let bytes = match &step {
            Step::Runs(runs) => encoded_bytes(runs),
            _ => 0,
        };
        room.shrink(bytes);
        Ok((step, Some(room)))
    }
}

/// What a cursor had, and the room for it if it was read from the store.
type Loaded = (Step, Option<Reserved>);

fn encoded_bytes(runs: &[Run]) -> usize {
    runs.iter().map(Run::encoded_bytes).sum()
}

/// A cursor and what it has first: read before the status goes out, so that what is wrong can still be said in it. `None` if there is
/// no room to read it.
async fn begin(
    broker: &Broker,
    stream: &StreamName,
    from: Start,
    bell: &Arc<Bell>,
    loads: &Loads,
) -> Result<Option<(Cursor, Step, Option<Reserved>)>, Error> {
    loop {
        let watcher: Arc<dyn Watcher> = Arc::<Bell>::clone(bell);
        let mut cursor = broker.cursor(stream, from, watcher, 0).await?;
        let (step, room) = match cursor.poll(loads.share()) {
            Step::Behind => {
                let Some(room) = loads.outgoing.reserve_soon(loads.bytes_max()).await else {
                    return Ok(None);
                };
                loads.load(&mut cursor, room).await?
            }
            step => (step, None),
        };
        match step {
            Step::End {
                reason: EndReason::Deleted | EndReason::Expired,
                ..
            } => return Err(Refusal::NotFound.into()),
            Step::End {
                reason: EndReason::Trimmed,
                earliest,
                ..
            } => {
                if from != Start::Beginning {
                    return Err(Refusal::Trimmed { earliest }.into());
                }
                // The beginning moved between finding it and reading there.
            }
            first => {
                if let Step::Runs(runs) = &first {
                    payloads(runs).map_err(|error| broker.note_unreadable(stream, error))?;
                }
                return Ok(Some((cursor, first, room)));
            }
        }
    }
}

/// What one reader still has to be sent.
struct Feed {
    broker: Broker,
    stream: StreamName,
    cursor: Cursor,
    bell: Arc<Bell>,
    first: Option<Loaded>,
    encoding: Encoding,
    live_cursor: LiveCursor,
    /// Some event has said where the reader stands.
    said: bool,
    ended: bool,
    /// Until when to rest.
    rest: Option<Instant>,
    life: Pin<Box<Sleep>>,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    crowd: Place,
    loads: Loads,
    reader: Reader,
    _counted: Held,
}

/// What may end the wait of a reader.
enum Woken {
    Changed,
    Over,
}

impl Feed {
    /// The next events, data and control in one; `None` at the end.
    ///
    /// A failed read is an end as well: a body that broke off would take along what was sent just before.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if let Some(until) = self.rest.take() {
            tokio::time::sleep_until(until).await;
        }
        loop {
            let loaded = match self.first.take() {
                Some(first) => Ok(first),
                None => self.step().await?,
            };
            let (step, room) = loaded.ok()?;
            let event = match step {
                Step::Runs(runs) => {
                    // Until the event made of them is counted.
                    let _room = match room {
                        None if encoded_bytes(&runs) > FRUGAL_BYTES => {
                            Some(self.reserve(encoded_bytes(&runs)).await?)
                        }
                        room => room,
                    };
                    let event = self.records(&runs);
                    let event = event.map_err(|e| self.broker.note_unreadable(&self.stream, e));
                    return Some(self.reader.hold(event.ok()?));
                }
                Step::End {
                    reason: EndReason::Closed,
                    next,
                    ..
                } => Some(self.close(next)),
                // Deleted, expired or trimmed: coming back, the client is told which, as it is of a failed read.
                Step::End { .. } => return None,
                Step::Idle if !self.said => Some(self.greet()),
                Step::Idle | Step::Behind => None,
            };
            if let Some(event) = event {
                return Some(self.reader.hold(event));
            }
            if matches!(self.wait().await, Woken::Over) {
                return None;
            }
        }
    }

    /// What comes next, in its turn. `None` if the time is over before.
    async fn step(&mut self) -> Option<Result<Loaded, Error>> {
        if self.reader.waits() {
            tokio::select! {
                biased;
                () = self.reader.turn() => {}
                () = &mut self.life => return None,
                () = &mut self.drain => return None,
            }
        }
        match self.cursor.poll(self.loads.share()) {
            Step::Behind => {
                let room = self.reserve(self.loads.bytes_max()).await?;
                Some(self.loads.load(&mut self.cursor, room).await)
            }
            step => Some(Ok((step, None))),
        }
    }

    /// Waits for room. `None` if the time is over before.
    async fn reserve(&mut self, bytes: usize) -> Option<Reserved> {
        tokio::select! {
            biased;
            room = self.loads.outgoing.reserve(bytes) => Some(room),
            () = &mut self.life => None,
            () = &mut self.drain => None,
        }
    }

    async fn wait(&mut self) -> Woken {
        let slides = matches!(self.cursor.options().expiry, Expiry::Ttl(_));
        tokio::select! {
            biased;
            () = self.bell.wait() => Woken::Changed,
            () = &mut self.life => Woken::Over,
            () = &mut self.drain => Woken::Over,
            never = keep_alive(&self.broker, &self.stream), if slides => match never {},
        }
    }

    /// Records and where the reader stands after them.
    fn records(&mut self, runs: &[Run]) -> Result<Bytes, Error> {
        let next = self.cursor.next();
        let up_to_date = next.offset >= self.cursor.tail().offset;
        self.ended = up_to_date && self.cursor.is_at_end();
        let mut out = BytesMut::new();
        self.data(runs, &mut out)?;
        self.control(next, up_to_date, &mut out);
        if up_to_date {
            self.rest = self.crowd.rest().map(|rest| Instant::now() + rest);
        }
        // Between events, so that a reader who catches up for long is let go as well. By the clock: the timer runs only while
        // somebody waits for it.
        self.ended |= Instant::now() >= self.life.deadline();
        Ok(out.freeze())
    }

    /// Appends the data event for these records, made here unless another reader of them was first.
    fn data(&mut self, runs: &[Run], out: &mut BytesMut) -> Result<(), Error> {
        let told = runs.first().map(|run| Told {
            stream: self.cursor.incarnation(),
            from: Offset(run.header.first_offset),
            next: self.cursor.next().offset,
            ends: self.ended,
        });
        let told = told.filter(|_| self.encoding.is_whole());
        if let Some(data) = told.and_then(|told| self.crowd.recall(&told)) {
            out.reserve(data.len() + CONTROL_BYTES);
            out.extend_from_slice(&data);
            return Ok(());
        }
        self.encoding.data(&payloads(runs)?, self.ended, out);
        if let Some(told) = told.filter(|_| self.encoding.is_whole()) {
            self.crowd.keep(told, out);
        }
        Ok(())
    }

    fn close(&mut self, next: Position) -> Bytes {
        let mut out = BytesMut::new();
        self.encoding.finish(&mut out);
        self.ended = true;
        self.control(next, true, &mut out);
        out.freeze()
    }

    fn greet(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        self.control(self.cursor.next(), true, &mut out);
        out.freeze()
    }

    /// The control event; the stream is closed if this is the end.
    fn control(&mut self, next: Position, up_to_date: bool, out: &mut BytesMut) {
        self.said = true;
        let control = Control {
            next,
            cursor: self.live_cursor.now(),
            up_to_date,
            closed: self.ended,
        };
        control.put(out);
    }
}

/// The payloads of all records, each checked against its checksum.
fn payloads(runs: &[Run]) -> Result<SmallVec<[Bytes; 8]>, Error> {
    let mut payloads = SmallVec::new();
    for record in runs.iter().flat_map(verified) {
        payloads.push(record?.payload);
    }
    Ok(payloads)
}

/// An offset whose two parts do not belong together was never given out by this stream.
fn check_position(query: &ReadQuery, first: &Step, next: Position) -> Result<(), Failure> {
    let begins = match first {
        Step::Runs(runs) => runs.first().map(|run| run.header.first_byte),
        _ => Some(next.byte),
    };
    match (query.position, begins) {
        (Some(given), Some(begins)) if given.byte != begins => Err(Failure::foreign_offset(given)),
        _ => Ok(()),
    }
}

/// The end of the text before `offset`: the beginning of a character there was held back by whoever sent it. Record by record,
/// since records may be large, and no further than what retention left.
async fn joint_before(broker: &Broker, stream: &StreamName, offset: Offset) -> Joint {
    // One record is handed out however few bytes are asked for.
    let limits = ReadLimits {
        max_bytes: 1,
        max_records: 1,
        ..ReadLimits::default()
    };
    let mut end: Vec<u8> = Vec::with_capacity(HELD_BYTES_MAX);
    let mut at = offset;
    for _ in 0..LOOKS_BACK_MAX {
        let wanted = HELD_BYTES_MAX - end.len();
        if wanted == 0 || at.0 == 0 {
            break;
        }
        at = Offset(at.0 - 1);
        let Ok(read) = broker.read_messages(stream, Start::At(at), limits).await else {
            break;
        };
        let found = read.messages.first();
        let Some(record) = found.filter(|record| record.position.offset == at) else {
            break;
        };
        let payload = &record.payload;
        let last = payload.len() - payload.len().min(wanted);
        end.splice(0..0, payload.slice(last..));
    }
    Joint::after(&end)
}
