//! Room that the store's files take and do not need, given back while it serves.
//!
//! Compaction empties segments, but never the last one; and redb's file does not get smaller by itself. So when a removal is over, of
//! streams or of what retention trimmed, both are looked at: a last segment of which half is dead is ended, so that
//! compaction can empty it, and redb brings its file together if less than half of it holds anything. The folder calls this between folds.
//!
//! Invariants: looks take at most a hundredth of the time, since each may go through all of redb's file; nothing is brought together under a snapshot. Who
//! calls this sees to it that the disk is not full: things are moved before anything is given back.

use std::time::{Duration, Instant};

use super::chunks::ChunkStore;
use super::error::StoreError;

/// After a look it rests for so many times as long as that took,
const REST: u32 = 100;

/// but at least for this long.
const REST_LEAST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Slack {
    /// Something was removed since the last look.
    pub removed: bool,
    rests: Option<Instant>,
}

impl Slack {
    /// After a fold, which has left more to remove or not. True if the next one shall begin a new segment.
    pub fn give_back(&mut self, store: &ChunkStore, leftovers: bool) -> Result<bool, StoreError> {
        if leftovers || !self.removed || store.segments.are_pinned() {
            return Ok(false);
        }
        let begun = Instant::now();
        if self.rests.is_some_and(|until| begun < until) {
            return Ok(false);
        }
        self.removed = store.is_half_empty()? && !store.bring_together()?;
        let took = begun.elapsed();
        tracing::debug!(?took, "looked for room that is not needed");
        self.rests = Some(begun + (took * REST).max(REST_LEAST));
        store.last_segment_is_half_dead()
    }
}
