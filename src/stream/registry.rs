//! Every stream name that is in use, in shards.
//!
//! A handle stays while someone holds it or while it knows something the store does not; idle ones leave in
//! [`Registry::sweep`], so a store may hold a million streams in a small process.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Stream;
use crate::types::{NameError, StorageKind, StreamName};

/// A power of two: enough that two cores hardly ever meet on one.
const SHARDS: usize = 32;

type Shard = HashMap<StreamName, Arc<Stream>>;

/// See the module.
#[derive(Debug)]
pub struct Registry {
    storage: StorageKind,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

impl Registry {
    pub(crate) fn new(storage: StorageKind) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            storage,
            hasher: RandomState::new(),
            shards,
        }
    }

    fn shard(&self, name: &str) -> &Mutex<Shard> {
        let shard = usize::try_from(self.hasher.hash_one(name) >> 32).unwrap_or_default() % SHARDS;
        self.shards
            .get(shard)
            .expect("a hash modulo SHARDS names one of SHARDS shards")
    }

    /// The handle of `name`, made if there is none.
    pub(crate) fn get_or_create(&self, name: &str) -> Result<Arc<Stream>, NameError> {
        let mut shard = self.shard(name).lock();
        if let Some(stream) = shard.get(name) {
            return Ok(Arc::clone(stream));
        }
        let name = StreamName::new(name)?;
        let stream = Arc::new(Stream::new(name.clone(), self.storage));
        shard.insert(name, Arc::clone(&stream));
        Ok(stream)
    }

    /// The handle of `name`, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Stream>> {
        self.shard(name).lock().get(name).map(Arc::clone)
    }

    /// Handles in memory.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// True if no handle is in memory.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().is_empty())
    }

    /// All handles, for listings and maintenance.
    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Drops the handle of a name that turned out to be no stream, unless someone beside the caller holds it or it knows
    /// something that the store does not: asking for names that do not exist must not fill memory.
    pub(crate) fn discard(&self, stream: &Arc<Stream>, released: u64) {
        let mut shard = self.shard(stream.name().as_str()).lock();
        let absent = stream.live().view.is_none() && stream.is_forgettable(released);
        if absent && Arc::strong_count(stream) == 2 {
            shard.remove(stream.name().as_str());
        }
    }

    /// Drops the handles that nobody holds and whose knowledge is in the store up to journal row `released`.
    pub(crate) fn sweep(&self, released: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            // The count cannot rise meanwhile: clones are made from a handle or under this lock.
            shard.retain(|_, stream| Arc::strong_count(stream) > 1 || !stream.is_idle(released));
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
                shard.shrink_to_fit();
            }
        }
    }
}
