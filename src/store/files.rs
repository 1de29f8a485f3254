//! Where `journal.log`, `store.redb` and the segments are: a directory, or whatever stands in for one.
//!
//! All files are opened through [`Files`] and reached through redb's `StorageBackend`. The broker uses a [`Directory`]; tests put
//! a simulated disk in its place, which loses power or fails on demand, under the real engine.
//!
//! Invariants: a file's name is durable only after [`Files::sync`]; two processes never have `store.redb` of one directory open,
//! since redb locks it through the backend.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// See the module.
pub trait Files: fmt::Debug + Send + Sync {
    /// Where that is, for messages.
    fn place(&self) -> &Path;

    /// Makes the place if it is not there, and its own name durable. Called once, before any file is opened.
    fn prepare(&self) -> io::Result<()>;

    /// Opens the file called `name`, empty if it is new.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

    /// Opens the file called `name`, to read it.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

    /// Removes the file called `name`. Whoever has it open keeps it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names of the files durable: a file's own sync does not cover its name.
    fn sync(&self) -> io::Result<()>;

    /// The names of the files.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Gives back what `ranges` of the file called `name` take on the disk; they read as zeros from then on, or as before. Not every
    /// file system can: then it is [`io::ErrorKind::Unsupported`].
    fn punch(&self, name: &str, ranges: &[Range<u64>]) -> io::Result<()> {
        let _ = (name, ranges);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Bytes of the file called `name`.
    fn length(&self, name: &str) -> io::Result<u64>;
}

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl Files for Directory {
    fn place(&self) -> &Path {
        &self.path
    }

    fn prepare(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        let parent = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(parent)?.sync_all()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        backend(options.open(self.path.join(name))?)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        backend(File::open(self.path.join(name))?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path)?;
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        entries.map(name).collect()
    }

    #[cfg(target_os = "linux")]
    fn punch(&self, name: &str, ranges: &[Range<u64>]) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            fallocate(&file, hole, range.start, range.end - range.start).map_err(|error| {
                let cannot = matches!(error, Errno::OPNOTSUPP | Errno::NOSYS);
                if cannot {
                    io::ErrorKind::Unsupported.into()
                } else {
                    io::Error::from(error)
                }
            })?;
        }
        Ok(())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        std::fs::metadata(self.path.join(name)).map(|about| about.len())
    }
}

pub(super) fn backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    let backend = FileBackend::new(file).map_err(|error| match error {
        DatabaseError::Storage(redb::StorageError::Io(error)) => error,
        other => io::Error::other(other),
    })?;
    Ok(Box::new(backend))
}

/// An open file as redb takes one.
#[derive(Debug)]
pub(super) struct Opened {
    file: Box<dyn StorageBackend>,
    /// Nothing can be in it: what is there was left by a creation that did not come to its end.
    may_be_unfinished: AtomicBool,
    /// Set once a sync fails.
    not_synced: Arc<AtomicBool>,
}

/// Bytes of redb's magic number, which it writes last when it creates a file.
const MAGIC_BYTES: usize = 9;

impl Opened {
    /// Of a file that was never committed to, if `may_be_unfinished`.
    /// `not_synced` is set once a sync fails.
    pub fn new(
        file: Box<dyn StorageBackend>,
        may_be_unfinished: bool,
        not_synced: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            file,
            may_be_unfinished: AtomicBool::new(may_be_unfinished),
            not_synced: Arc::clone(not_synced),
        }
    }

    /// Empties a file whose creation was cut off: redb takes such a file for none of its own.
    fn begin_anew(&self) -> io::Result<()> {
        let mut magic = [0; MAGIC_BYTES];
        let length = self.file.len()?;
        if length >= magic.len() as u64 {
            self.file.read(0, &mut magic)?;
        }
        if length > 0 && magic == [0; MAGIC_BYTES] {
            tracing::info!("the creation of the store was cut off: it is created anew");
            self.file.set_len(0)?;
        }
        Ok(())
    }
}

impl StorageBackend for Opened {
    /// redb asks this first, and only once it holds the lock of the file: so no other process is just creating it.
    fn len(&self) -> io::Result<u64> {
        if self.may_be_unfinished.swap(false, Ordering::AcqRel) {
            self.begin_anew()?;
        }
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// A failure is none of room, whatever the system says: what was written is in the system's memory, and may never reach the disk.
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(|error| {
            self.not_synced.store(true, Ordering::Release);
            io::Error::other(error)
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
