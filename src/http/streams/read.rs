//! GET, catch-up and long-poll: one answer, of what there is now or of what comes within a while.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::Face;
use super::cache::{self, Freshness};
use super::error::Failure;
use super::headers;
use super::live_cursor::LiveCursor;
use super::outgoing::Reserved;
use super::query::{Live, ReadQuery};
use crate::broker::{Broker, Runs};
use crate::http::{Reply, ReplyBody};
use crate::rules::is_json;
use crate::storage::{ReadLimits, Storage as _};
use crate::types::{Error, Position, Refusal, Start, StreamName};

/// Marks a response that is worth compressing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compressible;

/// Below this, compressing costs more than it saves.
const COMPRESS_BYTES_MIN: usize = 1 << 10;

impl Face {
    pub(super) async fn read(
        &self,
        broker: &Broker,
        stream: &StreamName,
        query: &ReadQuery,
        request: &HeaderMap,
    ) -> Result<Reply, Failure> {
        let read = match query.live {
            Live::No => {
                let limits = self.limits(Duration::ZERO);
                broker
                    .read_runs_with(stream, query.from, limits, self.room())
                    .await
            }
            Live::LongPoll | Live::Sse => self.wait_for_runs(broker, stream, query.from).await,
        };
        let (runs, room) = match read {
            // There was none.
            Ok((_, Some(None))) => return Err(Failure::unread()),
            Ok((runs, room)) => (runs, room),
            Err(error) => return Err(why_not(broker, stream, query, error).await),
        };
        check_position(query, &runs)?;
        if query.live == Live::LongPoll && runs.runs.is_empty() {
            return Ok(nothing_yet(&runs, query));
        }
        // What is made of them is counted at once.
        drop(room);
        let unreadable = |error| broker.note_unreadable(stream, error);
        self.render(runs, query, request, unreadable)
    }

    /// Room to read the store for an answer.
    fn room(&self) -> impl Future<Output = Option<Reserved>> {
        let record = self.options.record_bytes_max;
        self.outgoing
            .reserve_soon(record.max(self.options.read_bytes_max))
    }

    fn limits(&self, wait: Duration) -> ReadLimits {
        ReadLimits {
            max_bytes: self.outgoing.share(self.options.read_bytes_max),
            ..ReadLimits::default().timeout(wait)
        }
    }

    /// As a read that waits, but a drain ends the wait.
    async fn wait_for_runs(
        &self,
        broker: &Broker,
        stream: &StreamName,
        from: Start,
    ) -> Result<(Runs, Option<Option<Reserved>>), Error> {
        let wait = if self.draining.is_cancelled() {
            Duration::ZERO
        } else {
            self.options.long_poll_timeout
        };
        let _reader = self.metrics.http_live_readers.hold();
        tokio::select! {
            biased;
            read = broker.read_runs_with(stream, from, self.limits(wait), self.room()) => read,
            never = keep_alive(broker, stream), if !wait.is_zero() => match never {},
            () = self.draining.cancelled(), if !wait.is_zero() => {
                broker.read_runs_with(stream, from, self.limits(Duration::ZERO), self.room()).await
            }
        }
    }

    fn render(
        &self,
        runs: Runs,
        query: &ReadQuery,
        request: &HeaderMap,
        unreadable: impl FnOnce(Error) -> Error,
    ) -> Result<Reply, Failure> {
        let etag = (query.from != Start::Now).then(|| cache::etag(&runs));
        let at_tail = runs.runs.is_empty() && !runs.closed;
        let freshness = match query.from {
            Start::Now => Freshness::Never,
            _ if at_tail => Freshness::IfUnchanged,
            _ => Freshness::ForAWhile,
        };
        let mut reply = Response::new(ReplyBody::Empty);
        let out = reply.headers_mut();
        let content_type = runs.options.content_type.as_bytes();
        let json = is_json(content_type);
        out.insert(CONTENT_TYPE, headers::value(content_type.to_vec()));
        let cache_control = cache::control(freshness, runs.options.expiry, self.is_private());
        out.insert(CACHE_CONTROL, cache_control);
        out.insert(headers::NEXT_OFFSET, headers::value(runs.next.to_string()));
        if !runs.has_more {
            out.insert(headers::UP_TO_DATE, headers::TRUE);
        }
        if runs.closed {
            out.insert(headers::CLOSED, headers::TRUE);
        }
        if query.live == Live::LongPoll {
            let cursor = LiveCursor::new(query.cursor).now();
            out.insert(headers::CURSOR, headers::number(cursor));
        }
        let text = cache::is_text(content_type);
        let data = runs.into_data(json).map_err(unreadable)?;
        let compressible = text && data.bytes.len() >= COMPRESS_BYTES_MIN;
        if let Some(etag) = etag {
            let known = cache::matches(&request.get_all(IF_NONE_MATCH), &etag);
            let weak = known && compressible && cache::accepts_gzip(request);
            let tag = if weak { format!("W/{etag}") } else { etag };
            out.insert(ETAG, headers::value(tag));
            if known {
                if compressible {
                    // As on the answer that it stands for.
                    out.insert(VARY, HeaderValue::from_static("accept-encoding"));
                }
                *reply.status_mut() = StatusCode::NOT_MODIFIED;
                return Ok(reply);
            }
        }
        if compressible {
            reply.extensions_mut().insert(Compressible);
        }
        *reply.body_mut() = ReplyBody::from(self.outgoing.hold(data.bytes)?);
        Ok(reply)
    }
}

/// How long a read may wait before its stream's ttl is restarted: less than the shortest ttl.
const TOUCH_AFTER: Duration = Duration::from_millis(250);
/// Longer than any reader waits.
const TOUCH_EVERY_MAX: Duration = Duration::from_secs(3_600);

/// Keeps a stream alive that is being waited on: a reader restarts a sliding ttl for as long as it is there.
pub(super) async fn keep_alive(broker: &Broker, stream: &StreamName) -> Infallible {
    tokio::time::sleep(TOUCH_AFTER).await;
    while let Some(every) = broker.touch(stream) {
        tokio::time::sleep(every.min(TOUCH_EVERY_MAX)).await;
    }
    std::future::pending().await
}

/// Why a read failed. One that waited learns only that its stream is gone; which way it went is looked up.
async fn why_not(broker: &Broker, stream: &StreamName, query: &ReadQuery, error: Error) -> Failure {
    if query.live == Live::LongPoll
        && matches!(error, Error::Refused(Refusal::NotFound))
        && let Err(error) = broker.get_metadata(stream).await
    {
        return error.into();
    }
    Failure::located(broker, stream, error).await
}

/// An offset whose two parts do not belong together was never given out by this stream.
fn check_position(query: &ReadQuery, runs: &Runs) -> Result<(), Failure> {
    let Some(given) = query.position else {
        return Ok(());
    };
    let actual = runs.runs.first().map_or(runs.next, |run| Position {
        byte: run.header.first_byte,
        ..runs.from
    });
    if given.byte == actual.byte {
        return Ok(());
    }
    Err(Failure::foreign_offset(given))
}

/// The answer to a long-poll that ends with nothing.
fn nothing_yet(runs: &Runs, query: &ReadQuery) -> Reply {
    let mut reply = Response::new(ReplyBody::Empty);
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let out = reply.headers_mut();
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    out.insert(headers::NEXT_OFFSET, headers::value(runs.next.to_string()));
    out.insert(headers::UP_TO_DATE, headers::TRUE);
    if runs.closed {
        out.insert(headers::CLOSED, headers::TRUE);
    }
    let cursor = LiveCursor::new(query.cursor).now();
    out.insert(headers::CURSOR, headers::number(cursor));
    reply
}
