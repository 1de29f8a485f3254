//! Why a request, or a whole connection, is refused: an ERR frame in the making.
//!
//! Fate is in the code: a fatal one ends the connection, any other answers one request.

use bytes::Bytes;
use streamkeeper_protocol::error::{RecordError, WireError};
use streamkeeper_protocol::event::ErrorEvent;
use streamkeeper_protocol::{ErrorCode, Event};

use super::convert;
use crate::types::{Error, NameError};

/// The detail of an ERR; each field of the frame is one.
#[derive(Clone, Debug)]
pub(super) enum Detail {
    None,
    ExpectedSeq(u64),
    CurrentEpoch(u64),
    Tail(u64),
    Earliest(u64),
    LastSeq(Bytes),
    RetryAfterMs(u64),
}

/// A request is refused with this, or the connection ends with it. Boxed: it is rare, and results hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: ErrorCode,
    event: Box<ErrorEvent>,
}

impl Failure {
    /// A failure without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            event: Box::new(ErrorEvent::new(code, message.into())),
        }
    }

    /// A failure with something that helps the client to correct itself.
    pub(super) fn with(code: ErrorCode, message: String, detail: Detail) -> Self {
        let mut failure = Self::new(code, message);
        let event = &mut *failure.event;
        match detail {
            Detail::None => {}
            Detail::ExpectedSeq(seq) => event.expected_seq = Some(seq),
            Detail::CurrentEpoch(epoch) => event.current_epoch = Some(epoch),
            Detail::Tail(tail) => event.tail = Some(tail),
            Detail::Earliest(earliest) => event.earliest = Some(earliest),
            Detail::LastSeq(seq) => event.last_seq = Some(seq),
            Detail::RetryAfterMs(millis) => event.retry_after_ms = Some(millis),
        }
        failure
    }

    /// The peer was too slow or too silent.
    pub fn timeout(message: &'static str) -> Self {
        Self::new(ErrorCode::Timeout, message)
    }

    /// The code of the ERR.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// Whether the connection ends.
    pub fn is_fatal(&self) -> bool {
        self.event.fatal
    }

    /// The ERR.
    pub fn into_event(self) -> Event {
        Event::Err(*self.event)
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::new(ErrorCode::InvalidName, error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => convert::refusal(&refusal),
            Error::Fault(fault) => convert::fault(&fault),
        }
    }
}
