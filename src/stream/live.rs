//! What readers see of a stream: its durable view, its hot tail, and who waits for a change.
//!
//! The committer changes it after a commit, in one step under one lock, so a reader sees the new tail, the new records and
//! a new trim point together or not at all.
//!
//! Invariant: from the earliest record on, the hot tail is gapless up to the durable tail; what lies before its first run is in
//! the store. Records that forks share may lie further before, with a gap behind them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::rules::StreamState;
use crate::types::{
    CreateOptions, DeleteReason, Expiry, Fork, Metadata, Offset, Position, Run, StorageKind,
    StreamId, StreamName, Timestamp,
};

/// The durable facts of a stream that readers need.
#[derive(Clone, Debug)]
pub struct View {
    /// Which incarnation.
    pub id: StreamId,
    /// Its configuration.
    pub options: Arc<CreateOptions>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written to, or read as far as that is written down.
    pub touched_at: Timestamp,
    /// When the newest record was committed.
    pub last_append_at: Option<Timestamp>,
    /// Earliest record kept.
    pub earliest: Position,
    /// The durable tail.
    pub tail: Position,
    /// Closed for ever.
    pub closed: bool,
    /// Last accepted `seq`.
    pub last_seq: Option<Bytes>,
    /// Where it forks off another stream, if it does.
    pub fork: Option<Arc<Fork>>,
    /// Records before this offset are shared with forks, and stay whatever is trimmed for its own readers.
    pub shared_until: Offset,
    /// Kept only for its forks: gone for clients.
    pub deleted: bool,
}

impl View {
    pub(crate) fn of(state: &StreamState) -> Self {
        Self {
            id: state.id,
            options: Arc::clone(&state.options),
            created_at: state.created_at,
            touched_at: state.touched_at,
            last_append_at: state.last_append_at,
            earliest: state.earliest,
            tail: state.tail,
            closed: state.closed,
            last_seq: state.last_seq.clone(),
            fork: state.fork.clone(),
            shared_until: state.shared_until,
            deleted: state.deleted,
        }
    }

    /// Takes over what may have changed since the view was made of the same incarnation: of a stream among thousands, looking
    /// at the rest would be most of the work.
    pub(crate) fn follow(&mut self, state: &StreamState) {
        self.touched_at = state.touched_at;
        self.last_append_at = state.last_append_at;
        self.earliest = state.earliest;
        self.tail = state.tail;
        self.closed = state.closed;
        if self.last_seq != state.last_seq {
            self.last_seq.clone_from(&state.last_seq);
        }
        self.shared_until = state.shared_until;
        self.deleted = state.deleted;
    }

    /// Where records that nobody reads any more end, and those that forks share.
    pub(crate) fn kept_from(&self) -> (Offset, Offset) {
        let unread_until = if self.deleted {
            self.tail
        } else {
            self.earliest
        };
        (unread_until.offset, self.shared_until)
    }

    /// When the stream goes away, given that it was last read at `last_read`.
    pub(crate) fn expires_at(&self, last_read: Timestamp) -> Option<Timestamp> {
        if self.deleted {
            return None;
        }
        match self.options.expiry {
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
            Expiry::Ttl(seconds) => {
                let touched = self.touched_at.max(last_read);
                Some(touched.after(std::time::Duration::from_secs(seconds)))
            }
        }
    }

    pub(crate) fn metadata(&self) -> Metadata {
        Metadata {
            options: (*self.options).clone(),
            created_at: self.created_at,
            last_append_at: self.last_append_at,
            closed: self.closed,
            earliest: self.earliest,
            tail: self.tail,
            last_seq: self.last_seq.clone(),
        }
    }
}

/// A run in memory and the journal row it lies in.
#[derive(Clone, Debug)]
struct HotRun {
    row: u64,
    run: Run,
}

/// The incarnation that ended last, and why.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    /// Which incarnation.
    pub id: StreamId,
    /// Why it ended.
    pub reason: DeleteReason,
}

/// Someone to wake when a stream changes.
pub trait Watcher: Send + Sync {
    /// Something changed for the cursor registered with `token`. Runs on the committer thread: must not block. May come more
    /// often than there are changes.
    fn wake(&self, token: u64);
}

/// Told of every stream that changes, whoever reads it.
pub trait Feed: Send + Sync + fmt::Debug {
    /// A commit created, changed or ended the stream, and is durable. Runs on the committer thread: must not block.
    fn changed(&self, stream: &StreamName);
}

/// Who is woken at the next change.
pub struct Waiter {
    /// Told of the change.
    pub watcher: Arc<dyn Watcher>,
    /// Says which subscription, to the watcher.
    pub token: u64,
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiter({})", self.token)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Live {
    /// The stream, if it exists.
    pub view: Option<View>,
    /// The incarnation that ended last.
    pub gone: Option<Gone>,
    hot: VecDeque<HotRun>,
    waiting: HashMap<u64, Waiter>,
    /// Who cannot take records now and waits for an end alone: not woken by appends.
    waiting_for_end: HashMap<u64, Waiter>,
}

impl Live {
    /// Registers `waiter` under `cursor` for the next change.
    pub fn wait(&mut self, cursor: u64, waiter: Waiter) {
        self.waiting.insert(cursor, waiter);
    }

    /// Registers `waiter` under `cursor` for a close, a trim or the end of the stream.
    pub fn wait_for_end(&mut self, cursor: u64, waiter: Waiter) {
        self.waiting_for_end.insert(cursor, waiter);
    }

    /// Takes back a cursor's registrations.
    pub fn forget(&mut self, cursor: u64) {
        self.waiting.remove(&cursor);
        self.waiting_for_end.remove(&cursor);
    }

    /// Takes everyone who waits for a change, to be woken; also those who wait for an end if this may be theirs.
    pub fn take_waiting(&mut self, may_end: bool) -> HashMap<u64, Waiter> {
        let mut woken = std::mem::take(&mut self.waiting);
        if may_end {
            woken.extend(self.waiting_for_end.drain());
        }
        woken
    }

    pub(super) fn is_idle(&self, storage: StorageKind) -> bool {
        let kept_here = storage == StorageKind::Memory && self.view.is_some();
        self.hot.is_empty()
            && self.waiting.is_empty()
            && self.waiting_for_end.is_empty()
            && !kept_here
    }

    /// Adds a run behind the others.
    pub(crate) fn push(&mut self, row: u64, run: Run) {
        // As in a queue: most streams of many hold one.
        if self.hot.capacity() == 0 {
            self.hot.reserve_exact(1);
        }
        self.hot.push_back(HotRun { row, run });
    }

    /// Drops all records. Says how many run bytes that were.
    pub(crate) fn clear(&mut self) -> usize {
        self.hot.drain(..).map(|hot| hot.run.encoded_bytes()).sum()
    }

    /// Drops runs of rows up to `row`: the store has them.
    pub(crate) fn release(&mut self, row: u64) {
        while self.hot.front().is_some_and(|hot| hot.row <= row) {
            self.hot.pop_front();
        }
        self.shrink();
    }

    /// Drops runs that lie before `earliest` whole, but keeps what lies before `shared_until`. Says how many run bytes
    /// were dropped.
    pub(crate) fn trim(&mut self, earliest: Offset, shared_until: Offset) -> usize {
        let mut dropped = 0;
        if shared_until > Offset(0) {
            self.hot.retain(|hot| {
                let header = &hot.run.header;
                let unread = header.next_offset() <= earliest.0;
                let dead = unread && header.first_offset >= shared_until.0;
                dropped += usize::from(dead) * hot.run.encoded_bytes();
                !dead
            });
            return dropped;
        }
        while let Some(hot) = self.hot.front()
            && hot.run.header.next_offset() <= earliest.0
        {
            dropped += hot.run.encoded_bytes();
            self.hot.pop_front();
        }
        self.shrink();
        dropped
    }

    fn shrink(&mut self) {
        if self.hot.capacity() > 64 && self.hot.len() < self.hot.capacity() / 8 {
            self.hot.shrink_to(self.hot.len() * 2);
        }
    }

    /// First offset that is in memory, if any is.
    pub(crate) fn hot_start(&self) -> Option<Offset> {
        self.hot
            .front()
            .map(|hot| Offset(hot.run.header.first_offset))
    }

    /// Runs from `offset` on, in order. `offset` must not lie before [`Live::hot_start`].
    pub(crate) fn runs_from(&self, offset: Offset) -> impl Iterator<Item = &Run> {
        let first = self
            .hot
            .partition_point(|hot| hot.run.header.next_offset() <= offset.0);
        self.hot.iter().skip(first).map(|hot| &hot.run)
    }

    /// Runs from `from` on, cut in front, worth up to `bytes_max` but at least one record.
    pub(crate) fn collect(&self, from: Offset, bytes_max: usize) -> SmallVec<[Run; 4]> {
        let mut runs = SmallVec::new();
        let mut left = bytes_max;
        for run in self.runs_from(from) {
            let Some(run) = run.starting_at(from.0.max(run.header.first_offset)) else {
                continue;
            };
            let fits = run.encoded_bytes() <= left;
            if !fits && runs.is_empty() {
                runs.push(run.take(bytes_max, u32::MAX));
            }
            if !fits {
                break;
            }
            left -= run.encoded_bytes();
            runs.push(run);
        }
        runs
    }
}
