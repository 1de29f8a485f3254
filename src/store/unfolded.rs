//! Rows that are committed and not in the store, or not out of memory yet: the budget of the hot tail and the work of the folder.
//!
//! The committer pushes, the folder takes; both under one lock, which `shared` holds. Invariant: what a row holds is counted from its
//! commit until the hot tails let go of it.

use std::collections::VecDeque;

use super::journal::Row;
use super::local::LocalOptions;
use crate::stream::{Allowance, QueueKind, kept_for_short};

/// The least that a commit may bring however small the budget is: a sync should carry more than a few records.
const COMMIT_BYTES_LEAST: usize = 64 << 10;

/// What is kept for short queues: less than a fold makes room for, so that long ones get on.
fn kept(options: &LocalOptions) -> usize {
    kept_for_short(options.hot_tail_bytes_max).min(options.fold_bytes / 2)
}

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
    /// Writes are refused for lack of room: the folder shall make some. Committer writes, folder reads.
    pub full: bool,
    /// Long queues are beside [light](crate::stream::QueueKind::Light) ones: a fold shall not keep the disk busy for long. Committer writes,
    /// folder reads.
    pub beside_light: bool,
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

    /// Forgets the rows up to `last`, which the folder has taken: they are in the store.
    pub fn folded(&mut self, last: u64) {
        self.taken.retain(|row| row.number > last);
        if self.taken.is_empty() {
            self.taken = Vec::new();
        }
    }

    /// The rows past the store's `watermark`, in order.
    pub fn past(&self, watermark: u64) -> impl Iterator<Item = &Row> {
        let rows = self.taken.iter().chain(&self.rows);
        rows.filter(move |row| row.number > watermark)
    }

    /// Enough is there for a fold, or the budget is nearly spent: then a fold, even of nothing, makes room.
    pub fn wants_fold(&self, options: &LocalOptions) -> bool {
        self.row_bytes >= options.fold_bytes
            || self.file_bytes >= options.hot_tail_bytes_max
            || self.is_nearly_over(options)
    }

    /// What the next commit may bring. The last part of the budget is for short queues, half of that for light ones: others, which filled the
    /// rest, wait for the folder, unless it is stuck.
    pub fn allowance(&self, options: &LocalOptions) -> Allowance {
        // One commit shall not use up what is kept.
        let bytes_max = (kept(options) / 2).max(COMMIT_BYTES_LEAST);
        Allowance {
            bytes_max: options.commit_bytes_max.min(bytes_max),
            streams_max: usize::MAX,
            heaviest: self.heaviest(options),
        }
    }

    fn heaviest(&self, options: &LocalOptions) -> QueueKind {
        let left = |kept: usize| {
            let held = self.row_bytes + self.held_bytes;
            held <= options.hot_tail_bytes_max - kept
        };
        if self.stuck.is_some() || left(kept(options)) {
            QueueKind::Long
        } else if left(kept(options) / 2) {
            QueueKind::Short
        } else {
            QueueKind::Light
        }
    }

    /// Only what is kept for short queues is left.
    fn is_nearly_over(&self, options: &LocalOptions) -> bool {
        self.row_bytes + self.held_bytes > options.hot_tail_bytes_max - kept(options)
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
            commit_bytes_max: 512 * KIB,
            hot_tail_bytes_max: 16 << 20,
            fold_bytes: 4 << 20,
            fold_interval: Duration::from_secs(1),
            removals_per_fold: 1,
            segment_bytes: 1 << 20,
            reserve_bytes: 0,
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

    fn heaviest(unfolded: &Unfolded) -> QueueKind {
        unfolded.allowance(&options()).heaviest
    }

    #[test]
    fn the_last_eighth_is_for_short_queues_and_half_of_it_for_light_ones() {
        assert_eq!(heaviest(&holding(14 << 20)), QueueKind::Long);
        let nearly = holding((14 << 20) + 1);
        assert_eq!(heaviest(&nearly), QueueKind::Short);
        assert!(nearly.wants_fold(&options()) && !nearly.is_over(&options()));
        assert_eq!(heaviest(&holding(15 << 20)), QueueKind::Short);
        assert_eq!(heaviest(&holding((15 << 20) + 1)), QueueKind::Light);
    }

    #[test]
    fn rows_that_are_folded_count_until_they_leave_memory() {
        let mut unfolded = holding(15 << 20);
        let row = unfolded.pop().unwrap();
        unfolded.held_bytes += row.bytes_in_memory();
        assert_eq!(heaviest(&unfolded), QueueKind::Short);
        assert!(unfolded.wants_fold(&options()));
    }

    #[test]
    fn one_commit_does_not_use_up_what_is_kept() {
        let large = LocalOptions {
            commit_bytes_max: 8 << 20,
            ..options()
        };
        let unfolded = Unfolded::default();
        assert_eq!(unfolded.allowance(&large).bytes_max, 1024 * KIB);
        assert_eq!(unfolded.allowance(&options()).bytes_max, 512 * KIB);
    }

    #[test]
    fn nobody_waits_for_a_folder_that_is_stuck() {
        let mut unfolded = holding(15 << 20);
        unfolded.stuck = Some("no room".to_owned());
        assert_eq!(heaviest(&unfolded), QueueKind::Long);
    }
}
