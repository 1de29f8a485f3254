//! Backups: one moment of a store as a stream of bytes, and a data directory made from it.
//!
//! - `format`: the bytes, and reading and writing them with their checksums (`docs/tools.md` is the same for people).
//! - `write`: from a [`Snapshot`], of a store at rest or while it serves. `restore`: into an empty directory.
//!
//! Invariants: a backup holds everything that was confirmed when it was begun, and of what came meanwhile nothing that is not whole. What is
//! damaged in the store is not copied: the backup ends there and says so. A backup that does not come to its end frame is none.

mod format;
mod restore;
mod write;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

pub use self::format::{BackupError, Counts};
pub use self::restore::restore;

use self::format::{FrameReader, FrameWriter};
use super::check::CACHE_BYTES;
use super::chunks::ChunkStore;
use super::error::StoreError;
use super::files::Files;
use super::journal::Journal;
use super::local::LocalStore;
use super::looking::Looking;
use super::restored;
use super::snapshot::Snapshot;

/// Writes a backup of the directory at `path`, which no broker has open, to `to`. Nothing in the directory changes.
pub fn offline(path: &Path, to: &mut dyn Write) -> Result<Counts, BackupError> {
    let files: Arc<dyn Files> = Arc::new(Looking::at(path));
    restored::refuse_unfinished(&*files)?;
    files
        .length(super::chunks::FILE)
        .map_err(|source| StoreError::Directory {
            path: path.join(super::chunks::FILE),
            source,
        })?;
    let store = ChunkStore::open(&files, CACHE_BYTES, 0)?;
    let mut journal = Journal::open(&*files)?;
    let snapshot = Snapshot::at_rest(&store, Some(&mut journal))?;
    write::write(snapshot, &mut FrameWriter::new(to))
}

/// Writes a backup of a store that serves to `to`: everything that was confirmed before the call is in it. Blocks. If it cannot
/// be finished, what was written says so.
pub fn running(store: &LocalStore, to: &mut dyn Write) -> Result<Counts, BackupError> {
    let mut to = FrameWriter::new(to);
    let snapshot = store.snapshot()?.ok_or(StoreError::Closed)?;
    let outcome = write::write(snapshot, &mut to);
    if let Err(error) = &outcome {
        // Whoever reads it need not be there any more.
        to.aborted(&error.to_string()).ok();
    }
    outcome
}

/// Copies a backup, and makes sure that it is a whole one.
pub fn copy(from: &mut dyn Read, to: &mut dyn Write) -> Result<Counts, BackupError> {
    let mut from = FrameReader::new(from)?;
    let mut to = FrameWriter::new(to);
    while let Some(frame) = from.next()? {
        to.frame(frame.kind, &[&frame.body])?;
    }
    to.finish()?;
    Ok(from.counts())
}
