//! Every stream name that is in use, in shards.
//!
//! A handle stays while someone holds it or while it knows something the store does not; idle ones leave in
//! [`Registry::sweep`], so a store may hold a million streams in a small process.
//!
//! A name is looked up for every append: it is hashed once, for the shard and within it, and a handle is its own key.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::Mutex;

use super::Stream;
use crate::types::{NameError, StorageKind, StreamName};

/// A power of two: enough that two cores hardly ever meet on one.
const SHARDS: usize = 32;

type Shard = HashTable<Arc<Stream>>;

/// See the module.
#[derive(Debug)]
pub struct Registry {
    storage: StorageKind,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    /// Handles in all shards. Changed under the lock of the one concerned.
    count: AtomicUsize,
}

impl Registry {
    pub(crate) fn new(storage: StorageKind) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            storage,
            hasher: RandomState::new(),
            shards,
            count: AtomicUsize::new(0),
        }
    }

    /// The hash of a name, and where it belongs.
    fn shard(&self, name: &str) -> (u64, &Mutex<Shard>) {
        let hash = self.hasher.hash_one(name);
        let shard = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        let shard = self
            .shards
            .get(shard)
            .expect("a hash modulo SHARDS names one of SHARDS shards");
        (hash, shard)
    }

    /// The handle of `name`, made if there is none.
    pub(crate) fn get_or_create(&self, name: &str) -> Result<Arc<Stream>, NameError> {
        let (hash, shard) = self.shard(name);
        let mut shard = shard.lock();
        if let Some(stream) = shard.find(hash, is_called(name)) {
            return Ok(Arc::clone(stream));
        }
        let stream = Arc::new(Stream::new(StreamName::new(name)?, self.storage));
        shard.insert_unique(hash, Arc::clone(&stream), |stream| {
            self.hasher.hash_one(stream.name().as_str())
        });
        self.count.fetch_add(1, Ordering::AcqRel);
        Ok(stream)
    }

    /// The handle of `name`, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Stream>> {
        if self.is_empty() {
            return None;
        }
        let (hash, shard) = self.shard(name);
        shard.lock().find(hash, is_called(name)).map(Arc::clone)
    }

    /// Handles in memory.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// True if no handle is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All handles, for listings and maintenance.
    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().iter().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Drops the handle of a name that turned out to be no stream, unless someone beside the caller holds it or it knows
    /// something that the store does not: asking for names that do not exist must not fill memory.
    pub(crate) fn discard(&self, stream: &Arc<Stream>, released: u64) {
        let name = stream.name().as_str();
        let (hash, shard) = self.shard(name);
        let mut shard = shard.lock();
        let absent = stream.live().view.is_none() && stream.is_forgettable(released);
        if absent
            && Arc::strong_count(stream) == 2
            && let Ok(entry) = shard.find_entry(hash, is_called(name))
        {
            entry.remove();
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Drops the handles that nobody holds and whose knowledge is in the store up to journal row `released`.
    pub(crate) fn sweep(&self, released: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.len();
            // The references cannot become more meanwhile: clones are made from a handle or under this lock.
            shard.retain(|stream| Arc::strong_count(stream) > 1 || !stream.is_idle(released));
            self.count.fetch_sub(before - shard.len(), Ordering::AcqRel);
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
                shard.shrink_to_fit(|stream| self.hasher.hash_one(stream.name().as_str()));
            }
        }
    }
}

fn is_called(name: &str) -> impl Fn(&Arc<Stream>) -> bool {
    move |stream| stream.name().as_str() == name
}
