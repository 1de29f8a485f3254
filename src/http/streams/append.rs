//! POST: append the body, close the stream, or both in one step.
//!
//! The hot path: one look at each header, one copy of the body (into the record the journal will hold), one wait for the commit.

use axum::http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use streamkeeper_protocol::RecordBlockBuilder;
use streamkeeper_protocol::record::RECORD_HEADER_BYTES;

use super::Face;
use super::error::Failure;
use super::headers;
use crate::broker::Broker;
use crate::http::{Reply, ReplyBody};
use crate::rules::is_json;
use crate::storage::Storage as _;
use crate::types::{AppendOptions, Position, RecordBlock, StreamName};

impl Face {
    pub(super) async fn append(
        &self,
        broker: &Broker,
        stream: &StreamName,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> Result<Reply, Failure> {
        let close = headers::closed(headers);
        let producer = headers::producer(headers)?;
        let seq = headers::seq(headers)?;
        let payload = self.bodies.read(body).await?;
        let close_only = payload.bytes().is_empty();
        if close_only && !close {
            return Err(Failure::bad_request(
                "EMPTY_BODY",
                "nothing to append: an empty body needs Stream-Closed: true",
            ));
        }
        if close_only && producer.is_none() {
            let closed = broker.close(stream).await?;
            return Ok(reply(StatusCode::NO_CONTENT, closed.tail, true));
        }
        let stamp = producer.as_ref().map(|stamp| (stamp.epoch, stamp.seq));
        let mut options = AppendOptions {
            producer,
            close,
            ..AppendOptions::default()
        };
        let batch = if close_only {
            RecordBlock::default()
        } else {
            let content_type = headers::content_type(headers)?.ok_or_else(missing_content_type)?;
            let whole = is_json(content_type.as_bytes());
            options.content_type = Some(content_type);
            options.seq = seq;
            records(payload.bytes(), whole, self.options.record_bytes_max)
        };
        let appended = match broker.append(stream, batch, options).await {
            Ok(appended) => appended,
            Err(error) => return Err(Failure::located(broker, stream, error).await),
        };
        drop(payload);
        let news = stamp.is_some() && !appended.duplicate && !close_only;
        let status = if news {
            StatusCode::OK
        } else {
            StatusCode::NO_CONTENT
        };
        let mut reply = reply(status, appended.tail, appended.closed);
        if let Some((epoch, seq)) = stamp {
            let highest = appended.producer_seq.unwrap_or(seq);
            let headers = reply.headers_mut();
            headers.insert(headers::PRODUCER_EPOCH, headers::number(epoch));
            headers.insert(headers::PRODUCER_SEQ, headers::number(highest));
        }
        Ok(reply)
    }
}

fn missing_content_type() -> Failure {
    let message = "a body needs a Content-Type: that of its stream";
    Failure::bad_request("MISSING_CONTENT_TYPE", message)
}

fn reply(status: StatusCode, tail: Position, closed: bool) -> Reply {
    let mut reply = Response::new(ReplyBody::Empty);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(headers::NEXT_OFFSET, headers::value(tail.to_string()));
    if closed {
        headers.insert(headers::CLOSED, headers::TRUE);
    }
    reply
}

/// A body as records: one, or if it must not be `whole`, several of the largest size there may be.
pub(super) fn records(body: &[u8], whole: bool, record_bytes_max: usize) -> RecordBlock {
    if body.is_empty() {
        return RecordBlock::default();
    }
    let size = if whole {
        body.len()
    } else {
        record_bytes_max.max(1)
    };
    let count = body.len().div_ceil(size);
    let mut builder = RecordBlockBuilder::with_capacity(body.len() + count * RECORD_HEADER_BYTES);
    for piece in body.chunks(size) {
        builder.push(piece);
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_record_or_pieces_of_the_largest() {
        let lengths = |body: &[u8], whole| -> Vec<usize> {
            let block = records(body, whole, 4);
            block.payloads().map(|payload| payload.len()).collect()
        };
        assert_eq!(lengths(b"", false), Vec::<usize>::new());
        assert_eq!(lengths(b"abcd", false), [4]);
        assert_eq!(lengths(b"abcdefghi", false), [4, 4, 1]);
        assert_eq!(lengths(b"abcdefghi", true), [9]);
    }
}
