//! One stream in memory: its write queue, its state under the committer, and its durable view.
//!
//! A [`Stream`] is a handle to a *name*: the stream itself need not exist (a pipelined append may follow its create in
//! the same queue). Three parts, three owners:
//!
//! - `queue`: filled by sessions, emptied by the committer.
//! - `state`: what the rules decide on. Only the committer changes it, ahead of the disk while a commit is under way.
//! - `live`: what readers see. Changed only after a commit has made it durable.
//!
//! Invariants: `live` never runs ahead of the disk; a stream leaves memory only when everything it knows is in the store.
//! Lock order: `state`, then `live`, then `queue`; no lock is held across an await.

mod live;
mod queue;
mod registry;
mod submission;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

pub use live::{Feed, Gone, Live, View, Waiter, Watcher};
pub use queue::{Allowance, Drained, QueueKind, QueueLimits, WriteQueues};
pub(crate) use queue::{LIGHT_QUEUE_BYTES, kept_for_short};
pub use registry::Registry;
pub(crate) use submission::Completions;
pub use submission::{Completion, Reply, Sink, Submission, Weight};

use crate::rules::StreamState;
use crate::types::{Offset, Run, StorageKind, StreamName, Timestamp};

use queue::Pending;

/// A time that no timer and no ttl has.
const UNARMED: u64 = u64::MAX;

/// What the committer knows of a stream.
#[derive(Debug, Default)]
pub enum Resident {
    /// Nothing has been loaded from the store yet.
    #[default]
    Unloaded,
    /// As the rules see it; `None` if there is no such stream.
    Loaded(Option<StreamState>),
}

/// A stream name in use, with whatever of the stream is in memory.
#[derive(Debug)]
pub struct Stream {
    name: StreamName,
    storage: StorageKind,
    pending: Mutex<Pending>,
    pub(crate) state: Mutex<Resident>,
    live: Mutex<Live>,
    loaded: AtomicBool,
    /// Commands queued and not answered yet.
    unanswered: AtomicUsize,
    /// Newest journal row that holds something of this stream.
    last_row: AtomicU64,
    /// Last read, in microseconds since the epoch: slides a ttl without a commit per read.
    last_read: AtomicU64,
    /// The written-down start of a sliding ttl that reads have last asked to be replaced by a later one.
    touch_asked: AtomicU64,
    /// Used since the registry's last sweep.
    used: AtomicBool,
    /// When the armed timer of this stream is due, in microseconds since the epoch; [`UNARMED`] if none is.
    timer_due: AtomicU64,
    /// Commit time of the record at an offset that was the earliest when last looked at.
    earliest_at: Mutex<Option<(Offset, Timestamp)>>,
}

impl Stream {
    pub(crate) fn new(name: StreamName, storage: StorageKind) -> Self {
        Self {
            name,
            storage,
            pending: Mutex::default(),
            state: Mutex::default(),
            live: Mutex::default(),
            loaded: AtomicBool::new(false),
            unanswered: AtomicUsize::new(0),
            last_row: AtomicU64::new(0),
            last_read: AtomicU64::new(0),
            touch_asked: AtomicU64::new(UNARMED),
            used: AtomicBool::new(true),
            timer_due: AtomicU64::new(UNARMED),
            earliest_at: Mutex::default(),
        }
    }

    /// The name.
    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// The backend that keeps it.
    pub fn storage(&self) -> StorageKind {
        self.storage
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Puts what the store (or an empty backend) knows in place; the first loader wins.
    pub(crate) fn set_loaded(&self, resident: &mut Resident, state: Option<StreamState>) {
        self.live.lock().view = state.as_ref().map(View::of);
        *resident = Resident::Loaded(state);
        self.loaded.store(true, Ordering::Release);
    }

    /// The durable view and the hot tail.
    pub(crate) fn live(&self) -> parking_lot::MutexGuard<'_, Live> {
        self.live.lock()
    }

    /// Notes that `row` is its newest in the journal. Answers the newest one before.
    pub(crate) fn note_row(&self, row: u64) -> u64 {
        self.last_row.fetch_max(row, Ordering::AcqRel)
    }

    /// Notes that the stream was read at `now`, which slides its ttl.
    pub(crate) fn note_read(&self, now: Timestamp) {
        self.last_read.fetch_max(now.0, Ordering::AcqRel);
    }

    pub(crate) fn last_read(&self) -> Timestamp {
        Timestamp(self.last_read.load(Ordering::Acquire))
    }

    /// True the first time it is asked for the start of the ttl that is `written` down: one command replaces it.
    pub(crate) fn ask_touch(&self, written: Timestamp) -> bool {
        self.touch_asked.swap(written.0, Ordering::AcqRel) != written.0
    }

    /// The command that was asked for was not carried out: it may be asked for again.
    pub(crate) fn forget_touch(&self) {
        self.touch_asked.store(UNARMED, Ordering::Release);
    }

    /// Arms the stream's timer for `due` unless it is armed for an earlier time.
    pub(crate) fn arm(&self, due: Timestamp) -> bool {
        self.timer_due.fetch_min(due.0, Ordering::AcqRel) > due.0
    }

    /// Takes the timer armed for `due` off; false if that one was superseded.
    pub(crate) fn disarm(&self, due: Timestamp) -> bool {
        self.timer_due
            .compare_exchange(due.0, UNARMED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.timer_due.load(Ordering::Acquire) != UNARMED
    }

    /// Keeps the commit time of the record at `offset`, which `run` holds.
    pub(crate) fn note_earliest(&self, offset: Offset, run: Option<&Run>) {
        if let Some(run) = run {
            self.note_earliest_by(offset, Timestamp(run.header.committed_at));
        }
    }

    /// Keeps that the record at `offset` was committed at `at`, or before if it cannot be read.
    pub(crate) fn note_earliest_by(&self, offset: Offset, at: Timestamp) {
        *self.earliest_at.lock() = Some((offset, at));
    }

    /// Commit time of the record at `offset`, if it was noted.
    pub(crate) fn earliest_at(&self, offset: Offset) -> Option<Timestamp> {
        self.earliest_at
            .lock()
            .filter(|(noted, _)| *noted == offset)
            .map(|(_, at)| at)
    }

    /// True if the stream exists, or commands that may create it are not answered yet.
    pub(crate) fn is_claimed(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) > 0 || self.live.lock().view.is_some()
    }

    /// True if commands are queued or being committed.
    pub(crate) fn has_unanswered(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) > 0
    }

    /// Notes that `commands` of the queue are published and about to be answered.
    pub(crate) fn answered(&self, commands: usize) {
        self.unanswered.fetch_sub(commands, Ordering::AcqRel);
    }

    fn note_use(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the stream may leave memory: all it knows is in rows up to `released`, nothing is queued, and nobody
    /// used it since the last time this was asked.
    fn is_idle(&self, released: u64) -> bool {
        let used = self.used.swap(false, Ordering::Relaxed);
        !used && self.is_forgettable(released)
    }

    fn is_forgettable(&self, released: u64) -> bool {
        let known_to_store = self.last_row.load(Ordering::Acquire) <= released;
        let answered = self.unanswered.load(Ordering::Acquire) == 0;
        known_to_store && answered && self.live.lock().is_idle(self.storage)
    }
}
