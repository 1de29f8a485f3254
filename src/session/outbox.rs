//! What others have to tell a session: answers from the committer and from queries, and which subscriptions have news.
//!
//! The one piece of a session that is shared. Any thread puts something in; only the connection's own task takes it out, all
//! at once, and encodes it. Nothing here blocks: the lock is held for a push or a swap.
//!
//! Invariants:
//! - Every submission that was accepted is counted in `completed` exactly once, so the session knows what is in flight.
//! - Woken subscriptions are a set: a subscriber that does not read for hours costs one bit, however often its stream grows.
//! - Memory is bounded by what the session lets be in flight; the outbox itself refuses nothing.
//! - After [`Outbox::close`] everything put in is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use streamkeeper_protocol::Event;
use streamkeeper_protocol::event::confirm::ConfirmEntry;

use super::convert;
use super::unsent::Held;
use crate::broker::Runs;
use crate::fanout::{Cursor, Step, Watcher};
use crate::rules::Answer;
use crate::stream::{Reply, Sink};
use crate::types::Error;

/// Set in a submission's token if the peer wants to hear of a failure only.
const SILENT: u64 = 1 << 32;

/// Makes the token of a submission.
pub(super) fn token(correlation: u32, silent: bool) -> u64 {
    u64::from(correlation) | if silent { SILENT } else { 0 }
}

/// The low half of any token: a correlation id, or a subscription's slot.
pub(super) fn low_half(token: u64) -> u32 {
    u32::try_from(token & u64::from(u32::MAX)).unwrap_or_default()
}

/// Something to tell the session, other than a confirm.
pub(super) enum News {
    /// A submission was refused, or it was none of those that CONFIRM answers. It came after that many confirms.
    Replied {
        confirms_before: usize,
        correlation: u32,
        reply: Reply,
    },
    /// A STAT or LIST is answered.
    Queried {
        correlation: u32,
        answer: Result<Event, Error>,
    },
    /// A READ is answered.
    Read {
        correlation: u32,
        answer: Result<Runs, Error>,
        /// What was read from the store is counted.
        room: Option<Held>,
    },
    /// A subscription's cursor is open, or could not be opened.
    Opened {
        token: u64,
        cursor: Result<Cursor, Error>,
    },
    /// A subscription's cursor comes back with what it read from the store.
    Loaded {
        token: u64,
        cursor: Cursor,
        step: Result<Step, Error>,
        /// What it may hold is counted.
        room: Held,
    },
}

/// All that was put in since the last [`Outbox::take`].
#[derive(Default)]
pub(super) struct Taken {
    /// Appends that are durable.
    pub(super) confirms: Vec<ConfirmEntry>,
    /// Everything else, in order.
    pub(super) news: Vec<News>,
    /// Subscriptions with something new.
    pub(super) woken: WokenSet,
    /// Submissions answered, whether or not the peer is told.
    pub(super) completed: u64,
}

/// A set of subscription slots, one bit each.
#[derive(Debug, Default)]
pub(super) struct WokenSet {
    words: Vec<u64>,
    any: bool,
}

impl WokenSet {
    fn insert(&mut self, slot: u32) {
        let (word, bit) = (usize::try_from(slot / 64).unwrap_or_default(), slot % 64);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << bit;
            self.any = true;
        }
    }

    /// Takes out all slots, lowest first.
    pub(super) fn drain(&mut self, mut each: impl FnMut(u32)) {
        if !std::mem::take(&mut self.any) {
            return;
        }
        for (index, word) in (0u32..).zip(&mut self.words) {
            let mut left = std::mem::take(word);
            while left != 0 {
                each(index * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
    }
}

#[derive(Default)]
struct Contents {
    taken: Taken,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub struct Outbox {
    contents: Mutex<Contents>,
    /// Something was put in since the session last looked.
    signalled: AtomicBool,
    /// The server is shutting down.
    draining: AtomicBool,
    /// The session waits for room to hold more for its peer.
    wants_room: AtomicBool,
    waker: AtomicWaker,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("signalled", &self.signalled)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Wakes `waker` from now on when something is put in. Call before looking.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Tells the session that the server is shutting down.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.signal();
    }

    /// Whether [`Outbox::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Notes that the session waits for room; false if it does already.
    pub(super) fn wants_room(&self) -> bool {
        !self.wants_room.swap(true, Ordering::AcqRel)
    }

    /// Tells the session that there may be room.
    pub(super) fn has_room(&self) {
        self.wants_room.store(false, Ordering::Release);
        self.signal();
    }

    /// Drops what is in it, and whatever may still come.
    pub fn close(&self) {
        let dropped = {
            let mut contents = self.contents.lock();
            contents.closed = true;
            std::mem::take(&mut contents.taken)
        };
        // Cursors among it take back their registrations, outside the lock.
        drop(dropped);
    }

    /// Swaps what was put in since the last call with `empty`; false if that is nothing.
    pub(super) fn take(&self, empty: &mut Taken) -> bool {
        if !self.signalled.swap(false, Ordering::AcqRel) {
            return false;
        }
        std::mem::swap(&mut self.contents.lock().taken, empty);
        true
    }

    /// Puts in `news` and wakes the session.
    pub(super) fn tell(&self, news: News) {
        let mut contents = self.contents.lock();
        if contents.closed {
            // A cursor in it must not be dropped under the lock: it may take other locks.
            drop(contents);
            return;
        }
        contents.taken.news.push(news);
        drop(contents);
        self.signal();
    }

    fn signal(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }
}

impl Sink for Outbox {
    fn complete(&self, token: u64, reply: Reply) {
        let correlation = low_half(token);
        let mut contents = self.contents.lock();
        if contents.closed {
            return;
        }
        contents.taken.completed += 1;
        match reply {
            Ok(Answer::Appended(appended)) => {
                if token & SILENT == 0 {
                    contents
                        .taken
                        .confirms
                        .push(convert::confirm(correlation, &appended));
                }
            }
            reply => {
                let confirms_before = contents.taken.confirms.len();
                contents.taken.news.push(News::Replied {
                    confirms_before,
                    correlation,
                    reply,
                });
            }
        }
    }

    fn flush(&self) {
        self.signal();
    }
}

impl Watcher for Outbox {
    fn wake(&self, token: u64) {
        let mut contents = self.contents.lock();
        if contents.closed {
            return;
        }
        contents.taken.woken.insert(low_half(token));
        drop(contents);
        self.signal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(set: &mut WokenSet) -> Vec<u32> {
        let mut slots = Vec::new();
        set.drain(|slot| slots.push(slot));
        slots
    }

    #[test]
    fn the_woken_set_gives_each_slot_once_and_is_empty_after() {
        let mut set = WokenSet::default();
        for slot in [130, 0, 63, 64, 130, 0] {
            set.insert(slot);
        }
        assert_eq!(drained(&mut set), [0, 63, 64, 130]);
        assert!(drained(&mut set).is_empty());
        set.insert(5);
        assert_eq!(drained(&mut set), [5]);
    }

    #[test]
    fn wakes_coalesce_until_taken() {
        let outbox = Outbox::default();
        let mut taken = Taken::default();
        assert!(!outbox.take(&mut taken));
        for _ in 0..1000 {
            outbox.wake(7);
        }
        assert!(outbox.take(&mut taken));
        assert_eq!(drained(&mut taken.woken), [7]);
        assert!(!outbox.take(&mut taken));
    }

    #[test]
    fn a_closed_outbox_keeps_nothing() {
        let outbox = Outbox::default();
        outbox.close();
        outbox.wake(1);
        outbox.complete(1, Ok(Answer::Done));
        outbox.flush();
        let mut taken = Taken::default();
        outbox.take(&mut taken);
        assert!(taken.news.is_empty() && taken.completed == 0);
        assert!(drained(&mut taken.woken).is_empty());
    }
}
