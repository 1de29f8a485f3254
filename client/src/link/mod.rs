//! What callers and the connection task share: the outbox, the correlation table, and whether there is a connection.
//!
//! Callers encode their request straight into the outbox under one short lock and wait for its outcome; the
//! connection task writes the outbox and reports outcomes. A channel of messages in between would cost an
//! allocation and a copy per request, which the pipelined append cannot afford. Invariants:
//!
//! - A request is in the outbox if and only if its waiter is in the table: both happen under one lock.
//! - Every request but the control frames holds room (bytes) from before it is encoded until its outcome.
//! - Lock order: a subscription's or producer's own state before the link's state; nothing is awaited under either.
//! - A connection's end empties table and outbox at once, so no reply and no frame crosses connections.

mod lifecycle;
mod outbox;
mod pending;
mod table;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use streamkeeper_protocol::Command;
use streamkeeper_protocol::record::RECORD_HEADER_BYTES;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

pub(crate) use self::outbox::Outbox;
pub(crate) use self::pending::{Answer, Outcome, Pending, kind};
use self::table::Table;
use crate::config::Config;
use crate::sync::lock;
use crate::{Error, ServerInfo, producer, subscription};

/// Whether requests can be sent.
#[derive(Debug, Clone)]
pub(crate) enum Status {
    /// Between connections.
    Down,
    /// Connected, with what the server said of itself.
    Up(Arc<ServerInfo>),
    /// For good.
    Closed(Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Down,
    Up,
    /// The server is shutting down: answers still come, new requests wait for the next connection.
    Draining,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    outbox: Outbox,
    table: Table<Pending>,
    /// The correlation id of a PING that was not answered yet.
    pong_due: Option<u32>,
    /// Producers with records to put into a batch when the writer comes by.
    ready: Vec<Arc<producer::Core>>,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) config: Config,
    state: Mutex<State>,
    /// Wakes the writer: the outbox is no longer empty, or a producer is ready.
    written: Notify,
    /// The bytes that may still be put in flight.
    room: Semaphore,
    /// The bytes of records that producers may still accept.
    pub(crate) producing: Semaphore,
    status: watch::Sender<Status>,
    /// Asks the connection task to end.
    pub(crate) shutdown: Notify,
    record_bytes_max: AtomicU32,
    frame_bytes_max: AtomicU32,
    batch_records_max: AtomicU32,
    subscriptions: Mutex<HashMap<u32, Arc<subscription::Core>>>,
    producers: Mutex<HashMap<u64, Arc<producer::Core>>>,
}

impl Link {
    pub(crate) fn new(config: Config) -> Self {
        let room = Semaphore::new(config.in_flight_bytes_max as usize);
        let producing = Semaphore::new(config.producer_bytes_max as usize);
        Self {
            config,
            state: Mutex::new(State {
                phase: Phase::Down,
                outbox: Outbox::default(),
                table: Table::default(),
                pong_due: None,
                ready: Vec::new(),
            }),
            written: Notify::new(),
            room,
            producing,
            status: watch::Sender::new(Status::Down),
            shutdown: Notify::new(),
            record_bytes_max: AtomicU32::new(0),
            frame_bytes_max: AtomicU32::new(0),
            batch_records_max: AtomicU32::new(0),
            subscriptions: Mutex::default(),
            producers: Mutex::default(),
        }
    }

    // ---- the callers' side

    /// Waits for room and a connection, then sends one request: `write` encodes it under its correlation id.
    ///
    /// `bytes` is the frame's size, or nearly; it is held until the outcome. `deadline` bounds the wait for a
    /// connection (by default the request timeout), not the wait for room, which is backpressure.
    ///
    /// # Cancel safety
    /// Dropped before it returns, nothing was sent.
    pub(crate) async fn send(
        &self,
        bytes: usize,
        deadline: Option<Instant>,
        mut pending: Pending,
        mut write: impl FnMut(&mut Outbox, u32),
    ) -> Result<(), Error> {
        let cost = self.cost(bytes);
        loop {
            let Ok(permit) = self.room.acquire_many(cost).await else {
                return Err(self.closed());
            };
            match self.try_send(cost, pending, &mut write) {
                Ok(()) => {
                    permit.forget();
                    return Ok(());
                }
                Err(back) => pending = back,
            }
            drop(permit);
            let patience = || Instant::now() + self.config.request_timeout;
            self.connected(deadline.unwrap_or_else(patience)).await?;
        }
    }

    /// Sends one request at once, or returns its waiter if there is no connection.
    ///
    /// `cost` is the room its outcome gives back: 0 for what is bounded otherwise.
    pub(crate) fn try_send(
        &self,
        cost: u32,
        pending: Pending,
        write: impl FnOnce(&mut Outbox, u32),
    ) -> Result<(), Pending> {
        let mut state = lock(&self.state);
        if state.phase != Phase::Up {
            return Err(pending);
        }
        let idle = state.outbox.is_empty();
        let correlation = state.table.insert(pending, cost);
        write(&mut state.outbox, correlation);
        drop(state);
        if idle {
            self.written.notify_one();
        }
        Ok(())
    }

    /// Sends a frame that has no reply, if there is a connection; otherwise it is pointless and dropped.
    pub(crate) fn control(&self, command: &Command) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Down {
            return;
        }
        let idle = state.outbox.is_empty();
        state.outbox.command(command, 0);
        drop(state);
        if idle {
            self.written.notify_one();
        }
    }

    /// Waits until there is a connection, and returns what its server said.
    ///
    /// # Cancel safety
    /// Safe: it only watches.
    pub(crate) async fn connected(&self, deadline: Instant) -> Result<Arc<ServerInfo>, Error> {
        let started = Instant::now();
        let mut status = self.status.subscribe();
        let up = status.wait_for(|status| !matches!(status, Status::Down));
        let Ok(reached) = timeout_at(deadline, up).await else {
            return Err(Error::Disconnected {
                waited: started.elapsed(),
            });
        };
        match reached.as_deref() {
            Ok(Status::Up(info)) => Ok(Arc::clone(info)),
            Ok(Status::Closed(error)) => Err(error.clone()),
            Ok(Status::Down) | Err(_) => Err(Error::Closed),
        }
    }

    /// Fails if no connection will come again.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match &*self.status.borrow() {
            Status::Closed(error) => Err(error.clone()),
            Status::Up(_) | Status::Down => Ok(()),
        }
    }

    /// Waits until no connection will come again.
    pub(crate) async fn ended(&self) {
        let mut status = self.status.subscribe();
        // An error means that the link is gone, and with it everything to wait for.
        drop(
            status
                .wait_for(|status| matches!(status, Status::Closed(_)))
                .await,
        );
    }

    /// The server's limit on a record's payload.
    pub(crate) fn record_bytes_max(&self) -> u32 {
        self.record_bytes_max.load(Ordering::Relaxed)
    }

    /// The server's limit on a frame.
    pub(crate) fn frame_bytes_max(&self) -> u32 {
        self.frame_bytes_max.load(Ordering::Relaxed)
    }

    /// The server's limit on the records of an append.
    pub(crate) fn batch_records_max(&self) -> u32 {
        self.batch_records_max.load(Ordering::Relaxed)
    }

    /// Why the link is closed.
    pub(crate) fn closed(&self) -> Error {
        match &*self.status.borrow() {
            Status::Closed(error) => error.clone(),
            Status::Up(_) | Status::Down => Error::Closed,
        }
    }

    /// Waits until nothing is in flight: every request got its outcome.
    pub(crate) async fn settled(&self) {
        // All the room at once is only free when nobody holds any; the error means closed, which is settled too.
        drop(
            self.room
                .acquire_many(self.config.in_flight_bytes_max)
                .await,
        );
    }

    /// What a frame of `bytes` holds of the room: at least the share that bounds the number of requests, at most
    /// everything.
    fn cost(&self, bytes: usize) -> u32 {
        let all = self.config.in_flight_bytes_max;
        let least = (all / self.config.in_flight_requests_max.max(1)).max(1);
        u32::try_from(bytes).unwrap_or(u32::MAX).clamp(least, all)
    }

    // ---- producers and subscriptions

    /// What a record holds of the room that producers share: at most everything.
    pub(crate) fn producer_cost(&self, payload_bytes: usize) -> u32 {
        let bytes = u32::try_from(RECORD_HEADER_BYTES + payload_bytes).unwrap_or(u32::MAX);
        bytes.min(self.config.producer_bytes_max)
    }

    /// Asks the writer to collect a batch from `core`.
    pub(crate) fn ready(&self, core: Arc<producer::Core>) {
        lock(&self.state).ready.push(core);
        self.written.notify_one();
    }

    pub(crate) fn register_producer(&self, core: Arc<producer::Core>) {
        lock(&self.producers).insert(core.key(), core);
    }

    pub(crate) fn forget_producer(&self, key: u64) {
        lock(&self.producers).remove(&key);
    }

    pub(crate) fn register_subscription(&self, core: Arc<subscription::Core>) {
        lock(&self.subscriptions).insert(core.id(), core);
    }

    pub(crate) fn forget_subscription(&self, id: u32) {
        lock(&self.subscriptions).remove(&id);
    }

    pub(crate) fn subscription(&self, id: u32) -> Option<Arc<subscription::Core>> {
        lock(&self.subscriptions).get(&id).cloned()
    }

    fn subscriptions(&self) -> Vec<Arc<subscription::Core>> {
        lock(&self.subscriptions).values().cloned().collect()
    }

    fn producers(&self) -> Vec<Arc<producer::Core>> {
        lock(&self.producers).values().cloned().collect()
    }
}
