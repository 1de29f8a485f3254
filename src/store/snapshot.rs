//! One moment of a store, held still while appends go on: for whoever copies it or checks it.
//!
//! A read transaction of `store.redb`, the segments it points to, which are not removed meanwhile, and the journal rows past its
//! watermark. Together they are everything that was confirmed when the snapshot was taken.
//!
//! Invariants: the rows follow the watermark without a gap. What it costs: the rows stay in memory until they are let go of
//! ([`Snapshot::take_rows`]), dead segments and pages stay on disk as long as it lives. Whoever holds one looks at
//! [`Snapshot::ended`] now and then, and lets go when it says so.

use redb::ReadTransaction;

use super::chunks::{self, ChunkStore};
use super::error::StoreError;
use super::facts::Facts;
use super::journal::{Journal, Row};
use super::local::LocalStore;
use super::segments::{Pin, Segments};
use super::shared::Shared;

/// See the module.
#[derive(Debug)]
pub struct Snapshot<'a> {
    pub(super) read: ReadTransaction,
    pub(super) facts: Facts,
    chunks: &'a ChunkStore,
    /// How often the file had been opened anew: what is read by a handle that was left is not of this moment.
    opened: u64,
    rows: Vec<Row>,
    pin: Pin<'a>,
    /// Of a running store.
    shared: Option<&'a Shared>,
}

impl<'a> Snapshot<'a> {
    /// Of a store without a running engine, and the rows that its journal holds past the watermark.
    pub(super) fn at_rest(
        chunks: &'a ChunkStore,
        journal: Option<&mut Journal>,
    ) -> Result<Self, StoreError> {
        let pin = chunks.segments.pin();
        let held = chunks.hold();
        let read = held.begin_read()?;
        let facts = chunks::facts(&read)?;
        let mut rows = Vec::new();
        if let Some(journal) = journal {
            journal.replay(facts.watermark, |row| {
                rows.push(row);
                Ok(())
            })?;
        }
        Ok(Self {
            read,
            facts,
            chunks,
            opened: chunks.times_opened(),
            rows,
            pin,
            shared: None,
        })
    }

    /// The rows past the watermark, in order; they are the caller's from now on.
    pub(super) fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    /// Why it must be let go of now, if it must.
    pub(super) fn ended(&self) -> Option<StoreError> {
        let stopping = self.shared.is_some_and(Shared::is_stopping);
        let left = self.chunks.times_opened() != self.opened;
        (stopping || left || self.pin.is_void()).then_some(StoreError::Closed)
    }

    /// The bytes of its chunks.
    pub(super) fn segments(&self) -> &'a Segments {
        &self.chunks.segments
    }
}

/// How long a snapshot taken from now on may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    generation: u64,
    opened: u64,
}

impl LocalStore {
    /// A lease for a snapshot that is taken next: for who waits for others while it lives.
    pub fn lease(&self) -> Lease {
        let (generation, opened) = self.shared.chunks.as_ref().map_or((0, 0), |chunks| {
            (chunks.segments.generation(), chunks.times_opened())
        });
        Lease { generation, opened }
    }

    /// Whether a snapshot under `lease` must be let go of.
    pub fn is_over(&self, lease: Lease) -> bool {
        self.shared.is_stopping() || self.lease() != lease
    }

    /// This moment of the store; `None` of one that keeps everything in memory.
    pub fn snapshot(&self) -> Result<Option<Snapshot<'_>>, StoreError> {
        let shared = &*self.shared;
        let Some(chunks) = &shared.chunks else {
            return Ok(None);
        };
        // A handle that failed is opened anew now, and neither that nor another's is waited for under the lock.
        chunks.facts()?;
        let pin = chunks.segments.pin();
        let held = chunks.hold();
        // While the lock is held no row comes in, and none that is being folded is forgotten. A fold may become durable
        // meanwhile: the watermark says which rows it held.
        let unfolded = shared.unfolded.lock();
        let read = held.begin_read()?;
        let facts = chunks::facts(&read)?;
        let rows = unfolded.past(facts.watermark).cloned().collect();
        drop(unfolded);
        Ok(Some(Snapshot {
            read,
            facts,
            chunks,
            opened: chunks.times_opened(),
            rows,
            pin,
            shared: Some(shared),
        }))
    }
}
