//! The reading half of a connection's turn: unblock, read once, split, dispatch, kick.
//!
//! Reading pauses while the session cannot take another frame, too much waits to be sent, or a large frame has no room yet. Frames
//! already read stay in the buffer, unsplit, until then.

use std::io;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::session::Failure;

/// Why a connection cannot go on.
pub(super) enum Broken {
    /// The socket failed.
    Socket(io::Error),
    /// The peer broke the protocol.
    Peer(Failure),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// True if anything moved: a frame was dispatched, bytes or the end came in.
    pub(super) fn receive(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        self.unblock(cx);
        let dispatched = self.dispatch()?;
        if self.input_ended || !self.may_receive() || self.poll_room(cx).is_pending() {
            self.deadlines.pause();
            return Ok(dispatched);
        }
        self.deadlines.listen(self.now);
        let incoming = &self.options.incoming;
        let filled = self.input.poll_fill(cx, &mut self.socket, incoming);
        self.buffered.set(self.input.held_bytes());
        let filled = match filled {
            Poll::Pending => return Ok(dispatched),
            Poll::Ready(filled) => filled.map_err(Broken::Socket)?,
        };
        if filled == 0 {
            self.end_of_input();
            return Ok(true);
        }
        self.deadlines.heard(self.now);
        self.dispatch()?;
        Ok(true)
    }

    /// Ready when what comes next may be taken in: it is no large frame, or there is room for it.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(bytes) = self.input.large_frame() else {
            return Poll::Ready(());
        };
        let incoming = &self.options.incoming;
        let large = self
            .large_frame
            .get_or_insert_with(|| Box::new(incoming.admit(bytes)));
        large.poll(cx)
    }

    /// Lets go of the room of a large frame that is whole and does not wait for its queue.
    fn release_room(&mut self) {
        if !self.session.is_stalled() {
            self.large_frame.take_if(|large| large.is_whole());
        }
    }

    /// Whether the peer may be read. What is unsent or unanswered is bounded by not letting it ask for more.
    fn may_receive(&self) -> bool {
        self.session.may_receive()
            && self.output.len() < self.options.unsent_bytes_max
            && self.unanswered.bytes() < self.options.unanswered_bytes_max
    }

    /// Tries a held-back submission again once its queue has room.
    fn unblock(&mut self, cx: &mut Context<'_>) {
        while let Some(space) = &mut self.space {
            if space.as_mut().poll(cx).is_pending() {
                return;
            }
            self.space = self.session.retry();
            self.release_room();
        }
    }

    /// Splits and dispatches whole frames while the session takes them. True if there was one.
    fn dispatch(&mut self) -> Result<bool, Broken> {
        let mut dispatched = false;
        let mut bytes = 0;
        let late = self.session.late();
        self.unanswered.completed(self.session.completed());
        while self.may_receive() {
            let limit = self.session.frame_bytes_max();
            let split = self.input.split(limit);
            let Some(frame) = split.map_err(|error| Broken::Peer(error.into()))? else {
                self.deadlines
                    .split(self.now, !self.input.is_empty(), dispatched);
                break;
            };
            dispatched = true;
            bytes += frame.encoded_bytes();
            if let Some(large) = &mut self.large_frame {
                large.whole();
            }
            let received = self.session.receive(&frame, &mut self.output);
            received.map_err(Broken::Peer)?;
            self.release_room();
            if self.session.is_connected() {
                self.deadlines.connected();
            }
        }
        if self.session.late() > late {
            self.deadlines.hush(self.now);
        }
        if dispatched {
            self.unanswered.dispatched(self.session.submitted(), bytes);
            self.session.kick();
            if self.space.is_none() {
                self.space = self.session.space();
            }
        }
        Ok(dispatched)
    }

    /// The peer sends nothing more, but may still read answers. Subscriptions end: nobody could stop them.
    fn end_of_input(&mut self) {
        self.input_ended = true;
        self.session.end_subscriptions();
        self.deadlines.pause();
        self.deadlines
            .leave_by(self.now + self.options.half_closed_timeout);
    }
}
