//! What is answered when a request cannot be done: a status, the headers that tell programs why, and a JSON body that tells
//! people.
//!
//! [`Failure::from`] an engine's [`Error`] is the one place where refusals and faults become HTTP.

use std::borrow::Cow;

use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use bytes::Bytes;

use super::headers;
use crate::broker::Broker;
use crate::http::{Reply, ReplyBody};
use crate::storage::Storage as _;
use crate::types::{Error, Fault, NameError, Position, Refusal, StreamName};

/// See the module.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// 400.
    pub(super) fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 400 for a header's value.
    pub(super) fn header(name: &HeaderName, must: &str) -> Self {
        Self::bad_request("INVALID_HEADER", format!("header {name} {must}"))
    }

    /// 400 for an offset whose two parts do not belong together.
    pub(super) fn foreign_offset(given: Position) -> Self {
        let message = format!("the stream never gave out offset {given}");
        Self::bad_request("INVALID_OFFSET", message)
    }

    /// 404.
    pub(super) fn not_found(message: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    /// 405.
    pub(super) fn method() -> Self {
        let message = "a stream takes GET, HEAD, PUT, POST, DELETE and OPTIONS";
        let allowed = HeaderValue::from_static("GET, HEAD, PUT, POST, DELETE, OPTIONS");
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            message,
        )
        .with(ALLOW, allowed)
    }

    /// 401.
    pub(super) fn unauthorized() -> Self {
        let message = "show a token of this broker: Authorization: Bearer TOKEN";
        let scheme = HeaderValue::from_static("Bearer realm=\"streamkeeper\"");
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message).with(WWW_AUTHENTICATE, scheme)
    }

    /// 408.
    pub(super) fn body_timeout() -> Self {
        let message = "the rest of the body did not come in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", message)
    }

    /// 403 for a write from a page that may not use the streams.
    pub(super) fn foreign_origin() -> Self {
        let message = "pages of this origin may not write: cors_origins does not name it";
        Self::new(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN", message)
    }

    /// 413.
    pub(super) fn body_too_large(limit: usize) -> Self {
        let message = format!("a body may have {limit} bytes: append in pieces");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", message)
    }

    /// 429 for an answer.
    pub(super) fn unread() -> Self {
        let message = "answers that nobody has taken yet fill all the memory they may: try again";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "BUSY", message)
            .with(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// 429 for a body.
    pub(super) fn busy() -> Self {
        let message = "the bodies being read take all the memory they may: try again";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "BUSY", message)
            .with(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// 503 before the broker is open.
    pub(super) fn starting() -> Self {
        let reason = "opening the store".to_owned();
        Self::from(Error::Fault(Fault::Starting { reason }))
    }

    /// What is wrong with a request to `stream`, with the offset that goes with it. A refusal knows that one as a record
    /// position only, so it is looked up: these are not the paths that are hot.
    pub(super) async fn located(broker: &Broker, stream: &StreamName, error: Error) -> Self {
        let name = match &error {
            Error::Refused(Refusal::StreamClosed { .. } | Refusal::PastTail { .. }) => {
                headers::NEXT_OFFSET
            }
            Error::Refused(Refusal::Trimmed { .. }) => headers::EARLIEST_OFFSET,
            _ => return error.into(),
        };
        let failure = Self::from(error);
        // Deleted meanwhile: then there is no offset to tell.
        let Ok(metadata) = broker.get_metadata(stream).await else {
            return failure;
        };
        let position = if name == headers::NEXT_OFFSET {
            metadata.tail
        } else {
            metadata.earliest
        };
        failure.with(name, headers::value(position.to_string()))
    }

    /// The answer.
    pub(super) fn into_reply(self) -> Reply {
        let body = serde_json::json!({ "error": { "code": self.code, "message": self.message } });
        let mut reply = Response::new(ReplyBody::Whole(Bytes::from(format!("{body}\n"))));
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        reply
    }
}

const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::bad_request("INVALID_NAME", error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let conflict = |code| (StatusCode::CONFLICT, code);
        let bad = |code| (StatusCode::BAD_REQUEST, code);
        let (status, code) = match &refusal {
            Refusal::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Refusal::Gone => (StatusCode::GONE, "GONE"),
            Refusal::Trimmed { .. } => (StatusCode::GONE, "TRIMMED"),
            Refusal::SourceGone => conflict("SOURCE_GONE"),
            Refusal::AlreadyExists => conflict("ALREADY_EXISTS"),
            Refusal::StreamClosed { .. } => conflict("STREAM_CLOSED"),
            Refusal::ContentTypeMismatch { .. } => conflict("CONTENT_TYPE_MISMATCH"),
            Refusal::SeqConflict { .. } => conflict("SEQ_CONFLICT"),
            Refusal::ProducerGap { .. } => conflict("PRODUCER_GAP"),
            Refusal::TooManyProducers { .. } => conflict("TOO_MANY_PRODUCERS"),
            Refusal::TailMismatch { .. } => (StatusCode::PRECONDITION_FAILED, "TAIL_MISMATCH"),
            Refusal::ProducerFenced { .. } => (StatusCode::FORBIDDEN, "PRODUCER_FENCED"),
            Refusal::ProducerEpochStart { .. } => bad("PRODUCER_EPOCH_START"),
            Refusal::PastTail { .. } => bad("PAST_TAIL"),
            Refusal::InvalidJson { .. } => bad("INVALID_JSON"),
            Refusal::EmptyBatch => bad("EMPTY_BODY"),
            Refusal::InvalidName(_) => bad("INVALID_NAME"),
            Refusal::InvalidOption { .. } => bad("INVALID_OPTION"),
            Refusal::RecordTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RECORD_TOO_LARGE"),
        };
        let failure = Self::new(status, code, message);
        match refusal {
            Refusal::StreamClosed { .. } => failure.with(headers::CLOSED, headers::TRUE),
            Refusal::ProducerFenced { current } => {
                failure.with(headers::PRODUCER_EPOCH, headers::number(current))
            }
            Refusal::ProducerGap { expected, received } => failure
                .with(headers::PRODUCER_EXPECTED, headers::number(expected))
                .with(headers::PRODUCER_RECEIVED, headers::number(received)),
            _ => failure,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let message = fault.to_string();
        let unavailable = |code| (StatusCode::SERVICE_UNAVAILABLE, code);
        let (status, code) = match fault {
            Fault::StoreFaulted { .. } => unavailable("STORE_FAULTED"),
            Fault::Starting { .. } => unavailable("STARTING"),
            Fault::Draining => unavailable("DRAINING"),
            Fault::StoreFull { .. } => (StatusCode::INSUFFICIENT_STORAGE, "STORE_FULL"),
            Fault::Corrupt { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "CORRUPT"),
            Fault::Read { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "READ_FAILED"),
        };
        let failure = Self::new(status, code, message);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            failure.with(RETRY_AFTER, RETRY_AFTER_SECONDS)
        } else {
            failure
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Fault(fault) => fault.into(),
        }
    }
}
