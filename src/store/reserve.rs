//! Room on the disk that is kept for what makes room: a file of zeros, let go of when the disk is full and made again before writes are
//! taken again.
//!
//! A disk that is full to the last block cannot even forget: a removal is a row in the journal, and a fold that clears away after it
//! writes pages. While the reserve is spent, only removals are committed, and folds go in small steps (`folder`, `room`).
//!
//! Invariants: nothing is ever read from it. Where it cannot be made for another reason than room, the store does without.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::error::{StoreError, is_lack_of_room};
use super::files::Files;

/// File name within the data directory.
pub(super) const FILE: &str = "reserve";

/// Bytes handed to the file at a time.
const WRITE_BYTES: u64 = 256 << 10;

/// See the module. Committer and folder share it.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// `None` for a store that keeps everything in memory.
    files: Option<Arc<dyn Files>>,
    bytes: u64,
    whole: Mutex<bool>,
}

impl Reserve {
    /// One of `bytes` bytes among `files`, which is yet to be made.
    pub fn new(files: Option<Arc<dyn Files>>, bytes: u64) -> Self {
        let files = files.filter(|_| bytes > 0);
        Self {
            whole: Mutex::new(files.is_none()),
            files,
            bytes,
        }
    }

    /// A small part of it.
    pub fn part(&self) -> usize {
        usize::try_from(self.bytes / 4).unwrap_or(usize::MAX)
    }

    /// Whether it is there.
    pub fn is_whole(&self) -> bool {
        *self.whole.lock()
    }

    /// Makes it, if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there is no room for all of it: then nothing of it is taken.
    pub fn keep(&self) -> Result<(), StoreError> {
        let mut whole = self.whole.lock();
        let Some(files) = self.files.as_ref().filter(|_| !*whole) else {
            return Ok(());
        };
        match self.fill(&**files) {
            Err(source) if is_lack_of_room(&source) => {
                empty(&**files);
                return Err(StoreError::Full { file: FILE, source });
            }
            Err(error) => tracing::warn!(%error, "no room is kept for removals on a full disk"),
            Ok(()) => {}
        }
        *whole = true;
        Ok(())
    }

    /// Gives its room away, until it is made again.
    pub fn spend(&self) {
        let mut whole = self.whole.lock();
        if let Some(files) = self.files.as_ref().filter(|_| *whole) {
            tracing::warn!("the disk is full: the reserve is spent on removals");
            empty(&**files);
            *whole = false;
        }
    }

    /// Writes it from end to end, whatever is there: its length alone is no promise of room.
    fn fill(&self, files: &dyn Files) -> io::Result<()> {
        let file = files.create(FILE)?;
        let zeros = vec![0; usize::try_from(self.bytes.min(WRITE_BYTES)).unwrap_or(0)];
        let filled = (0..self.bytes).step_by(zeros.len()).try_for_each(|at| {
            let now = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
            file.write(at, zeros.get(..now).unwrap_or(&zeros))
        });
        filled.and(close(&*file))
    }
}

fn empty(files: &dyn Files) {
    let emptied = files.create(FILE).and_then(|file| {
        file.set_len(0)?;
        close(&*file)
    });
    if let Err(error) = emptied {
        tracing::warn!(%error, "the reserve cannot be let go of");
    }
}

fn close(file: &dyn StorageBackend) -> io::Result<()> {
    file.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Directory;

    #[test]
    fn it_takes_its_room_until_it_is_spent_and_again_when_it_is_kept() {
        let place = tempfile::tempdir().expect("a directory");
        let files: Arc<dyn Files> = Arc::new(Directory::new(place.path()));
        let reserve = Reserve::new(Some(Arc::clone(&files)), WRITE_BYTES * 3 / 2);
        assert!(!reserve.is_whole());
        for _ in 0..2 {
            reserve.keep().expect("there is room");
            assert!(reserve.is_whole());
            assert_eq!(
                files.length(FILE).expect("it is there"),
                WRITE_BYTES * 3 / 2
            );
            reserve.spend();
            assert!(!reserve.is_whole());
            assert_eq!(files.length(FILE).expect("it is there"), 0);
        }
    }

    #[test]
    fn a_store_in_memory_needs_none() {
        let reserve = Reserve::new(None, 1 << 20);
        assert!(reserve.is_whole());
        reserve.spend();
        assert!(reserve.is_whole());
    }
}
