//! The open `store.redb`, as far as redb's handle of it goes: an operation that fails makes a handle useless to all, and then the file is
//! opened anew.
//!
//! Opening writes to the file, and so needs a disk that takes writes. Where it takes none, be it full or broken, the file is opened
//! under an [`Overlay`], to be read from.
//!
//! Invariants: no transaction that writes begins on a file whose sync failed, nor under an overlay. The file is open once at most, and
//! nobody reads by a handle that was left: redb does not hold up its pages for that, so what is read could be what came after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redb::{
    Builder, CompactionError, Database, DatabaseError, ReadTransaction, ReadableDatabase,
    WriteTransaction,
};

use super::chunks::{FILE, failed};
use super::error::StoreError;
use super::files::{Files, Opened};
use super::overlay::Overlay;
use super::{journal, segments};

/// How long whoever has a snapshot may take to let go of it before the file is opened anew.
const SNAPSHOTS_WAIT: Duration = Duration::from_secs(1);

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

/// See the module.
#[derive(Debug)]
pub(super) struct RedbFile {
    handle: RwLock<Handle>,
    /// How often it was opened.
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
        let database = file.open_database(false)?;
        *file.handle.write() = Handle::Open(Box::new(database));
        Ok(file)
    }

    fn open_database(&self, under_an_overlay: bool) -> Result<Database, StoreError> {
        let io = |source| StoreError::Io { file: FILE, source };
        let mut file = self.files.create(FILE).map_err(io)?;
        if under_an_overlay {
            file = Box::new(Overlay::over(file).map_err(io)?);
        }
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

    /// How often it was opened anew so far.
    pub fn times_opened(&self) -> u64 {
        self.opened.load(Ordering::Acquire)
    }

    /// Opens the file anew, to be written to. If it cannot be, it is open to readers at best.
    pub fn open_again(&self) -> Result<(), StoreError> {
        let until = Instant::now() + SNAPSHOTS_WAIT;
        loop {
            match self.try_to_open_again() {
                // By ourselves: somebody has not let go of a snapshot yet.
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
        let opened = self.open_database(false);
        self.opened.fetch_add(1, Ordering::AcqRel);
        match opened {
            Ok(database) => *handle = Handle::Open(Box::new(database)),
            Err(error @ StoreError::Locked { .. }) => return Err(error),
            Err(error) => {
                if let Ok(database) = self.open_database(true) {
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

    /// What `read` finds at one moment. The file is not opened anew meanwhile; `read` must not ask for another moment.
    pub fn reading<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let handle = self.handle.read();
        read(&handle.for_reading()?.begin_read().map_err(failed)?)
    }

    /// A moment for long. Who holds it counts what was read by it for nothing if the file was opened anew meanwhile.
    pub fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        let handle = self.handle.read();
        handle.for_reading()?.begin_read().map_err(failed)
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
        let read = file.reading(|_| Ok(file.handle.try_write().is_none()));
        assert!(read.expect("it reads"), "it could be closed");
        let held = file.begin_read().expect("a snapshot");
        file.open_again().expect("it opens again");
        assert_eq!(file.times_opened(), 1);
        drop(held);
    }
}
