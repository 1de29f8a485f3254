//! The folder: the thread that moves journal rows into the store, in bulk.
//!
//! It takes committed rows once there are enough of them, or after a while with any, and writes them as one transaction
//! ([`super::fold`]). Rows stay in memory for one more fold, so that subscribers a little behind do not meet the disk at
//! each fold; then the hot tails let go of them, and streams nobody uses leave memory.
//!
//! A fold without room is tried again. Once writes are refused for that, it is tried in the room of the
//! [`reserve`](super::reserve), in small steps: each gives back in the journal what it took in the store, so all that waits can be folded
//! on a full disk, removals as well; and what they leave dead is given back ([`super::holes`]).
//!
//! Invariants: rows are folded in order, each once, since the watermark commits with them; a row leaves memory only after
//! the fold that holds it is durable. Any failure but lack of room is a sticky fault, like that of a commit. While the reserve is not
//! whole, folds are small and move nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::chunks::ChunkStore;
use super::codec;
use super::compaction::Compaction;
use super::error::StoreError;
use super::fold::Fold;
use super::holes::Holes;
use super::journal::{self, Row};
use super::segments::Syncs;
use super::shared::Shared;
use super::slack::Slack;
use crate::types::StreamName;

/// Between folds that do nothing but remove: writers come first.
const LEFTOVERS_PAUSE: Duration = Duration::from_millis(50);

/// Between tries to fold on a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// How long compaction rests after there was no room for a fold: it takes room before it makes any.
const COMPACTION_PAUSE: Duration = Duration::from_secs(5);

/// How long the committer may take to give back what a step has folded.
const STEP_PAUSE: Duration = Duration::from_secs(1);

/// How often a fold is begun anew because the handle was useless.
const STALE_TRIES: usize = 8;

/// What has been folded and is still in memory.
#[derive(Debug, Default)]
struct Held {
    streams: Vec<StreamName>,
    last_row: u64,
    bytes: usize,
}

/// See the module.
pub(super) struct Folder {
    shared: Arc<Shared>,
    held: Held,
    /// The last fold left something to remove or to move: the next one does not wait for anything to fold.
    leftovers: bool,
    compaction: Compaction,
    /// Until when nothing is moved.
    rests: Option<Instant>,
    holes: Holes,
    slack: Slack,
    /// The next fold begins a new segment.
    begins_segment: bool,
}

impl Folder {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            held: Held::default(),
            leftovers: false,
            compaction: Compaction::default(),
            rests: None,
            holes: Holes::default(),
            slack: Slack::default(),
            begins_segment: false,
        }
    }

    /// Runs until told to stop and everything is folded, or until the store fails.
    pub fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let Some(chunks) = &shared.chunks else { return };
        self.leftovers = chunks.has_leftovers().unwrap_or_else(|error| {
            tracing::warn!(%error, "what is left to remove could not be read; the next fold looks again");
            true
        });
        loop {
            let (rows, stop) = self.next_rows();
            if shared.faulted().is_some() || (rows.is_empty() && stop) {
                return;
            }
            match self.fold_at_last(chunks, rows) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return shared.fault(&error),
            }
            if let Err(error) = self.give_back_slack(chunks) {
                return shared.fault(&error);
            }
            shared.measure_files();
            shared
                .registry
                .sweep(shared.released.load(Ordering::Acquire));
            shared
                .metrics
                .resident_streams
                .set(shared.registry.len() as u64);
        }
    }

    /// Waits for enough rows, or for the idle interval to pass. Says whether the folder shall stop once none are left.
    fn next_rows(&self) -> (Vec<Row>, bool) {
        let options = &self.shared.options;
        let mut unfolded = self.shared.unfolded.lock();
        let interval = if self.leftovers || unfolded.full {
            LEFTOVERS_PAUSE.min(options.fold_interval)
        } else {
            options.fold_interval
        };
        let was_full = unfolded.full;
        while !unfolded.wants_fold(options) && !unfolded.stop && unfolded.full == was_full {
            let waited = self
                .shared
                .unfolded_changed
                .wait_for(&mut unfolded, interval);
            if waited.timed_out() || self.shared.faulted().is_some() {
                break;
            }
        }
        let mut rows = Vec::new();
        let mut bytes = 0;
        while bytes < options.fold_bytes {
            let Some(row) = unfolded.pop() else {
                break;
            };
            bytes += row.bytes_in_memory();
            rows.push(row);
        }
        unfolded.held_bytes += bytes;
        (rows, unfolded.stop)
    }

    /// Folds `rows`, as often as it takes while the disk is full. Rows stay in the journal until that has been done, so it may also be
    /// left to the next start: false if that is how it ends.
    fn fold_at_last(
        &mut self,
        chunks: &ChunkStore,
        mut rows: Vec<Row>,
    ) -> Result<bool, StoreError> {
        let mut again = false;
        let mut stale = 0;
        loop {
            let opened = if again {
                self.open_again(chunks, &mut rows)
            } else {
                Ok(())
            };
            let Err(error) = opened.and_then(|()| self.fold_all(chunks, &mut rows)) else {
                self.stuck(None);
                return Ok(true);
            };
            again = true;
            // A reader's failure makes the handle useless for a fold as well.
            if error.is_stale_handle() && stale < STALE_TRIES {
                stale += 1;
                continue;
            }
            stale = 0;
            if !error.is_lack_of_room() {
                return Err(error);
            }
            tracing::warn!(%error, "no room to fold; it is tried again");
            self.rests = Some(Instant::now() + COMPACTION_PAUSE);
            self.stuck(Some(error.to_string()));
            // Readers go on with what is open until then: a disk without any room may not let it be opened again.
            if self.pause() {
                return Ok(false);
            }
            self.spend_if_full();
        }
    }

    /// Lets go of the reserve if writes are refused for lack of room.
    fn spend_if_full(&self) {
        let full = self.shared.unfolded.lock().full;
        if full {
            self.shared.reserve.spend();
        }
    }

    /// Folds all of `rows`: at once, or step by step in the room of the reserve.
    fn fold_all(&mut self, chunks: &ChunkStore, rows: &mut Vec<Row>) -> Result<(), StoreError> {
        loop {
            let count = self.step(rows);
            self.fold(chunks, rows.get(..count).unwrap_or_default())?;
            rows.drain(..count);
            self.give_back(chunks)?;
            if rows.is_empty() {
                return Ok(());
            }
        }
    }

    /// How many of `rows` are folded at a time.
    fn step(&self, rows: &[Row]) -> usize {
        if self.shared.reserve.is_whole() {
            return rows.len();
        }
        let mut left = self.shared.reserve.part();
        let fits = |row: &&Row| {
            let fits = row.bytes.len() <= left;
            left = left.saturating_sub(row.bytes.len());
            fits
        };
        rows.iter().take_while(fits).count().max(1).min(rows.len())
    }

    /// Whether nothing is moved for now.
    fn rests(&mut self) -> bool {
        let now = Instant::now();
        if !self.shared.reserve.is_whole() {
            self.rests = Some(now + COMPACTION_PAUSE);
        }
        let Some(until) = self.rests else {
            return false;
        };
        if now >= until {
            self.rests = None;
            // There may be something that was left.
            self.leftovers = true;
        }
        now < until
    }

    /// Gives back what the files do not need, if there is room to do it.
    fn give_back_slack(&mut self, chunks: &ChunkStore) -> Result<(), StoreError> {
        if self.rests() || self.shared.is_stopping() {
            return Ok(());
        }
        match self.slack.give_back(chunks, self.leftovers) {
            Ok(begins_segment) => self.begins_segment = begins_segment,
            Err(error) if error.is_lack_of_room() || error.is_stale_handle() => {
                tracing::warn!(%error, "the store keeps room that it does not need");
                self.rests = Some(Instant::now() + COMPACTION_PAUSE);
            }
            Err(error) => return Err(error),
        }
        self.leftovers |= self.begins_segment;
        Ok(())
    }

    /// While writes are refused for lack of room: gives back what this fold made dead, here and in the journal.
    fn give_back(&mut self, chunks: &ChunkStore) -> Result<(), StoreError> {
        if !self.shared.unfolded.lock().full {
            return Ok(());
        }
        self.holes.give_back(chunks)?;
        let until = Instant::now() + STEP_PAUSE;
        let shared = &self.shared;
        let watermark = shared.watermark.load(Ordering::Acquire);
        shared.queues.kick();
        let mut unfolded = shared.unfolded.lock();
        while unfolded.full && shared.given_back.load(Ordering::Acquire) < watermark {
            let changed = &shared.unfolded_changed;
            if unfolded.stop || changed.wait_until(&mut unfolded, until).timed_out() {
                break;
            }
        }
        Ok(())
    }

    /// Opens the store anew after a fold failed, which may need room itself. Those of `rows` that are in it all the same are folded.
    fn open_again(&mut self, chunks: &ChunkStore, rows: &mut Vec<Row>) -> Result<(), StoreError> {
        chunks.reopen()?;
        let watermark = chunks.facts()?.watermark;
        let folded = rows.partition_point(|row| row.number <= watermark);
        match names(chunks, rows.get(..folded).unwrap_or_default()) {
            Ok(streams) => self.held.streams.extend(streams),
            Err(error) => tracing::warn!(%error, "streams that are folded stay in memory longer"),
        }
        if folded > 0 {
            // What that fold found to be left is not known.
            self.leftovers = true;
            self.slack.removed = true;
        }
        for row in rows.drain(..folded) {
            self.held.bytes += row.bytes_in_memory();
            self.held.last_row = row.number;
        }
        self.shared.watermark.fetch_max(watermark, Ordering::AcqRel);
        Ok(())
    }

    /// Tells the committer why rows are not folded, or that they are.
    fn stuck(&self, reason: Option<String>) {
        let mut unfolded = self.shared.unfolded.lock();
        if unfolded.stuck != reason {
            unfolded.stuck = reason;
            drop(unfolded);
            self.shared.unfolded_changed.notify_all();
            self.shared.queues.kick();
        }
    }

    /// Lets some time pass; true if the folder shall end instead.
    fn pause(&self) -> bool {
        let until = Instant::now() + FULL_PAUSE;
        let mut unfolded = self.shared.unfolded.lock();
        while !unfolded.stop && self.shared.faulted().is_none() {
            let changed = &self.shared.unfolded_changed;
            if changed.wait_until(&mut unfolded, until).timed_out() {
                return false;
            }
        }
        true
    }

    fn fold(&mut self, chunks: &ChunkStore, rows: &[Row]) -> Result<(), StoreError> {
        let mut folded = Held::default();
        let rests = self.rests();
        if !rows.is_empty() || self.leftovers {
            let begun = Instant::now();
            let mut fold = Fold::synced(self.syncs())
                .moving_nothing(rests)
                .beginning_segment(self.begins_segment);
            for row in rows {
                fold.add(row)?;
                folded.bytes += row.bytes_in_memory();
            }
            folded.last_row = rows.last().map_or(self.held.last_row, |last| last.number);
            let removals_max = self.shared.options.removals_per_fold;
            let written = fold.write(chunks, removals_max, self.compaction.clone())?;
            folded.streams = written.names;
            self.slack.removed |= written.removed;
            self.begins_segment = false;
            (self.leftovers, self.compaction) = (written.leftovers, written.compaction);
            self.shared
                .watermark
                .fetch_max(folded.last_row, Ordering::AcqRel);
            self.shared.metrics.folds.increment(1);
            self.shared.metrics.fsyncs.increment(written.syncs);
            self.shared
                .metrics
                .fold_seconds
                .record_duration(begun.elapsed());
        }
        self.release(folded);
        Ok(())
    }

    /// Commits go before a fold, unless the next one is due already: then they would soon wait for it. Those of light queues would not.
    fn syncs(&self) -> Syncs {
        let unfolded = self.shared.unfolded.lock();
        if unfolded.wants_fold(&self.shared.options) && !unfolded.beside_light {
            Syncs::AtTheEnd
        } else {
            Syncs::AsItGoes
        }
    }

    /// Lets go of the fold before this one.
    fn release(&mut self, folded: Held) {
        let before = std::mem::replace(&mut self.held, folded);
        for name in &before.streams {
            if let Some(stream) = self.shared.registry.get(name.as_str()) {
                stream.live().release(before.last_row);
            }
        }
        self.shared
            .released
            .fetch_max(before.last_row, Ordering::AcqRel);
        let mut unfolded = self.shared.unfolded.lock();
        unfolded.folded(self.shared.watermark.load(Ordering::Acquire));
        unfolded.held_bytes -= before.bytes;
        self.shared
            .metrics
            .hot_tail_bytes
            .set((unfolded.row_bytes + unfolded.held_bytes) as u64);
        drop(unfolded);
        self.shared.unfolded_changed.notify_all();
        self.shared.queues.kick();
    }
}

/// The streams that `rows` are of and that are there.
fn names(chunks: &ChunkStore, rows: &[Row]) -> Result<Vec<StreamName>, StoreError> {
    let corrupt = |source| StoreError::Corrupt {
        file: journal::FILE,
        source,
    };
    let mut ids = BTreeSet::new();
    for row in rows {
        for entry in codec::entries(&row.bytes).map_err(corrupt)? {
            ids.insert(entry.map_err(corrupt)?.0);
        }
    }
    let names = ids.into_iter().map(|id| chunks.name_of(id));
    names.filter_map(Result::transpose).collect()
}
