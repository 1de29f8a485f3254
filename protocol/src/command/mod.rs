//! Commands: what a client sends. One file per frame kind, or per group of kinds with the same body.
//!
//! [`Command::decode`] takes one delimited frame; [`Command::encode`] writes one. Decoding copies nothing: names,
//! fields and records are slices of the frame's body. Records are not verified here, because only the receiver
//! knows its limits: that is [`crate::RecordBlock::parse`].

mod append;
mod connect;
mod create;
mod list;
mod read;
mod start;
mod stream;
mod subscribe;

use bytes::BytesMut;

use crate::error::WireError;
use crate::frame::Frame;
use crate::wire::{Body, check_empty, put_empty, wire_numbers};

pub use crate::wire::Str;
pub use append::{Append, Producer};
pub use connect::Connect;
pub use create::{Create, Storage};
pub use list::List;
pub use read::Read;
pub use start::Start;
pub use stream::{Close, Delete, Stat};
pub use subscribe::{Credit, Subscribe, Unsubscribe};

wire_numbers! {
    /// The kinds of frame a client may send.
    CommandKind {
        /// Begins the session.
        Connect = 0x01, "CONNECT";
        /// Asks for a sign of life.
        Ping = 0x02, "PING";
        /// Answers a PING.
        Pong = 0x03, "PONG";
        /// Makes a stream.
        Create = 0x10, "CREATE";
        /// Removes a stream and its data.
        Delete = 0x11, "DELETE";
        /// Ends a stream: it takes no more records.
        Close = 0x12, "CLOSE";
        /// Asks for a stream's state.
        Stat = 0x13, "STAT";
        /// Asks for the names of streams.
        List = 0x14, "LIST";
        /// Adds records to a stream.
        Append = 0x20, "APPEND";
        /// Asks for records.
        Read = 0x21, "READ";
        /// Asks for all records from some point on, as they come.
        Subscribe = 0x30, "SUBSCRIBE";
        /// Allows more bytes of deliveries.
        Credit = 0x31, "CREDIT";
        /// Ends a subscription.
        Unsubscribe = 0x32, "UNSUBSCRIBE";
    }
}

/// One frame from a client. The correlation id stands in the frame's header, not here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant is documented at the type it holds, or at its kind"
)]
pub enum Command {
    Connect(Connect),
    Ping,
    Pong,
    Create(Create),
    Delete(Delete),
    Close(Close),
    Stat(Stat),
    List(List),
    Append(Append),
    Read(Read),
    Subscribe(Subscribe),
    Credit(Credit),
    Unsubscribe(Unsubscribe),
}

impl Command {
    /// Reads one frame.
    ///
    /// # Errors
    /// Any [`WireError`] about a kind or a body; [`WireError::code`] says how to answer and whether to go on.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        let (kind, flags, body) = (frame.header.kind, frame.header.flags, &frame.body);
        let known = CommandKind::of(kind).ok_or(WireError::UnknownKind { kind })?;
        match known {
            CommandKind::Connect => Connect::parse(flags, body).map(Self::Connect),
            CommandKind::Ping => check_empty(kind, body).map(|()| Self::Ping),
            CommandKind::Pong => check_empty(kind, body).map(|()| Self::Pong),
            CommandKind::Create => Create::parse(flags, body).map(Self::Create),
            CommandKind::Delete => Delete::parse(flags, body).map(Self::Delete),
            CommandKind::Close => Close::parse(flags, body).map(Self::Close),
            CommandKind::Stat => Stat::parse(flags, body).map(Self::Stat),
            CommandKind::List => List::parse(flags, body).map(Self::List),
            CommandKind::Append => Append::parse(flags, body).map(Self::Append),
            CommandKind::Read => Read::parse(flags, body).map(Self::Read),
            CommandKind::Subscribe => Subscribe::parse(flags, body).map(Self::Subscribe),
            CommandKind::Credit => Credit::parse(flags, body).map(Self::Credit),
            CommandKind::Unsubscribe => Unsubscribe::parse(flags, body).map(Self::Unsubscribe),
        }
    }

    /// Appends the whole frame to `out`, which grows at most once.
    ///
    /// Encoding does not judge: values over a limit are written (very long ones cut), and the server refuses them.
    pub fn encode(&self, correlation: u32, out: &mut BytesMut) {
        match self {
            Self::Connect(body) => body.put_frame(correlation, out),
            Self::Ping => put_empty(CommandKind::Ping.number(), correlation, out),
            Self::Pong => put_empty(CommandKind::Pong.number(), correlation, out),
            Self::Create(body) => body.put_frame(correlation, out),
            Self::Delete(body) => body.put_frame(correlation, out),
            Self::Close(body) => body.put_frame(correlation, out),
            Self::Stat(body) => body.put_frame(correlation, out),
            Self::List(body) => body.put_frame(correlation, out),
            Self::Append(body) => body.put_frame(correlation, out),
            Self::Read(body) => body.put_frame(correlation, out),
            Self::Subscribe(body) => body.put_frame(correlation, out),
            Self::Credit(body) => body.put_frame(correlation, out),
            Self::Unsubscribe(body) => body.put_frame(correlation, out),
        }
    }

    /// Which kind of frame this is.
    pub const fn kind(&self) -> CommandKind {
        match self {
            Self::Connect(_) => CommandKind::Connect,
            Self::Ping => CommandKind::Ping,
            Self::Pong => CommandKind::Pong,
            Self::Create(_) => CommandKind::Create,
            Self::Delete(_) => CommandKind::Delete,
            Self::Close(_) => CommandKind::Close,
            Self::Stat(_) => CommandKind::Stat,
            Self::List(_) => CommandKind::List,
            Self::Append(_) => CommandKind::Append,
            Self::Read(_) => CommandKind::Read,
            Self::Subscribe(_) => CommandKind::Subscribe,
            Self::Credit(_) => CommandKind::Credit,
            Self::Unsubscribe(_) => CommandKind::Unsubscribe,
        }
    }
}
