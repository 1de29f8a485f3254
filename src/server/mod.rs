//! The doors of the broker: listeners, the connection limit, and the way out.
//!
//! Serves SKP/1 on any number of TCP addresses and Unix sockets. One accept task per listener, one task per connection.
//! What is said on a connection is the business of [`crate::connection`] and [`crate::session`].
//!
//! - `address`: where to listen, as text. `listener`: one bound socket. `roster`: who is connected. `socket`: what TCP sockets are set to.
//!
//! Invariants:
//! - An accept error never ends a listener: it backs off and tries again.
//! - A connection over the limit is told so and closed at the door; how many are told at once is bounded, too.
//! - After [`Server::run`] returns, no connection of this server is left, and its Unix socket files are gone.

mod address;
mod listener;
mod roster;
pub(crate) mod socket;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use streamkeeper_protocol::ErrorCode;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use address::{ListenAddress, ParseListenAddressError};
pub use listener::BindError;

use crate::broker::Broker;
use crate::connection::{Connection, ConnectionOptions, Ended};
use crate::session::{Failure, Session, SessionContext, SessionOptions};
use listener::{Accepted, Listener};
use roster::Roster;

/// First pause after an accept error; doubled up to [`ACCEPT_PAUSE_MAX`] while they last.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Longest pause between two tries to accept: file descriptors may be free again any moment.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Most peers over the limit that are told so at once; they cost a socket and a small task each.
const TURNED_AWAY_MAX: usize = 64;

/// How long a peer over the limit may take to hear it.
const TURN_AWAY_TIME: Duration = Duration::from_millis(500);

/// How a server listens and what it allows.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen; at least one.
    pub listen: Vec<ListenAddress>,
    /// Most connections at once, over all listeners.
    pub connections_max: usize,
    /// How long connections may take to end when the server shuts down.
    pub drain_grace: Duration,
    /// What each session allows.
    pub session: SessionOptions,
    /// What each connection allows.
    pub connection: ConnectionOptions,
}

impl Default for ServerOptions {
    /// Loopback, port 4438.
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::default()],
            connections_max: 10_000,
            drain_grace: Duration::from_secs(10),
            session: SessionOptions::default(),
            connection: ConnectionOptions::default(),
        }
    }
}

/// How the end of a server went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections open when the drain began.
    pub connections: usize,
    /// Those that had to be cut off when the grace period was over.
    pub cut: usize,
}

/// A server that is bound and not yet accepting.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    options: ServerOptions,
}

impl Server {
    /// Binds every address. Connections made from now on wait until [`Server::run`].
    ///
    /// # Errors
    /// The first address that cannot be bound; none is kept then.
    pub async fn bind(options: ServerOptions) -> Result<Self, BindError> {
        let mut listeners = Vec::with_capacity(options.listen.len());
        for address in &options.listen {
            listeners.push(Listener::bind(address).await?);
        }
        Ok(Self { listeners, options })
    }

    /// Where it listens, with real ports, in the order of [`ServerOptions::listen`].
    pub fn local_addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.listeners.iter().map(Listener::address)
    }

    /// Serves until `shutdown` is cancelled, then drains: accepts nobody, lets the broker refuse new writes, tells every
    /// peer, lets answers under way go out, and closes every connection within the grace period.
    pub async fn run(self, broker: Broker, shutdown: CancellationToken) -> Drained {
        let door = Arc::new(Door::new(broker.clone(), self.options));
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            accepting.spawn(Arc::clone(&door).accept(listener, shutdown.clone()));
        }
        while accepting.join_next().await.is_some() {}
        broker.begin_drain();
        door.drain().await
    }
}

/// What the accept tasks share.
struct Door {
    context: Arc<SessionContext>,
    connection: Arc<ConnectionOptions>,
    connections_max: usize,
    drain_grace: Duration,
    roster: Arc<Roster>,
    connections: TaskTracker,
    /// Peers over the limit that are being told so.
    turned_away: TaskTracker,
    /// Connections that were cut off by a time limit.
    cut: AtomicUsize,
}

impl Door {
    fn new(broker: Broker, options: ServerOptions) -> Self {
        Self {
            context: Arc::new(SessionContext {
                broker,
                options: options.session,
            }),
            connection: Arc::new(options.connection),
            connections_max: options.connections_max,
            drain_grace: options.drain_grace,
            roster: Arc::default(),
            connections: TaskTracker::new(),
            turned_away: TaskTracker::new(),
            cut: AtomicUsize::new(0),
        }
    }

    async fn accept(self: Arc<Self>, listener: Listener, shutdown: CancellationToken) {
        let mut pause = ACCEPT_PAUSE;
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    pause = ACCEPT_PAUSE;
                    self.admit(accepted);
                }
                Err(error) if concerns_one_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, listener = %listener.address(), "cannot accept for now");
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
    }

    /// Serves a peer in a task of its own, or turns it away.
    fn admit(self: &Arc<Self>, accepted: Accepted) {
        let metrics = self.context.broker.metrics();
        if self.connections.len() >= self.connections_max {
            metrics.connections_refused.increment(1);
            metrics.refusals.increment(ErrorCode::TooManyConnections);
            self.turn_away(accepted);
            return;
        }
        match accepted {
            Accepted::Tcp(stream) => {
                metrics.connections_accepted_tcp.increment(1);
                socket::prepare(&stream);
                self.serve(stream);
            }
            Accepted::Unix(stream) => {
                metrics.connections_accepted_unix.increment(1);
                self.serve(stream);
            }
        }
    }

    fn serve<S>(self: &Arc<Self>, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let number = self.roster.next_number();
        let session = Session::new(number, Arc::clone(&self.context));
        let place = self.roster.enter(number, session.outbox());
        let options = Arc::clone(&self.connection);
        let connection = Connection::new(stream, session, options, self.drain_grace);
        let counted = self.context.broker.metrics().connections.hold();
        let door = Arc::clone(self);
        self.connections.spawn(async move {
            let ended = connection.run().await;
            tracing::debug!(connection = number, ?ended, "connection over");
            if matches!(ended, Ended::Cut) {
                door.cut.fetch_add(1, Ordering::Relaxed);
            }
            drop((place, counted));
        });
    }

    /// Says why, and closes. Beyond [`TURNED_AWAY_MAX`] at once peers are closed without a word.
    fn turn_away(self: &Arc<Self>, accepted: Accepted) {
        if self.turned_away.len() >= TURNED_AWAY_MAX {
            return;
        }
        let message = format!(
            "this server has {} connections already",
            self.connections_max
        );
        let failure = Failure::new(ErrorCode::TooManyConnections, message);
        let mut frame = BytesMut::new();
        failure.into_event().encode(0, &mut frame);
        self.turned_away.spawn(async move {
            let said = tokio::time::timeout(TURN_AWAY_TIME, accepted.say_and_close(&frame)).await;
            if !matches!(said, Ok(Ok(()))) {
                tracing::debug!(?said, "a peer over the limit may not have been told so");
            }
        });
    }

    /// Every connection has its own deadline by then, so this ends.
    async fn drain(&self) -> Drained {
        self.connections.close();
        let connections = self.connections.len();
        self.roster.drain();
        self.connections.wait().await;
        self.turned_away.close();
        self.turned_away.wait().await;
        Drained {
            connections,
            cut: self.cut.load(Ordering::Relaxed),
        }
    }
}

/// The peer went away before it was accepted; the listener itself is fine.
pub(crate) fn concerns_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
