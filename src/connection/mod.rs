//! One connected peer: its socket, its session, and the bytes between them.
//!
//! One task per connection, written as one poll function: a turn settles what the outbox holds, writes all that the socket
//! takes, reads once, dispatches every whole frame, kicks the committer once, and starts over until nothing moves. There
//! is no second task, no channel and no lock between reading and writing.
//!
//! - `read_buffer`: bytes in, before they are frames. `incoming`: how much of that all connections hold. `window`: what was read and is not answered.
//!   `deadlines`: which time limit runs out next.
//! - What frames mean is the business of [`crate::session`]; sockets are accepted by [`crate::server`].
//!
//! ```text
//! Open ──fatal error──────────────────────────────▶ Flushing ──all written, write half shut──▶ Lingering ──▶ over
//! Open ──end of input, or drain; then all answered──▶ Flushing
//! ```
//!
//! Invariants:
//! - Backpressure is not reading: while a write queue is full, or too much waits to be sent, nothing is read here, and
//!   no other connection notices.
//! - Subscriptions are pumped only while little waits to be sent: a slow subscriber holds a cursor, not data.
//! - A fatal ERR is the last frame. The socket is closed for writing first and drained for a moment, so that a reset
//!   does not take the ERR away before the peer has read it.
//! - An idle connection holds neither a read nor a write buffer.

mod deadlines;
mod incoming;
mod options;
mod read_buffer;
mod receive;
mod window;

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use streamkeeper_protocol::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

pub use incoming::Incoming;
pub use options::ConnectionOptions;

use crate::session::{Failure, Outbox, SLICES_MAX, Session, Space, WriteBuffer};
use deadlines::{Allowed, Deadlines, Due};
use incoming::{Buffered, LargeFrame};
use read_buffer::ReadBuffer;
use window::Window;

/// A peer that was told to go may still send this much before it is cut off.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// The timer is armed at least this far ahead when nothing is due: it costs nothing and is never late by much.
const NOTHING_DUE: Duration = Duration::from_secs(3_600);

/// Why a connection is over.
#[derive(Debug)]
pub enum Ended {
    /// The peer closed it, and every request was answered.
    Closed,
    /// The broker ended it with a fatal ERR.
    Fatal(ErrorCode),
    /// The broker shuts down, and every request was answered.
    Drained,
    /// A time limit cut it off with answers or bytes outstanding.
    Cut,
    /// The socket failed, or the peer reset it.
    Failed(io::Error),
}

/// Where the connection is on its way.
enum Phase {
    Open,
    /// Nothing is read or answered any more; what is encoded is written.
    Flushing(Ended),
    /// The write half is shut; the peer's bytes are thrown away until it closes.
    Lingering {
        ended: Ended,
        left: usize,
    },
}

/// What a part of a turn came to.
enum Turn {
    Moved,
    Waits,
    Over(Ended),
}

impl Turn {
    fn moved(moved: bool) -> Self {
        if moved { Self::Moved } else { Self::Waits }
    }
}

/// See the module.
pub struct Connection<S> {
    socket: S,
    session: Session,
    outbox: Arc<Outbox>,
    input: ReadBuffer,
    buffered: Buffered,
    /// The large frame that comes in, or waits for its queue.
    large_frame: Option<Box<LargeFrame>>,
    unanswered: Window,
    output: WriteBuffer,
    options: Arc<ConnectionOptions>,
    drain_grace: Duration,
    deadlines: Deadlines,
    phase: Phase,
    /// Resolves when a full write queue may have room again.
    space: Option<Space>,
    /// The peer has closed its sending side.
    input_ended: bool,
    /// The peer was told of a drain and has asked for nothing for a moment since. (That a read finds nothing is not
    /// enough: what is in the socket shows only after the runtime has looked.)
    quiet: bool,
    now: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection over `socket`, whose peer has not yet been greeted. `drain_grace` is announced in DRAINING.
    pub fn new(
        socket: S,
        session: Session,
        options: Arc<ConnectionOptions>,
        drain_grace: Duration,
    ) -> Self {
        let allowed = Allowed {
            heartbeat: session.heartbeat(),
            frame: options.frame_timeout,
            write: options.write_timeout,
            quiet: options.drain_quiet,
        };
        let now = Instant::now();
        Self {
            socket,
            outbox: Arc::clone(session.outbox()),
            session,
            input: ReadBuffer::new(),
            buffered: options.incoming.hold(),
            large_frame: None,
            unanswered: Window::default(),
            output: WriteBuffer::default(),
            deadlines: Deadlines::new(allowed, now, options.connect_timeout),
            options,
            drain_grace,
            phase: Phase::Open,
            space: None,
            input_ended: false,
            quiet: false,
            now,
        }
    }

    /// Greets the peer and serves it until the connection is over.
    ///
    /// Dropping the future closes the socket at once; submitted requests are still carried out, unanswered.
    pub async fn run(mut self) -> Ended {
        self.session.greet(&mut self.output);
        let mut timer = pin!(tokio::time::sleep_until(self.timer_at()));
        std::future::poll_fn(|cx| self.poll_turns(cx, timer.as_mut())).await
    }

    fn timer_at(&self) -> Instant {
        self.deadlines.next().unwrap_or(self.now + NOTHING_DUE)
    }

    fn poll_turns(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Ended> {
        self.now = Instant::now();
        loop {
            match self.turn(cx) {
                Turn::Moved => continue,
                Turn::Over(ended) => return Poll::Ready(ended),
                Turn::Waits => {}
            }
            // The timer only ever moves closer here; one that fires early finds nothing due and is armed again.
            let at = self.timer_at();
            if at < timer.deadline() {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.now = Instant::now();
            if let Some(ended) = self.on_time() {
                return Poll::Ready(ended);
            }
            timer.as_mut().reset(self.timer_at());
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        match self.phase {
            Phase::Open => self.turn_open(cx),
            Phase::Flushing(_) => self.turn_flushing(cx),
            Phase::Lingering { .. } => self.turn_lingering(cx),
        }
    }

    fn turn_open(&mut self, cx: &mut Context<'_>) -> Turn {
        self.outbox.register(cx.waker());
        if self.outbox.is_draining() && self.session.drain(self.drain_grace, &mut self.output) {
            self.deadlines.leave_by(self.now + self.drain_grace);
            self.deadlines.hush(self.now);
        }
        self.session.settle(&mut self.output);
        let wrote = match self.write(cx) {
            Ok(wrote) => wrote,
            Err(error) => return Turn::Over(Ended::Failed(error)),
        };
        self.session.unsent(self.output.len());
        let received = match self.receive(cx) {
            Ok(received) => received,
            Err(receive::Broken::Socket(error)) => return Turn::Over(Ended::Failed(error)),
            Err(receive::Broken::Peer(failure)) => {
                self.fail(failure);
                true
            }
        };
        if !wrote && !received && self.is_quiescent() {
            let ended = if self.input_ended {
                Ended::Closed
            } else {
                Ended::Drained
            };
            self.flush_and_end(ended);
            return Turn::Moved;
        }
        Turn::moved(wrote || received)
    }

    /// Whether a connection that is to end owes its peer nothing more.
    fn is_quiescent(&self) -> bool {
        let leaves = self.input_ended || (self.session.is_draining() && self.quiet);
        leaves && self.session.in_flight() == 0 && self.output.is_empty()
    }

    /// Tells the peer why this is the end.
    fn fail(&mut self, failure: Failure) {
        let ended = Ended::Fatal(failure.code());
        self.session.fail(failure, &mut self.output);
        self.flush_and_end(ended);
    }

    fn flush_and_end(&mut self, ended: Ended) {
        self.session.hang_up();
        self.space = None;
        self.large_frame = None;
        self.deadlines.pause();
        self.deadlines.connected();
        self.deadlines
            .leave_by(self.now + self.options.write_timeout);
        self.phase = Phase::Flushing(ended);
    }

    fn turn_flushing(&mut self, cx: &mut Context<'_>) -> Turn {
        match self.write(cx) {
            Err(error) => return Turn::Over(self.over().unwrap_or(Ended::Failed(error))),
            Ok(_) if !self.output.is_empty() => return Turn::Waits,
            Ok(_) => {}
        }
        match Pin::new(&mut self.socket).poll_shutdown(cx) {
            Poll::Pending => return Turn::Waits,
            Poll::Ready(Ok(())) if !self.input_ended => {}
            Poll::Ready(_) => return Turn::Over(self.over().unwrap_or(Ended::Closed)),
        }
        self.deadlines.leave_by(self.now + self.options.linger);
        if let Some(ended) = self.over() {
            self.phase = Phase::Lingering {
                ended,
                left: LINGER_BYTES_MAX,
            };
        }
        Turn::Moved
    }

    fn turn_lingering(&mut self, cx: &mut Context<'_>) -> Turn {
        let mut thrown_away = [std::mem::MaybeUninit::uninit(); 4096];
        let mut thrown_away = ReadBuf::uninit(&mut thrown_away);
        let read = Pin::new(&mut self.socket).poll_read(cx, &mut thrown_away);
        let count = thrown_away.filled().len();
        let Phase::Lingering { left, .. } = &mut self.phase else {
            return Turn::Waits;
        };
        *left = left.saturating_sub(count);
        match read {
            Poll::Pending => Turn::Waits,
            Poll::Ready(Ok(())) if count > 0 && *left > 0 => Turn::Moved,
            Poll::Ready(_) => Turn::Over(self.over().unwrap_or(Ended::Closed)),
        }
    }

    /// The reason kept in the phase.
    fn over(&mut self) -> Option<Ended> {
        match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Open => None,
            Phase::Flushing(ended) | Phase::Lingering { ended, .. } => Some(ended),
        }
    }

    /// Writes until the socket takes no more or nothing is left. True if something was written.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut wrote = false;
        while !self.output.is_empty() {
            match poll_write(Pin::new(&mut self.socket), cx, &self.output) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => {
                    self.output.advance(written?);
                    wrote = true;
                }
                Poll::Pending => {
                    if wrote {
                        self.deadlines.wrote();
                    }
                    self.deadlines.stuck(self.now);
                    return Ok(wrote);
                }
            }
        }
        self.deadlines.wrote();
        Ok(wrote)
    }

    /// The peer does not read: its socket would not take an ERR either.
    fn cut_off(&mut self) -> Ended {
        let failure = Failure::new(ErrorCode::SlowConsumer, "nothing was read for too long");
        self.session.fail(failure, &mut self.output);
        Ended::Fatal(ErrorCode::SlowConsumer)
    }

    /// Does what the clock says. `Some` if the connection is over at once.
    fn on_time(&mut self) -> Option<Ended> {
        match self.deadlines.due(self.now)? {
            Due::Ping => Session::ping(&mut self.output),
            Due::Connect => self.fail(Failure::timeout("no CONNECT came in time")),
            Due::Silent => self.fail(Failure::timeout(
                "nothing was heard, not even an answer to a PING",
            )),
            Due::Frame => self.fail(Failure::timeout("a frame was not completed in time")),
            Due::Stuck => return Some(self.over().unwrap_or_else(|| self.cut_off())),
            Due::Quiet => self.quiet = true,
            Due::Leave if matches!(self.phase, Phase::Lingering { .. }) => return self.over(),
            Due::Leave => return Some(Ended::Cut),
        }
        None
    }
}

fn poll_write<S: AsyncWrite>(
    socket: Pin<&mut S>,
    cx: &mut Context<'_>,
    from: &WriteBuffer,
) -> Poll<io::Result<usize>> {
    if let Some(only) = from.only_piece() {
        return socket.poll_write(cx, only);
    }
    let mut slices = [io::IoSlice::new(&[]); SLICES_MAX];
    socket.poll_write_vectored(cx, from.slices(&mut slices))
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Broker, BrokerOptions};
    use crate::session::{SessionContext, SessionOptions};

    #[tokio::test]
    async fn an_idle_connection_is_small() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let broker = Broker::open(BrokerOptions::in_directory(directory.path())).await;
        let context = SessionContext {
            broker: broker.expect("opened"),
            options: SessionOptions::default(),
        };
        let session = Session::new(1, Arc::new(context));
        let (near, _far) = tokio::io::duplex(64);
        let options = Arc::new(ConnectionOptions::default());
        let connection = Connection::new(near, session, options, Duration::ZERO);
        // The task of a connection is this future; beside it there is an outbox and what the kernel holds.
        assert!(size_of_val(&connection.run()) <= 2048);
    }
}
