//! Shrinking a data directory that no broker has open: what a broker does by and by is done now, and to the end.
//!
//! The journal is folded and emptied, chunks of deleted and trimmed streams are removed, segments of which half is dead are emptied, and
//! redb brings its own file together. Each step is what a broker does or leaves the files as one might have: it may
//! be cut off anywhere.

use std::sync::Arc;

use super::check::CACHE_BYTES;
use super::chunks::{self, ChunkStore};
use super::compaction::Compaction;
use super::error::StoreError;
use super::files::Files;
use super::fold::Fold;
use super::journal::{self, Journal};
use super::restored;

/// How large segments become. The broker goes on with its own size.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Rows of the journal that are folded at a time.
const FOLD_BYTES: usize = 16 << 20;

/// Rows of the tables that one transaction removes at most.
const REMOVALS_MAX: usize = 10_000;

/// What the files take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// `journal.log`.
    pub journal: u64,
    /// `store.redb`.
    pub store: u64,
    /// The segments together.
    pub segments: u64,
}

impl Sizes {
    fn of(files: &dyn Files, store: &ChunkStore) -> Result<Self, StoreError> {
        let length = |file| {
            let length = files.length(file);
            length.map_err(|source| StoreError::Io { file, source })
        };
        Ok(Self {
            journal: length(journal::FILE)?,
            store: length(chunks::FILE)?,
            segments: store.segment_bytes()?,
        })
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.journal + self.store + self.segments
    }
}

/// Shrinks the data directory that `files` are in, which no broker has open. Answers what the files took before and after.
///
/// # Errors
/// Among others [`StoreError::NoRoomToCompact`]: then what was moved before is done, and the rest is as it was.
pub fn shrink(files: &Arc<dyn Files>) -> Result<(Sizes, Sizes), StoreError> {
    shrink_with_room(files).map_err(|error| {
        if !error.is_lack_of_room() {
            return error;
        }
        StoreError::NoRoomToCompact {
            source: Box::new(error),
        }
    })
}

fn shrink_with_room(files: &Arc<dyn Files>) -> Result<(Sizes, Sizes), StoreError> {
    restored::refuse_unfinished(&**files)?;
    files
        .length(chunks::FILE)
        .map_err(|source| StoreError::Directory {
            path: files.place().join(chunks::FILE),
            source,
        })?;
    let store = ChunkStore::open(files, CACHE_BYTES, SEGMENT_BYTES)?;
    let before = Sizes::of(&**files, &store)?;
    let moved = move_all(&**files, &store);
    if moved.as_ref().is_err_and(StoreError::is_lack_of_room) {
        // What the last fold wrote goes again.
        store.reopen()?;
    }
    moved?;
    let after = Sizes::of(&**files, &store)?;
    store.close();
    Ok((before, after))
}

/// Moves what is to be moved.
fn move_all(files: &dyn Files, store: &ChunkStore) -> Result<(), StoreError> {
    let mut journal = Journal::open(files)?;
    fold_all(store, &mut journal)?;
    journal.empty()?;
    clear(store, Fold::default())?;
    if store.last_segment_is_half_dead()? {
        clear(store, Fold::default().beginning_segment(true))?;
    }
    store.bring_together().map(drop)
}

/// Moves what the journal holds to the store.
fn fold_all(store: &ChunkStore, journal: &mut Journal) -> Result<(), StoreError> {
    let watermark = store.facts()?.watermark;
    let mut fold = Fold::default();
    let mut bytes = 0;
    journal.replay(watermark, |row| {
        fold.add(&row)?;
        bytes += row.bytes.len();
        if bytes >= FOLD_BYTES {
            bytes = 0;
            write(store, std::mem::take(&mut fold), Compaction::default())?;
        }
        Ok(())
    })?;
    write(store, fold, Compaction::default())?;
    Ok(())
}

/// Folds, `first` to begin with, until nothing is left to remove or to move.
fn clear(store: &ChunkStore, first: Fold) -> Result<(), StoreError> {
    let (mut compaction, mut more) = write(store, first, Compaction::default())?;
    while more {
        (compaction, more) = write(store, Fold::default(), compaction)?;
    }
    Ok(())
}

fn write(
    store: &ChunkStore,
    fold: Fold,
    compaction: Compaction,
) -> Result<(Compaction, bool), StoreError> {
    let written = fold.write(store, REMOVALS_MAX, compaction)?;
    Ok((written.compaction, written.leftovers))
}
