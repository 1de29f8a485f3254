//! The connection task: the one owner of the socket, from the first connection to the client's end.
//!
//! ```text
//!          ┌──────────── pause ◀── failed ──┐
//!  (Open) ─▶ Up ── lost ──▶ Down ── dial, handshake ──▶ Up ...
//!             │              └── attempts used up, or refused for good ──▶ Closed
//!             └── shutdown ───────────────────────────────────────────────▶ Closed
//! ```
//!
//! While up, reader, writer, heartbeat and drain watch run as one task: whichever ends first ends the connection, and
//! dropping the others is safe because the socket goes with them. The task is spawned by the builder with a
//! connection already open, holds the [`Link`] strongly, and ends on [`Link::shutdown`] or when it gives up; nothing
//! else closes the link.

mod handshake;
mod heartbeat;
mod reader;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::split;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use self::heartbeat::Pulse;
use self::reader::Reader;
use crate::config::Config;
use crate::link::Link;
use crate::transport::Transport;
use crate::{Advice, Error, ServerInfo};

/// An open connection that completed the handshake.
pub(crate) struct Open {
    transport: Box<dyn Transport>,
    /// Bytes that arrived behind the handshake.
    received: BytesMut,
    info: Arc<ServerInfo>,
}

impl Open {
    /// What the server said of itself.
    pub(crate) fn info(&self) -> Arc<ServerInfo> {
        Arc::clone(&self.info)
    }
}

/// Dials and shakes hands, all within the connect timeout.
///
/// # Cancel safety
/// Safe: a half-open connection is closed.
pub(crate) async fn open(config: &Config) -> Result<Open, Error> {
    let failed = |source| Error::Connect {
        address: config.address.clone(),
        source: Arc::new(source),
    };
    let opening = async {
        let mut transport = config.dial.dial().await.map_err(failed)?;
        let mut received = BytesMut::new();
        let info = handshake::run(&mut transport, &mut received, config).await?;
        Ok(Open {
            transport,
            received,
            info: Arc::new(info),
        })
    };
    match timeout(config.connect_timeout, opening).await {
        Ok(opened) => opened,
        Err(_elapsed) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}

/// Spawns the connection task on the present runtime.
pub(crate) fn spawn(link: Arc<Link>, first: Open) {
    // Made here, not in the task: a runtime may shut down before it ever runs it.
    let closing = CloseOnDrop(link);
    tokio::spawn(async move { run(&closing.0, first).await });
}

/// Serves connections until the client ends; see the module documentation.
async fn run(link: &Arc<Link>, first: Open) {
    let mut connection = first;
    // Connections that broke soon after they were made: a server that accepts and fails must not be hammered.
    let mut short_lived = 0;
    loop {
        let began = Instant::now();
        let served = tokio::select! {
            cause = serve(link, connection) => Some(cause),
            () = link.shutdown.notified() => None,
        };
        let Some(cause) = served else {
            link.close(&Error::Closed);
            return;
        };
        warn!(server = link.config.address, error = %cause, "connection lost");
        link.down();
        short_lived = if began.elapsed() < link.config.reconnect.stable_after() {
            u32::saturating_add(short_lived, 1)
        } else {
            0
        };
        let reopened = tokio::select! {
            reopened = reopen(&link.config, cause, short_lived) => reopened,
            () = link.shutdown.notified() => Err(Error::Closed),
        };
        match reopened {
            Ok(open) => {
                link.up(open.info());
                connection = open;
            }
            Err(error) => {
                link.close(&error);
                return;
            }
        }
        info!(server = link.config.address, "reconnected");
    }
}

/// Closes the link however the task ends: also when its runtime shuts down, so that no caller elsewhere waits for ever.
struct CloseOnDrop(Arc<Link>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(&Error::Closed);
    }
}

/// Runs one connection until it is lost, and returns why.
async fn serve(link: &Arc<Link>, connection: Open) -> Error {
    let Open {
        transport,
        received,
        info,
    } = connection;
    let (read_half, write_half) = split(transport);
    let pulse = Pulse::default();
    let draining = Drain::default();
    let reader = Reader::new(link, read_half, received, &info, &pulse, &draining);
    let interval = link.config.heartbeat.unwrap_or(info.heartbeat);
    tokio::select! {
        cause = reader.run() => cause,
        cause = writer::run(link, write_half) => cause,
        cause = heartbeat::run(link, &pulse, interval) => cause,
        cause = draining.elapsed() => cause,
    }
}

/// Opens the connection again, pausing before each attempt as the policy says.
///
/// `short_lived` is how many connections in a row did not last: pauses begin that many doublings later.
async fn reopen(config: &Config, lost: Error, short_lived: u32) -> Result<Open, Error> {
    let mut cause = lost;
    let mut attempt = 0;
    loop {
        if config.reconnect.pause(attempt).is_none() {
            return Err(Error::Lost {
                cause: Arc::new(cause),
            });
        }
        let doublings = attempt.saturating_add(short_lived.saturating_sub(1));
        tokio::time::sleep(config.reconnect.delay(doublings)).await;
        match open(config).await {
            Ok(open) => return Ok(open),
            Err(error) if is_final(&error) => {
                return Err(Error::Lost {
                    cause: Arc::new(error),
                });
            }
            Err(error) => {
                debug!(server = config.address, attempt, %error, "reconnect failed");
                cause = error;
            }
        }
        attempt = attempt.saturating_add(1);
    }
}

/// Whether another attempt would only meet the same answer: wrong token, no common version.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Version { .. } | Error::TokenMissing => true,
        Error::Refused(_) => error.advice() != Advice::Retry,
        _ => false,
    }
}

/// The grace period after a DRAINING.
#[derive(Debug, Default)]
struct Drain {
    begun: Notify,
    grace: std::sync::OnceLock<Duration>,
}

impl Drain {
    /// The server announced its end, `grace` from now.
    fn begin(&self, grace: Duration) {
        if self.grace.set(grace).is_ok() {
            self.begun.notify_one();
        }
    }

    /// Waits for an announcement, and then for its grace period: a server that has not hung up by then is left.
    async fn elapsed(&self) -> Error {
        self.begun.notified().await;
        tokio::time::sleep(self.grace.get().copied().unwrap_or_default()).await;
        Error::Protocol {
            detail: "the server drained and did not hang up".to_owned(),
        }
    }
}
