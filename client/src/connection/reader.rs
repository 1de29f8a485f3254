//! The reading half: bytes to frames, frames to events, events to whoever waits for them.
//!
//! Deliveries and records keep slices of the receive buffer instead of copies. The reader never waits for an
//! application: replies go to their waiter, deliveries to a queue that the granted credit bounds. Anything the protocol does not
//! allow ends the connection with a typed error.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use streamkeeper_protocol::event::Confirm;
use streamkeeper_protocol::limits::FRAME_BYTES_CEILING;
use streamkeeper_protocol::{ErrorCode, Event, frame};
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::task::yield_now;
use tracing::warn;

use super::Drain;
use super::heartbeat::Pulse;
use crate::link::{Link, Outcome, Pending};
use crate::transport::Transport;
use crate::{Appended, Error, Refusal, ServerInfo};

/// Room made in the receive buffer at a time: one read takes many small frames, or a good part of a large one.
const READ_BYTES: usize = 128 * 1024;

/// With less room than this, more is made before the next read.
const READ_BYTES_MIN: usize = 32 * 1024;

/// How long a server that refuses with DRAINING, without having announced a time, gets to hang up.
const DRAIN_GRACE: Duration = Duration::from_secs(30);

/// Reads in a row before the writer gets its turn.
const READS_PER_TURN: u32 = 8;

/// Reads one connection.
pub(super) struct Reader<'a> {
    link: &'a Arc<Link>,
    socket: ReadHalf<Box<dyn Transport>>,
    received: BytesMut,
    frame_bytes_max: u32,
    pulse: &'a Pulse,
    draining: &'a Drain,
    /// Scratch for [`Link::confirm`].
    taken: Vec<(Pending, Appended)>,
}

impl<'a> Reader<'a> {
    /// A reader that goes on with the bytes in `received`.
    pub(super) fn new(
        link: &'a Arc<Link>,
        socket: ReadHalf<Box<dyn Transport>>,
        received: BytesMut,
        info: &ServerInfo,
        pulse: &'a Pulse,
        draining: &'a Drain,
    ) -> Self {
        let frame_bytes_max = info.frame_bytes_max.min(FRAME_BYTES_CEILING);
        Self {
            link,
            socket,
            received,
            frame_bytes_max,
            pulse,
            draining,
            taken: Vec::new(),
        }
    }

    /// Reads until the connection fails, and returns why it did.
    pub(super) async fn run(mut self) -> Error {
        let mut reads = 0_u32;
        loop {
            reads = reads.wrapping_add(1);
            if reads.is_multiple_of(READS_PER_TURN) {
                // The writer and the heartbeat share this task: a flood must not starve them.
                yield_now().await;
            }
            loop {
                match frame::split(&mut self.received, self.frame_bytes_max) {
                    Ok(Some(frame)) => {
                        let handled = Event::decode(&frame)
                            .map_err(Error::from)
                            .and_then(|event| self.event(frame.header.correlation, event));
                        if let Err(error) = handled {
                            return error;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return error.into(),
                }
            }
            if self.received.spare_capacity_mut().len() < READ_BYTES_MIN {
                self.received.reserve(READ_BYTES);
            }
            match self.socket.read_buf(&mut self.received).await {
                Ok(0) => return self.failed(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.pulse.beat(),
                Err(source) => return self.failed(source),
            }
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Broken {
            address: self.link.config.address.clone(),
            source: Arc::new(source),
        }
    }

    /// Hands one event on. An error ends the connection.
    fn event(&mut self, correlation: u32, event: Event) -> Result<(), Error> {
        match event {
            Event::Confirm(confirm) => self.confirm(&confirm),
            Event::Deliver(deliver) => {
                // Deliveries may still be on their way when the application dropped its subscription.
                if let Some(core) = self.link.subscription(deliver.subscription) {
                    core.deliver(&deliver);
                }
                Ok(())
            }
            Event::End(end) => {
                if let Some(core) = self.link.subscription(end.subscription) {
                    core.end(self.link, &end);
                }
                if correlation == 0 {
                    return Ok(());
                }
                self.link
                    .complete(correlation, Outcome::Reply(Event::End(end)))
            }
            Event::Ping => {
                self.link.pong(correlation);
                Ok(())
            }
            Event::Pong => Ok(()),
            Event::Draining(draining) => {
                self.drain(Duration::from_millis(draining.grace_ms.into()));
                Ok(())
            }
            Event::Err(error) if correlation == 0 && error.fatal => {
                Err(Refusal::from(error).into())
            }
            Event::Err(error) if correlation == 0 => {
                warn!(error = %Refusal::from(error), "the server complains about no request");
                Ok(())
            }
            Event::Err(error) => {
                let fatal = error.fatal;
                if error.error_code() == Some(ErrorCode::Draining) {
                    // As good as the announcement, should that be behind: whoever repeats waits.
                    self.drain(DRAIN_GRACE);
                }
                let refusal = Refusal::from(error);
                self.link
                    .complete(correlation, Outcome::Refused(refusal.clone()))?;
                if fatal { Err(refusal.into()) } else { Ok(()) }
            }
            Event::Info(_) | Event::Connected(_) => Err(Error::Protocol {
                detail: "a second handshake".to_owned(),
            }),
            reply => self.link.complete(correlation, Outcome::Reply(reply)),
        }
    }

    /// The server begins nothing new and will hang up within `grace`.
    fn drain(&self, grace: Duration) {
        self.link.drain();
        self.draining.begin(grace);
    }

    fn confirm(&mut self, confirm: &Confirm) -> Result<(), Error> {
        let entries = confirm.entries.iter().map(|entry| {
            let appended = Appended {
                tail: entry.tail,
                duplicate: entry.duplicate,
                closed: entry.closed,
            };
            (entry.correlation, appended)
        });
        self.link.confirm(entries, &mut self.taken)
    }
}
