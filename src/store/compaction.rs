//! Which segment is emptied next, and how far that is. A few MiB with each fold, so that writers hardly notice.
//!
//! A segment of which half is dead is a victim: what is alive in it moves behind the newest chunks, and then the file goes. So
//! segments take at most twice what is alive, and the one being written.

use std::collections::BTreeSet;

use redb::ReadableTable;

use super::chunks::failed;
use super::error::StoreError;

/// What one fold moves at most, but for the last chunk.
pub(super) const MOVED_BYTES_MAX: u64 = 4 << 20;

/// The folder's memory of it: nothing here is needed after a restart.
#[derive(Clone, Debug, Default)]
pub(super) struct Compaction {
    /// Segment under way, and what of it has been gone through.
    pub at: Option<(u32, u64)>,
    /// Segments that were gone through: one that is still there holds something damaged, and stays.
    pub passed: BTreeSet<u32>,
}

impl Compaction {
    /// Notes that `segments` are no more.
    pub fn forget(&mut self, segments: &[u32]) {
        for number in segments {
            self.passed.remove(number);
        }
    }

    /// The segment under way, or the next victim, and where to go on in it.
    pub fn next(
        &self,
        accounts: &impl ReadableTable<u32, (u64, u64)>,
    ) -> Result<Option<(u32, u64)>, StoreError> {
        if self.at.is_some() {
            return Ok(self.at);
        }
        let last = accounts.last().map_err(failed)?;
        let Some(last) = last.map(|(number, _)| number.value()) else {
            return Ok(None);
        };
        for row in accounts.range(..last).map_err(failed)? {
            let (number, account) = row.map_err(failed)?;
            let (number, (bytes, dead)) = (number.value(), account.value());
            if dead >= bytes.div_ceil(2) && !self.passed.contains(&number) {
                return Ok(Some((number, 0)));
            }
        }
        Ok(None)
    }
}
