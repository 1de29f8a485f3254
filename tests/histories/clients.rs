//! The clients: what each does to its stream, over and over, whatever becomes of its connection.
//!
//! Writers, except the library's own producer, use connections that do not reconnect: an attempt then belongs to one connection, and
//! so to one life of the broker. Followers and the library's producer live through everything.

mod observe;
mod produce;
mod write;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use streamkeeper_client::{Client, Reconnect};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::history::Outcome;
use crate::random::Random;
use crate::recorder::Recorder;

/// Refusals after which a client has understood that its stream is closed.
const CLOSED_ENOUGH: u32 = 4;

/// What a client of any kind has.
#[derive(Clone, Debug)]
pub struct Peer {
    pub recorder: Arc<Recorder>,
    /// The proxy.
    pub address: String,
    pub random: Random,
    pub stop: CancellationToken,
    /// The next seq of this stream, of all its writers.
    pub seqs: Arc<AtomicU64>,
}

impl Peer {
    fn fork(&self, label: u64) -> Self {
        let random = self.random.fork(label);
        Self {
            random,
            ..self.clone()
        }
    }

    /// A connection that is not replaced when it breaks; nothing when the run is over.
    async fn connect(&mut self) -> Option<Client> {
        while !self.stop.is_cancelled() {
            let builder = Client::builder().reconnect(Reconnect::never());
            if let Ok(client) = builder.connect(&self.address).await {
                return Some(client);
            }
            self.pause(1, 10).await;
        }
        None
    }

    /// A client that reconnects.
    async fn lasting(&mut self) -> Option<Client> {
        while !self.stop.is_cancelled() {
            let policy = Reconnect::default()
                .base(Duration::from_millis(3))
                .max(Duration::from_millis(50));
            let builder = Client::builder().reconnect(policy);
            if let Ok(client) = builder.connect(&self.address).await {
                return Some(client);
            }
            self.pause(1, 10).await;
        }
        None
    }

    async fn pause(&mut self, low: u64, high: u64) {
        sleep(Duration::from_millis(self.random.between(low, high))).await;
    }
}

/// Starts the clients of one stream. With `close`, one of them closes it when that comes true.
pub fn start(
    peer: &Peer,
    http: &watch::Receiver<Option<String>>,
    close: Option<CancellationToken>,
    tasks: &mut JoinSet<()>,
) {
    for label in 0..2 {
        tasks.spawn(write::plain(peer.fork(label)));
        tasks.spawn(write::with_seq(peer.fork(10 + label)));
        tasks.spawn(observe::follow(peer.fork(20 + label)));
        let number = u32::try_from(label).unwrap_or(0);
        tasks.spawn(produce::stamped(peer.fork(30 + label), number));
    }
    tasks.spawn(write::conditional(peer.fork(40)));
    tasks.spawn(produce::library(peer.fork(41)));
    tasks.spawn(observe::read(peer.fork(42)));
    tasks.spawn(observe::over_http(peer.fork(43), http.clone()));
    if let Some(close) = close {
        tasks.spawn(write::close(peer.fork(44), close));
    }
}

/// Counts refusals that say that the stream is closed; true when they are enough.
fn is_over(outcome: Outcome, closed: &mut u32) -> bool {
    *closed += u32::from(matches!(outcome, Outcome::Closed { .. }));
    *closed >= CLOSED_ENOUGH
}
