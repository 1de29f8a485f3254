//! Which streams changed: filled by the committers, emptied by the dispatcher.
//!
//! A set, so that a busy stream is one entry however often it changes; bounded, so that beyond [`NAMES_MAX`] it holds no names
//! any more but says "look at everything". While nobody subscribes it takes nothing, and costs a committer one atomic load.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::stream::Feed;
use crate::types::StreamName;

/// Most names held; beyond, all streams are looked at.
const NAMES_MAX: usize = 16_384;

/// What changed since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// These streams.
    pub(super) names: HashSet<StreamName>,
    /// More than can be named.
    pub(super) all: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ChangeSet {
    active: AtomicBool,
    changed: Mutex<Changed>,
    rung: Notify,
}

impl ChangeSet {
    /// Takes changes from now on, or no longer.
    pub(super) fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::SeqCst);
    }

    /// What changed since the last call.
    pub(super) fn take(&self) -> Changed {
        std::mem::take(&mut *self.changed.lock())
    }

    /// Whether there is something to look at.
    pub(super) fn has_changed(&self) -> bool {
        let changed = self.changed.lock();
        changed.all || !changed.names.is_empty()
    }

    /// Has everything looked at.
    pub(super) fn mark_all(&self) {
        self.changed.lock().all = true;
        self.rung.notify_one();
    }

    /// Waits until something may have changed. A call that is cancelled may take the wake-up with it: ask
    /// [`ChangeSet::has_changed`] before waiting again.
    pub(super) async fn rung(&self) {
        self.rung.notified().await;
    }
}

impl Feed for ChangeSet {
    fn changed(&self, stream: &StreamName) {
        if !self.active.load(Ordering::SeqCst) || stream.is_reserved() {
            return;
        }
        let mut changed = self.changed.lock();
        if changed.all {
            return;
        }
        if changed.names.len() >= NAMES_MAX && !changed.names.contains(stream) {
            changed.names = HashSet::new();
            changed.all = true;
        } else if !changed.names.insert(stream.clone()) {
            return;
        }
        drop(changed);
        self.rung.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        StreamName::new(text).unwrap()
    }

    #[test]
    fn a_stream_that_changes_often_is_one_entry() {
        let set = ChangeSet::default();
        set.set_active(true);
        assert!(!set.has_changed());
        set.changed(&name("a"));
        set.changed(&name("a"));
        assert!(set.has_changed());
        set.changed(&name("__ds/subscriptions/x"));
        assert_eq!(set.take().names, HashSet::from([name("a")]));
        assert_eq!(set.take(), Changed::default());
    }

    #[test]
    fn beyond_the_bound_everything_is_looked_at() {
        let set = ChangeSet::default();
        set.set_active(true);
        for n in 0..=NAMES_MAX {
            set.changed(&name(&n.to_string()));
        }
        let changed = set.take();
        assert!(changed.all && changed.names.is_empty());
    }

    #[test]
    fn nothing_is_taken_while_nobody_subscribes() {
        let set = ChangeSet::default();
        set.changed(&name("a"));
        assert_eq!(set.take(), Changed::default());
    }
}
