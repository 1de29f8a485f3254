//! Events: what a server sends. One file per frame kind, or per group of kinds that belong together.
//!
//! [`Event::decode`] takes one delimited frame; [`Event::encode`] writes one. The three frames of the busy paths can
//! also be written without building an [`Event`]: [`confirm::encode`], [`deliver::encode_header`] and
//! [`records::encode_header`]; the last two leave the runs to a vectored write.

pub mod confirm;
pub mod deliver;
mod end;
mod err;
mod handshake;
mod listed;
pub mod records;
mod status;
mod stream;
mod subscribed;

use bytes::BytesMut;

use crate::error::WireError;
use crate::frame::Frame;
use crate::wire::{Body, check_empty, put_empty, wire_numbers};

pub use confirm::{Confirm, ConfirmEntry};
pub use deliver::Deliver;
pub use end::{End, EndReason};
pub use err::ErrorEvent;
pub use handshake::{Connected, Draining, Info};
pub use listed::{Listed, ListedStream};
pub use records::Records;
pub use status::Status;
pub use stream::{Closed, Created};
pub use subscribed::Subscribed;

wire_numbers! {
    /// The kinds of frame a server may send.
    EventKind {
        /// Asks for a sign of life.
        Ping = 0x02, "PING";
        /// Answers a PING.
        Pong = 0x03, "PONG";
        /// The server's first frame.
        Info = 0x80, "INFO";
        /// Answers CONNECT.
        Connected = 0x81, "CONNECTED";
        /// A request was refused, or the connection ends.
        Err = 0x8F, "ERR";
        /// Answers CREATE.
        Created = 0x90, "CREATED";
        /// Answers DELETE.
        Deleted = 0x91, "DELETED";
        /// Answers CLOSE.
        Closed = 0x92, "CLOSED";
        /// Answers STAT.
        Status = 0x93, "STATUS";
        /// Answers LIST.
        Listed = 0x94, "LISTED";
        /// Answers APPENDs, many at once.
        Confirm = 0xA0, "CONFIRM";
        /// Answers READ.
        Records = 0xA1, "RECORDS";
        /// Answers SUBSCRIBE.
        Subscribed = 0xB0, "SUBSCRIBED";
        /// Records of a subscription.
        Deliver = 0xB1, "DELIVER";
        /// A subscription is over.
        End = 0xB2, "END";
        /// The server is shutting down.
        Draining = 0xC0, "DRAINING";
    }
}

/// One frame from a server. The correlation id stands in the frame's header, not here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant is documented at the type it holds, or at its kind"
)]
pub enum Event {
    Ping,
    Pong,
    Info(Info),
    Connected(Connected),
    Err(ErrorEvent),
    Created(Created),
    Deleted,
    Closed(Closed),
    Status(Status),
    Listed(Listed),
    Confirm(Confirm),
    Records(Records),
    Subscribed(Subscribed),
    Deliver(Deliver),
    End(End),
    Draining(Draining),
}

impl Event {
    /// Reads one frame.
    ///
    /// # Errors
    /// Any [`WireError`] about a kind or a body: the server does not speak this version, and the client should end
    /// the connection.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        let (kind, flags, body) = (frame.header.kind, frame.header.flags, &frame.body);
        let known = EventKind::of(kind).ok_or(WireError::UnknownKind { kind })?;
        match known {
            EventKind::Ping => check_empty(kind, body).map(|()| Self::Ping),
            EventKind::Pong => check_empty(kind, body).map(|()| Self::Pong),
            EventKind::Info => Info::parse(flags, body).map(Self::Info),
            EventKind::Connected => Connected::parse(flags, body).map(Self::Connected),
            EventKind::Err => ErrorEvent::parse(flags, body).map(Self::Err),
            EventKind::Created => Created::parse(flags, body).map(Self::Created),
            EventKind::Deleted => check_empty(kind, body).map(|()| Self::Deleted),
            EventKind::Closed => Closed::parse(flags, body).map(Self::Closed),
            EventKind::Status => Status::parse(flags, body).map(Self::Status),
            EventKind::Listed => Listed::parse(flags, body).map(Self::Listed),
            EventKind::Confirm => Confirm::parse(flags, body).map(Self::Confirm),
            EventKind::Records => Records::parse(flags, body).map(Self::Records),
            EventKind::Subscribed => Subscribed::parse(flags, body).map(Self::Subscribed),
            EventKind::Deliver => Deliver::parse(flags, body).map(Self::Deliver),
            EventKind::End => End::parse(flags, body).map(Self::End),
            EventKind::Draining => Draining::parse(flags, body).map(Self::Draining),
        }
    }

    /// Appends the whole frame to `out`, which grows at most once.
    pub fn encode(&self, correlation: u32, out: &mut BytesMut) {
        match self {
            Self::Ping => put_empty(EventKind::Ping.number(), correlation, out),
            Self::Pong => put_empty(EventKind::Pong.number(), correlation, out),
            Self::Info(body) => body.put_frame(correlation, out),
            Self::Connected(body) => body.put_frame(correlation, out),
            Self::Err(body) => body.put_frame(correlation, out),
            Self::Created(body) => body.put_frame(correlation, out),
            Self::Deleted => put_empty(EventKind::Deleted.number(), correlation, out),
            Self::Closed(body) => body.put_frame(correlation, out),
            Self::Status(body) => body.put_frame(correlation, out),
            Self::Listed(body) => body.put_frame(correlation, out),
            Self::Confirm(body) => body.put_frame(correlation, out),
            Self::Records(body) => body.put_frame(correlation, out),
            Self::Subscribed(body) => body.put_frame(correlation, out),
            Self::Deliver(body) => body.put_frame(correlation, out),
            Self::End(body) => body.put_frame(correlation, out),
            Self::Draining(body) => body.put_frame(correlation, out),
        }
    }

    /// Which kind of frame this is.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Ping => EventKind::Ping,
            Self::Pong => EventKind::Pong,
            Self::Info(_) => EventKind::Info,
            Self::Connected(_) => EventKind::Connected,
            Self::Err(_) => EventKind::Err,
            Self::Created(_) => EventKind::Created,
            Self::Deleted => EventKind::Deleted,
            Self::Closed(_) => EventKind::Closed,
            Self::Status(_) => EventKind::Status,
            Self::Listed(_) => EventKind::Listed,
            Self::Confirm(_) => EventKind::Confirm,
            Self::Records(_) => EventKind::Records,
            Self::Subscribed(_) => EventKind::Subscribed,
            Self::Deliver(_) => EventKind::Deliver,
            Self::End(_) => EventKind::End,
            Self::Draining(_) => EventKind::Draining,
        }
    }
}
