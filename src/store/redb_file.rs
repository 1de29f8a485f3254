//! The open `store.redb`, as far as redb's handle of it goes: an operation that fails makes a handle useless to all, and then the file is
//! opened anew.
//!
//! Opening writes to the file, and so needs a disk that takes writes. Where it takes none, be it full, broken or mounted to be read from,
//! the file is opened to be read from, under an [`Overlay`].
//!
//! Invariants: a file whose sync failed is not written to any more, nor is one under an overlay. The file is open once at most, and
//! is not closed under a [`Held`]: a page that is being read just then could be one of later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{RwLock, RwLockReadGuard};
use redb::{
    Builder, CompactionError, Database, DatabaseError, ReadTransaction, ReadableDatabase,
    StorageBackend, WriteTransaction,
};

use super::chunks::{FILE, failed};
use super::error::StoreError;
use super::files::{Files, Opened};
use super::overlay::Overlay;
use super::{journal, segments};

/// How long another process may take that locked the file while it was closed.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// How long readers may take to come to an end before the file is brought together.
const READERS_WAIT: Duration = Duration::from_millis(100);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(1);

#[derive(Debug)]
enum Handle {
    Open(Box<Database>),
    /// Under an overlay.
    ReadOnly(Box<Database>),
    /// It failed, and could not be opened again yet.
    Failed,
    Closed,
}

impl Handle {
    fn for_reading(&self) -> Result<&Database, StoreError> {
        match self {
            Self::Open(database) | Self::ReadOnly(database) => Ok(database),
            Self::Failed | Self::Closed => Err(self.useless()),
        }
    }

    fn for_writing(&self) -> Result<&Database, StoreError> {
        match self {
            Self::Open(database) => Ok(database),
            other => Err(other.useless()),
        }
    }

    fn for_writing_mut(&mut self) -> Result<&mut Database, StoreError> {
        match self {
            Self::Open(database) => Ok(database),
            other => Err(other.useless()),
        }
    }

    fn useless(&self) -> StoreError {
        match self {
            Self::Closed => StoreError::Closed,
            _ => StoreError::Reopening,
        }
    }
}

/// The file, which is not closed meanwhile.
#[derive(Debug)]
pub(super) struct Held<'a>(RwLockReadGuard<'a, Handle>);

impl Held<'_> {
    /// A moment. Who keeps it for longer than this counts what was read by it for nothing if the file was opened anew meanwhile.
    pub fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        self.0.for_reading()?.begin_read().map_err(failed)
    }
}

fn io(source: std::io::Error) -> StoreError {
    StoreError::Io { file: FILE, source }
}

/// See the module.
#[derive(Debug)]
pub(super) struct RedbFile {
    handle: RwLock<Handle>,
    /// How often it was opened anew, or tried to be.
    opened: AtomicU64,
    files: Arc<dyn Files>,
    cache_bytes: usize,
    /// A sync failed: what the file shows need not be on the disk, and nothing may be written or forgotten by it.
    not_synced: Arc<AtomicBool>,
}

impl RedbFile {
    /// Opens or creates the file.
    pub fn open(files: &Arc<dyn Files>, cache_bytes: usize) -> Result<Self, StoreError> {
        let file = Self {
            handle: RwLock::new(Handle::Failed),
            opened: AtomicU64::new(0),
            files: Arc::clone(files),
            cache_bytes,
            not_synced: Arc::default(),
        };
        let database = file.open_to_write()?;
        *file.handle.write() = Handle::Open(Box::new(database));
        Ok(file)
    }

    fn open_database(&self, file: Box<dyn StorageBackend>) -> Result<Database, StoreError> {
        let files = &*self.files;
        let may_be_unfinished = !journal::has_commits(files) && !segments::exist(files)?;
        let backend = Opened::new(file, may_be_unfinished, &self.not_synced);
        let mut builder = Builder::new();
        let opened = builder
            .set_cache_size(self.cache_bytes)
            .create_with_backend(backend);
        opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Locked {
                path: files.place().join(FILE),
            },
            other => failed(other),
        })
    }

    fn open_to_write(&self) -> Result<Database, StoreError> {
        self.durable()?;
        self.open_database(self.files.create(FILE).map_err(io)?)
    }

    fn open_to_read(&self) -> Result<Database, StoreError> {
        let file = self.files.open(FILE).map_err(io)?;
        let file = Overlay::over_read_only(file).map_err(io)?;
        self.open_database(Box::new(file))
    }

    /// How often it was opened anew so far, or was tried to be.
    pub fn times_opened(&self) -> u64 {
        self.opened.load(Ordering::Acquire)
    }

    /// Opens the file anew, to be written to. If it cannot be, or must not be since a sync of it failed, it is open to readers at best.
    pub fn open_again(&self) -> Result<(), StoreError> {
        let until = Instant::now() + LOCK_WAIT;
        loop {
            match self.try_to_open_again() {
                Err(StoreError::Locked { .. }) if Instant::now() < until => {
                    std::thread::sleep(LOOK);
                }
                Err(StoreError::Locked { .. }) => return Err(StoreError::Reopening),
                other => return other,
            }
        }
    }

    fn try_to_open_again(&self) -> Result<(), StoreError> {
        let mut handle = self.handle.write();
        if matches!(*handle, Handle::Closed) {
            return Err(StoreError::Closed);
        }
        // The file is to be closed first.
        *handle = Handle::Failed;
        self.opened.fetch_add(1, Ordering::AcqRel);
        match self.open_to_write() {
            Ok(database) => *handle = Handle::Open(Box::new(database)),
            Err(error @ StoreError::Locked { .. }) => return Err(error),
            Err(error) => {
                if let Ok(database) = self.open_to_read() {
                    *handle = Handle::ReadOnly(Box::new(database));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether there is a handle to read by. It may turn out to be useless.
    pub fn is_open(&self) -> bool {
        self.handle.read().for_reading().is_ok()
    }

    /// Keeps the file from being closed. Whoever has this must not ask for it again.
    pub fn hold(&self) -> Held<'_> {
        Held(self.handle.read())
    }

    pub fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        self.durable()?;
        let handle = self.handle.read();
        let mut write = handle.for_writing()?.begin_write().map_err(failed)?;
        write.set_quick_repair(true);
        Ok(write)
    }

    /// An error once a sync of the file has failed: it may show more than is on the disk.
    pub fn durable(&self) -> Result<(), StoreError> {
        if !self.not_synced.load(Ordering::Acquire) {
            return Ok(());
        }
        let source = std::io::Error::other("a sync failed");
        Err(StoreError::not_synced(FILE)(source))
    }

    /// Has redb bring the pages together, and give back the rest. Readers wait meanwhile. False if those that there were did not come to
    /// an end.
    pub fn bring_together(&self) -> Result<bool, StoreError> {
        let until = Instant::now() + READERS_WAIT;
        let Some(mut handle) = self.handle.try_write_until(until) else {
            return Ok(false);
        };
        let database = handle.for_writing_mut()?;
        loop {
            match database.compact() {
                Ok(true) => {}
                Ok(false) => return Ok(true),
                Err(CompactionError::TransactionInProgress) if Instant::now() < until => {
                    std::thread::sleep(LOOK);
                }
                Err(CompactionError::TransactionInProgress) => return Ok(false),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Has redb compare every page with its checksum. False if some do not match; the file is then of no more use.
    pub fn verify_pages(&self) -> Result<bool, StoreError> {
        let mut handle = self.handle.write();
        handle.for_writing_mut()?.check_integrity().map_err(failed)
    }

    /// Closes the file, so that it can be opened again at once, whoever still holds this handle.
    pub fn close(&self) {
        *self.handle.write() = Handle::Closed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Directory;

    #[test]
    fn it_is_not_closed_under_a_read() {
        let place = tempfile::tempdir().expect("a directory");
        let files: Arc<dyn Files> = Arc::new(Directory::new(place.path()));
        let file = RedbFile::open(&files, 0).expect("it opens");
        let held = file.hold();
        assert!(file.handle.try_write().is_none(), "it could be closed");
        let moment = held.begin_read().expect("it reads");
        drop(held);
        file.open_again().expect("a moment does not keep it");
        assert_eq!(file.times_opened(), 1);
        drop(moment);
    }
}
