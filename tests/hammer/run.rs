//! One run: the broker, its streams, and what every task of it shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::stream::QueueLimits;
use streamkeeper::types::{CreateOptions, Retention, StorageKind, StreamName};
use tokio_util::sync::CancellationToken;

use crate::model::Slot;
use crate::random::Random;

/// No wait in a run may take this long: whoever waits longer was not woken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What kind of life the streams of a slot lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows, and is closed at the end.
    Plain,
    /// Is closed, deleted and created again all the time.
    Churning,
    /// Is trimmed by its retention; churns a little.
    Retained,
    /// Is trimmed by command.
    Trimmed,
    /// Is written in bursts, with pauses in which it leaves memory.
    Bursty,
}

/// What happened in a run, to see that it was not idle.
#[derive(Debug, Default)]
pub struct Counts {
    pub appends: AtomicU64,
    pub followed: AtomicU64,
    pub read: AtomicU64,
    pub from_store: AtomicU64,
    pub ends: Mutex<std::collections::BTreeMap<&'static str, u64>>,
}

impl Counts {
    /// Counts an outcome by name.
    pub fn end(&self, what: &'static str) {
        *self.ends.lock().entry(what).or_default() += 1;
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Run {
    pub broker: Broker,
    pub slots: Arc<Vec<(Kind, Arc<Slot>)>>,
    /// Cancelled when writers shall end.
    pub writing: CancellationToken,
    /// Cancelled once nothing will change any more.
    pub settled: CancellationToken,
    pub counts: Arc<Counts>,
}

impl Run {
    /// Opens a broker whose records leave memory soon, with streams of every kind.
    pub async fn open(options: BrokerOptions) -> Self {
        let broker = Broker::open(options).await.expect("the broker opens");
        let kinds = [
            (Kind::Plain, StorageKind::Durable),
            (Kind::Plain, StorageKind::Durable),
            (Kind::Churning, StorageKind::Durable),
            (Kind::Churning, StorageKind::Durable),
            (Kind::Churning, StorageKind::Memory),
            (Kind::Retained, StorageKind::Durable),
            (Kind::Retained, StorageKind::Durable),
            (Kind::Retained, StorageKind::Memory),
            (Kind::Trimmed, StorageKind::Durable),
            (Kind::Bursty, StorageKind::Durable),
            (Kind::Bursty, StorageKind::Durable),
        ];
        let slots = (0..).zip(kinds).map(|(number, (kind, storage))| {
            let name = format!("{kind:?}-{storage:?}-{number}");
            let slot = Slot {
                number,
                name: StreamName::new(&name).expect("a valid name"),
                storage,
                lives: Mutex::default(),
            };
            (kind, Arc::new(slot))
        });
        Self {
            broker,
            slots: Arc::new(slots.collect()),
            writing: CancellationToken::new(),
            settled: CancellationToken::new(),
            counts: Arc::default(),
        }
    }

    /// A random slot.
    pub fn slot(&self, random: &mut Random) -> Arc<Slot> {
        let at = random.below(self.slots.len() as u64);
        let slot = usize::try_from(at).ok().and_then(|at| self.slots.get(at));
        Arc::clone(&slot.expect("drawn below the length").1)
    }

    /// A pause of up to `millis_max` milliseconds, none once nothing changes any more.
    pub async fn pause(&self, millis_max: u64, random: &mut Random) {
        let pause = Duration::from_micros(random.below(millis_max * 1000 + 1));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.settled.cancelled() => {}
        }
    }

    pub fn count_read(&self, records: usize) {
        self.counts
            .read
            .fetch_add(records as u64, Ordering::Relaxed);
    }
}

/// Options with which everything happens soon: folds, full hot tails, full queues, commits of many sizes.
pub fn options(directory: &std::path::Path, random: &mut Random) -> BrokerOptions {
    let kib = |kib: u64| usize::try_from(kib << 10).unwrap_or(usize::MAX);
    BrokerOptions {
        queues: QueueLimits {
            total_bytes_max: kib(random.between(64, 1024)),
            stream_bytes_max: kib(random.between(16, 256)),
        },
        commit_bytes_max: kib(random.between(8, 256)),
        hot_tail_bytes_max: kib(random.between(256, 1024)),
        fold_bytes: kib(random.between(4, 128)),
        fold_interval: Duration::from_millis(random.between(1, 30)),
        ..BrokerOptions::in_directory(directory)
    }
}

/// How a stream of this kind is created.
pub fn create_options(kind: Kind, storage: StorageKind, random: &mut Random) -> CreateOptions {
    let mut retention = Retention::default();
    if kind == Kind::Retained {
        match random.below(4) {
            0 => retention.max_records = Some(random.between(1, 300)),
            1 => retention.max_bytes = Some(random.between(1, 200_000)),
            2 => retention.max_age = Some(Duration::from_millis(random.between(1, 400))),
            _ => {
                retention.max_records = Some(random.between(50, 500));
                retention.max_bytes = Some(random.between(10_000, 400_000));
                retention.max_age = Some(Duration::from_millis(random.between(200, 900)));
            }
        }
    }
    CreateOptions {
        retention,
        storage,
        ..CreateOptions::default()
    }
}
