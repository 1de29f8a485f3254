//! A file, and what was written over it: only this handle sees that, and no byte of the file changes.
//!
//! Opening a redb file writes to it, also for who only reads. This lets files be read that must not be written to
//! ([`super::looking`]), or cannot be ([`super::redb_file`]).
//!
//! Invariant: what is written stays in memory, block by block. So it is for who writes next to nothing.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, Range};

use parking_lot::RwLock;
use redb::{BackendError, StorageBackend};

/// What is copied when some of it is written to.
const BLOCK_BYTES: u64 = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct Overlay {
    file: Box<dyn StorageBackend>,
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
    /// Over `file`, which could be written to.
    pub fn over(file: Box<dyn StorageBackend>) -> io::Result<Self> {
        Self::new(file, true)
    }

    /// Over `file`, which was opened to be read.
    pub fn over_read_only(file: Box<dyn StorageBackend>) -> io::Result<Self> {
        Self::new(file, false)
    }

    fn new(file: Box<dyn StorageBackend>, may_lock: bool) -> io::Result<Self> {
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
fn pieces(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
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
