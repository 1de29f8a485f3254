//! One peer's conversation: what frames mean, what is answered, what is delivered. No sockets.
//!
//! The connection feeds frames in ([`Session::receive`]) and takes bytes out ([`Session::settle`]); the broker tells its
//! news through the [`Outbox`]. So a session is driven by any test that can make frames.
//!
//! - `handshake`: INFO, CONNECT. `submit`: requests that go through a write queue, pipelined.
//!   `query`: requests that are awaited. `subscriptions`, `pump`: cursors, credit, DELIVER.
//!   `settle`: from the outbox to frames. `unsent`: what waits to be written, over all sessions.
//! - `convert`: wire words to house words and back. `failure`: ERR frames in the making.
//!
//! ```text
//! Greeted ──CONNECT accepted──▶ Connected ──drain──▶ Draining (nothing new is begun)
//!    └── any command but CONNECT, PING, PONG: fatal
//! ```
//!
//! Invariants:
//! - Requests on one stream keep their order; a request that finds its queue full holds up the ones behind it.
//! - Every request is answered exactly once, except where the protocol says never (PONG, CREDIT, `NO_CONFIRM`).
//! - What one peer can make the broker hold is bounded: by the write queues, by the limits on reads, queries and
//!   subscriptions, and by the connection not reading it while too much is unsent.

mod convert;
mod failure;
mod handshake;
mod options;
mod outbox;
mod pump;
mod query;
mod settle;
mod submit;
mod subscriptions;
#[cfg(test)]
mod tests;
mod unsent;
mod write_buffer;

use std::sync::Arc;
use std::time::Duration;

use streamkeeper_protocol::command::CommandKind;
use streamkeeper_protocol::event::Draining;
use streamkeeper_protocol::{Command, ErrorCode, Event, Frame};

pub use failure::Failure;
pub use options::{SessionOptions, Token};
pub use outbox::Outbox;
pub use submit::Space;
pub use unsent::Unsent;
pub use write_buffer::{SLICES_MAX, WriteBuffer};

use crate::broker::Broker;
use crate::metrics::Held as Counted;
use crate::types::{Error, Fault};
use outbox::Taken;
use query::Queries;
use submit::Submissions;
use subscriptions::Subscriptions;
use unsent::Held;

/// What all sessions of a server share.
#[derive(Debug)]
pub struct SessionContext {
    /// Who does what is asked.
    pub broker: Broker,
    /// What peers may ask.
    pub options: SessionOptions,
}

/// See the module.
pub struct Session {
    number: u64,
    context: Arc<SessionContext>,
    outbox: Arc<Outbox>,
    /// Counted as a session from CONNECT on.
    connected: Option<Counted>,
    draining: bool,
    /// Requests refused because of the drain.
    late: u64,
    submissions: Submissions,
    queries: Queries,
    subscriptions: Subscriptions,
    /// What waits to be written.
    unsent: Held,
    /// What was read from the store, until it is counted among what waits.
    rooms: Vec<Held>,
    /// Empty between two settlements; kept for its memory.
    taken: Taken,
}

impl Session {
    /// A session that has not been greeted. `number` tells it from all others of this server.
    pub fn new(number: u64, context: Arc<SessionContext>) -> Self {
        let outbox = Outbox::new();
        Self {
            number,
            submissions: Submissions::new(Arc::clone(&outbox)),
            queries: Queries::default(),
            subscriptions: Subscriptions::default(),
            unsent: context.options.unsent.hold(),
            rooms: Vec::new(),
            context,
            outbox,
            connected: None,
            draining: false,
            late: 0,
            taken: Taken::default(),
        }
    }

    /// Where the broker puts news for this session.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Notes how many bytes wait to be written to this peer.
    pub fn unsent(&mut self, bytes: usize) {
        self.unsent.set(bytes);
        self.rooms.clear();
    }

    /// A peer silent for this long is to be sent a PING.
    pub fn heartbeat(&self) -> Duration {
        self.context.options.heartbeat
    }

    /// Largest frame the peer may send now.
    pub fn frame_bytes_max(&self) -> u32 {
        let limits = &self.context.options.limits;
        if self.is_connected() {
            limits.frame_bytes_max
        } else {
            limits.unauthenticated_frame_bytes_max
        }
    }

    /// Whether CONNECT was accepted.
    pub fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// Whether [`Session::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Requests that came after the drain began, and were refused.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Requests begun and not yet answered.
    pub fn in_flight(&self) -> u64 {
        let submissions = self.submitted().saturating_sub(self.completed());
        submissions + self.queries.in_flight()
    }

    /// Requests put on write queues since the session began.
    pub fn submitted(&self) -> u64 {
        self.submissions.submitted()
    }

    /// Those of them that were answered.
    pub fn completed(&self) -> u64 {
        self.submissions.completed()
    }

    /// Whether a submission is held back since its queue is full.
    pub fn is_stalled(&self) -> bool {
        self.submissions.is_stalled()
    }

    /// Whether another frame may be received now. If not, [`Session::space`] or the outbox says when to look again.
    pub fn may_receive(&self) -> bool {
        !self.submissions.is_stalled() && self.queries.has_room(&self.context.options)
    }

    /// Writes INFO.
    pub fn greet(&self, out: &mut WriteBuffer) {
        handshake::info(&self.context.options).encode(0, out.tail());
    }

    /// Does what `frame` asks, or begins to. A failure is always fatal; requests that are refused are answered here.
    pub fn receive(&mut self, frame: &Frame, out: &mut WriteBuffer) -> Result<(), Failure> {
        match self.dispatch(frame, out) {
            Err(failure) if !failure.is_fatal() => {
                self.refuse(frame.header.correlation, failure, out);
                Ok(())
            }
            done => done,
        }
    }

    fn dispatch(&mut self, frame: &Frame, out: &mut WriteBuffer) -> Result<(), Failure> {
        let correlation = frame.header.correlation;
        if !self.is_connected() {
            return self.before_connect(frame, out);
        }
        let command = Command::decode(frame)?;
        if self.draining && begins_work(command.kind()) {
            self.late += 1;
            return Err(Error::Fault(Fault::Draining).into());
        }
        match command {
            Command::Append(append) => self.submissions.append(&self.context, correlation, append),
            Command::Create(create) => self.submissions.create(&self.context, correlation, &create),
            Command::Close(close) => {
                self.submissions
                    .close(&self.context, correlation, &close.stream)
            }
            Command::Delete(delete) => {
                self.submissions
                    .delete(&self.context, correlation, &delete.stream)
            }
            Command::Stat(stat) => {
                self.queries
                    .stat(&self.context, &self.outbox, correlation, &stat.stream)
            }
            Command::List(list) => {
                self.queries
                    .list(&self.context, &self.outbox, correlation, list);
                Ok(())
            }
            Command::Read(read) => {
                self.queries
                    .read(&self.context, &self.outbox, correlation, &read)
            }
            Command::Subscribe(subscribe) => {
                self.subscriptions
                    .subscribe(&self.context, &self.outbox, correlation, &subscribe)
            }
            Command::Credit(credit) => {
                self.subscriptions.credit(credit.subscription, credit.bytes);
                Ok(())
            }
            Command::Unsubscribe(unsubscribe) => {
                self.subscriptions
                    .unsubscribe(correlation, unsubscribe.subscription, out)
            }
            Command::Ping => {
                Event::Pong.encode(correlation, out.tail());
                Ok(())
            }
            Command::Pong => Ok(()),
            Command::Connect(_) => {
                let message = "this connection is connected already";
                Err(Failure::new(ErrorCode::AlreadyConnected, message))
            }
        }
    }

    /// Until CONNECT is accepted nothing else is even parsed.
    fn before_connect(&mut self, frame: &Frame, out: &mut WriteBuffer) -> Result<(), Failure> {
        handshake::admit(frame.header.kind)?;
        match Command::decode(frame)? {
            Command::Connect(connect) => {
                let connected = handshake::connect(&self.context.options, &connect, self.number)?;
                self.connected = Some(self.context.broker.metrics().sessions.hold());
                let (name, library) = (&connect.name, &connect.library);
                tracing::debug!(session = self.number, ?name, ?library, "connected");
                connected.encode(frame.header.correlation, out.tail());
            }
            Command::Ping => Event::Pong.encode(frame.header.correlation, out.tail()),
            _ => {}
        }
        Ok(())
    }

    /// Tells the committer of what was submitted since the last call. Call after a series of frames.
    pub fn kick(&mut self) {
        self.submissions.kick(&self.context.broker);
    }

    /// If a submission is held back, a future that resolves when it may be tried again with [`Session::retry`].
    pub fn space(&self) -> Option<Space> {
        self.submissions.space(&self.context.broker)
    }

    /// Tries the submission again that was held back. `Some` if its queue is full once more.
    pub fn retry(&mut self) -> Option<Space> {
        self.submissions.retry(&self.context.broker);
        self.submissions.kick(&self.context.broker);
        self.space()
    }

    /// Writes a PING.
    pub fn ping(out: &mut WriteBuffer) {
        Event::Ping.encode(0, out.tail());
    }

    /// Tells the peer that the server closes the connection within `grace`, and begins nothing new. False if that was
    /// done before.
    pub fn drain(&mut self, grace: Duration, out: &mut WriteBuffer) -> bool {
        if std::mem::replace(&mut self.draining, true) {
            return false;
        }
        self.queries.stop_waiting();
        if self.is_connected() {
            let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
            Event::Draining(Draining { grace_ms }).encode(0, out.tail());
        }
        true
    }

    /// Writes the fatal ERR that ends the connection.
    pub fn fail(&mut self, failure: Failure, out: &mut WriteBuffer) {
        tracing::debug!(session = self.number, code = %failure.code(), "connection ends");
        self.refuse(0, failure, out);
    }

    /// Ends all subscriptions without a word.
    pub fn end_subscriptions(&mut self) {
        self.subscriptions = Subscriptions::default();
    }

    /// Gives up everything: nothing is answered or delivered any more. What was submitted is still carried out.
    pub fn hang_up(&mut self) {
        self.kick();
        self.outbox.close();
        self.end_subscriptions();
        self.queries = Queries::default();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Whether a command is refused while the server drains.
fn begins_work(kind: CommandKind) -> bool {
    match kind {
        CommandKind::Create
        | CommandKind::Delete
        | CommandKind::Close
        | CommandKind::Stat
        | CommandKind::List
        | CommandKind::Append
        | CommandKind::Read
        | CommandKind::Subscribe => true,
        CommandKind::Connect
        | CommandKind::Ping
        | CommandKind::Pong
        | CommandKind::Credit
        | CommandKind::Unsubscribe => false,
    }
}
