//! Rows that are committed and not in the store, or not out of memory yet: the budget of the hot tail and the work of the folder.
//!
//! The committer pushes, the folder takes; both under one lock, which `shared` holds. Invariant: what a row holds is counted from its
//! commit until the hot tails let go of it.

use std::collections::VecDeque;

use super::journal::Row;
use super::local::LocalOptions;

/// The least that a commit may bring however little memory is left: a sync should carry more than a few records.
const COMMIT_BYTES_LEAST: usize = 64 << 10;

/// Rows committed and not yet released from memory: the hot tail's budget and the folder's work.
#[derive(Debug, Default)]
pub(crate) struct Unfolded {
    /// Rows the folder has not taken. Committer pushes, folder pops.
    rows: VecDeque<Row>,
    /// Rows the folder has taken that are not in the store yet, for snapshots. Folder writes.
    taken: Vec<Row>,
    /// What those rows hold in memory.
    pub row_bytes: usize,
    /// What they take in the journal's file, where small commits take more than they hold.
    file_bytes: usize,
    /// The same of rows the folder has taken but that are still in memory.
    pub held_bytes: usize,
    /// The folder shall fold what there is and end.
    pub stop: bool,
    /// Why the folder cannot fold for now. Folder writes, committer reads.
    pub stuck: Option<String>,
}

impl Unfolded {
    /// Hands a row to the folder.
    pub fn push(&mut self, row: Row) {
        self.row_bytes += row.bytes_in_memory();
        self.file_bytes += row.bytes_in_file();
        self.rows.push_back(row);
    }

    /// Takes the oldest row.
    pub fn pop(&mut self) -> Option<Row> {
        let row = self.rows.pop_front()?;
        self.row_bytes -= row.bytes_in_memory();
        self.file_bytes -= row.bytes_in_file();
        self.taken.push(row.clone());
        Some(row)
    }

    /// Forgets the rows that the folder has taken: they are in the store.
    pub fn folded(&mut self) {
        self.taken = Vec::new();
    }

    /// The rows past the store's `watermark`, in order.
    pub fn past(&self, watermark: u64) -> impl Iterator<Item = &Row> {
        let rows = self.taken.iter().chain(&self.rows);
        rows.filter(move |row| row.number > watermark)
    }

    /// Enough is there for a fold, or the budget is spent: then a fold, even of nothing, makes room.
    pub fn wants_fold(&self, options: &LocalOptions) -> bool {
        self.row_bytes >= options.fold_bytes
            || self.file_bytes >= options.hot_tail_bytes_max
            || self.is_over(options)
    }

    /// How much the next commit may bring: less and less as the last quarter of the budget is used up, so that it lasts until the
    /// folder has made room. Else those who fill it would make everybody wait.
    pub fn commit_bytes(&self, options: &LocalOptions) -> usize {
        let most = options.commit_bytes_max;
        let used = self.row_bytes + self.held_bytes;
        let left = options.hot_tail_bytes_max.saturating_sub(used);
        let quarter = (options.hot_tail_bytes_max / 4).max(1);
        if left >= quarter {
            return most;
        }
        let part = most as u128 * left as u128 / quarter as u128;
        usize::try_from(part)
            .unwrap_or(most)
            .max(COMMIT_BYTES_LEAST.min(most))
    }

    /// More is in memory than may be, or twice that in the journal's file: appends wait.
    pub fn is_over(&self, options: &LocalOptions) -> bool {
        self.row_bytes + self.held_bytes > options.hot_tail_bytes_max
            || self.file_bytes > 2 * options.hot_tail_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::rules::RuleLimits;
    use crate::stream::QueueLimits;

    const KIB: usize = 1 << 10;

    fn options() -> LocalOptions {
        LocalOptions {
            files: None,
            rules: RuleLimits::default(),
            queues: QueueLimits {
                total_bytes_max: 1 << 20,
                stream_bytes_max: 1 << 20,
            },
            commit_bytes_max: 1024 * KIB,
            hot_tail_bytes_max: 16 << 20,
            fold_bytes: 4 << 20,
            fold_interval: Duration::from_secs(1),
            removals_per_fold: 1,
            segment_bytes: 1 << 20,
            store_cache_bytes: 1 << 20,
            memory_bytes_max: 1 << 20,
        }
    }

    /// With rows of `bytes` together.
    fn holding(bytes: usize) -> Unfolded {
        let mut unfolded = Unfolded::default();
        unfolded.push(Row::new(1, Bytes::from(vec![0; bytes])));
        unfolded
    }

    #[test]
    fn commits_get_smaller_over_the_last_quarter_of_the_budget() {
        let bytes = |mib: usize| holding(mib << 20).commit_bytes(&options());
        assert_eq!(bytes(0), 1024 * KIB);
        assert_eq!(bytes(12), 1024 * KIB);
        assert_eq!(bytes(14), 512 * KIB);
        assert_eq!(bytes(15), 256 * KIB);
        assert_eq!(bytes(16), COMMIT_BYTES_LEAST);
        assert_eq!(bytes(40), COMMIT_BYTES_LEAST);
    }

    #[test]
    fn rows_that_are_folded_count_until_they_leave_memory() {
        let mut unfolded = holding(15 << 20);
        let row = unfolded.pop().unwrap();
        unfolded.held_bytes += row.bytes_in_memory();
        assert_eq!(unfolded.commit_bytes(&options()), 256 * KIB);
    }

    #[test]
    fn a_small_limit_of_commits_is_never_exceeded() {
        let small = LocalOptions {
            commit_bytes_max: 4 * KIB,
            ..options()
        };
        assert_eq!(holding(40 << 20).commit_bytes(&small), 4 * KIB);
    }
}
