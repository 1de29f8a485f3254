//! A data directory that is looked at and never written to: what the engine writes while it opens the files stays in memory.
//!
//! For whoever examines or copies a directory that no broker serves: opening the engine's files the usual way may repair them, sync
//! them and remove what a crash left, and a damaged directory is evidence. Here a write changes a copy of its block that only this
//! handle sees, and a removal does nothing.
//!
//! Invariants: no byte, length or name on disk changes. `store.redb` is locked as a broker locks it, so neither runs beside the other.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::files::{Directory, Files};

/// What is copied when some of it is written to.
const BLOCK_BYTES: u64 = 4096;

/// See the module.
#[derive(Clone, Debug)]
pub struct Looking {
    directory: Directory,
}

impl Looking {
    /// At the directory at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            directory: Directory::new(path),
        }
    }
}

impl Files for Looking {
    fn place(&self) -> &Path {
        self.directory.place()
    }

    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(Overlay::over(&self.place().join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.directory.open(name)
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.directory.names()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.directory.length(name)
    }
}

/// A file, and what was written over it.
#[derive(Debug)]
struct Overlay {
    file: FileBackend,
    /// An exclusive lock takes a file that may be written to: without the right to do so, a shared one keeps writers out as well.
    may_lock: bool,
    written: RwLock<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// How much of the file still shows: a file that was cut and grew again is zeros from there on.
    shown: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    fn over(path: &Path) -> io::Result<Self> {
        let for_lock = OpenOptions::new().read(true).write(true).open(path);
        let may_lock = for_lock.is_ok();
        let file = match for_lock {
            Err(error) if error.kind() != io::ErrorKind::NotFound => File::open(path)?,
            other => other?,
        };
        let file = FileBackend::new(file).map_err(io::Error::other)?;
        let length = file.len()?;
        let written = Written {
            length,
            shown: length,
            blocks: BTreeMap::new(),
        };
        Ok(Self {
            file,
            may_lock,
            written: RwLock::new(written),
        })
    }

    /// The block at `start` as this handle sees it.
    fn block(&self, written: &Written, start: u64) -> io::Result<Vec<u8>> {
        if let Some(block) = written.blocks.get(&start) {
            return Ok(block.clone());
        }
        let mut block = vec![0; size(BLOCK_BYTES)];
        let there = written.shown.saturating_sub(start).min(BLOCK_BYTES);
        if let Some(there) = block.get_mut(..size(there)) {
            self.file.read(start, there)?;
        }
        Ok(block)
    }
}

/// Goes through the blocks under `bytes` bytes at `offset`: where each begins, the range within it, and the range of the bytes.
fn pieces(
    offset: u64,
    bytes: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let end = offset + bytes as u64;
    let first = offset - offset % BLOCK_BYTES;
    (first..end).step_by(size(BLOCK_BYTES)).map(move |start| {
        let (from, to) = (offset.max(start), end.min(start + BLOCK_BYTES));
        let within = size(from - start)..size(to - start);
        (start, within, size(from - offset)..size(to - offset))
    })
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn past_the_end() -> io::Error {
    io::Error::from(io::ErrorKind::UnexpectedEof)
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.read().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written.read();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > written.length) {
            return Err(past_the_end());
        }
        if written.blocks.is_empty() && end.is_some_and(|end| end <= written.shown) {
            return self.file.read(offset, out);
        }
        for (start, within, part) in pieces(offset, out.len()) {
            let block = self.block(&written, start)?;
            if let (Some(to), Some(from)) = (out.get_mut(part), block.get(within)) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written.write();
        written.length = len;
        written.shown = written.shown.min(len);
        written.blocks.retain(|start, _| *start < len);
        let cut = len - len % BLOCK_BYTES;
        if let Some(last) = written.blocks.get_mut(&cut) {
            last.truncate(size(len - cut));
            last.resize(size(BLOCK_BYTES), 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written.write();
        for (start, within, part) in pieces(offset, data.len()) {
            let mut block = self.block(&written, start)?;
            if let (Some(to), Some(from)) = (block.get_mut(within), data.get(part)) {
                to.copy_from_slice(from);
            }
            written.blocks.insert(start, block);
        }
        written.length = written.length.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.may_lock {
            return self.file.try_lock_range(start, end);
        }
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.may_lock {
            return self.file.lock_range(start, end);
        }
        self.file.lock_shared_range(start, end)
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
