//! What connections hold for peers that do not take it: one bound for all of them.
//!
//! A peer that stops reading keeps a few deliveries waiting, and a thousand such peers keep a thousand times that. Deliveries of
//! new records are slices of rows that are in memory anyway; what is read from the store is not. So reads of the store, for
//! subscriptions and for READ, wait when all connections together hold too much, and are small when it gets near. A peer that does
//! not read is cut off in the end (`write_timeout`), and others go on.
//!
//! Invariant: whoever was turned away is woken once there is room again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Outbox;

/// One connection gets this part of what is left.
const SHARE: usize = 16;
/// But needs not get less than this.
const SHARE_BYTES_MIN: usize = 16 << 10;

/// The bound. Clones share it.
#[derive(Clone, Debug)]
pub struct Unsent(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Sessions that were turned away.
    waiting: Mutex<Vec<Weak<Outbox>>>,
    freed: Notify,
    is_waited_for: AtomicBool,
}

impl Unsent {
    /// A bound of about this many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shared {
            bytes: AtomicUsize::new(0),
            bytes_max,
            waiting: Mutex::default(),
            freed: Notify::new(),
            is_waited_for: AtomicBool::new(false),
        }))
    }

    /// How much one connection may hold now that could hold up to `most`.
    pub(super) fn share(&self, most: usize) -> usize {
        let left = self.0.bytes_max.saturating_sub(self.bytes());
        most.min((left / SHARE).max(SHARE_BYTES_MIN))
    }

    /// Room for `bytes` more, if there is some at all; else `outbox` is told when there is.
    pub(super) fn room(&self, bytes: usize, outbox: &Arc<Outbox>) -> Option<Held> {
        if self.bytes() >= self.0.bytes_max {
            let mut waiting = self.0.waiting.lock();
            self.0.is_waited_for.store(true, Ordering::SeqCst);
            // Looked at again under the lock: room that was made meanwhile woke nobody.
            if self.bytes() >= self.0.bytes_max {
                if outbox.wants_room() {
                    waiting.push(Arc::downgrade(outbox));
                }
                return None;
            }
        }
        let mut held = self.hold();
        held.set(bytes);
        Some(held)
    }

    /// As [`Self::room`], for who can wait for it. Cancel safe.
    pub(super) async fn wait_for_room(&self, bytes: usize) -> Held {
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            self.0.is_waited_for.store(true, Ordering::SeqCst);
            if self.bytes() < self.0.bytes_max {
                let mut held = self.hold();
                held.set(bytes);
                return held;
            }
            freed.await;
        }
    }

    /// What one connection holds; nothing at first.
    pub(crate) fn hold(&self) -> Held {
        let unsent = self.clone();
        Held { unsent, bytes: 0 }
    }

    fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::SeqCst)
    }

    fn release(&self, bytes: usize) {
        let before = self.0.bytes.fetch_sub(bytes, Ordering::SeqCst);
        let has_room = before - bytes < self.0.bytes_max;
        if has_room && self.0.is_waited_for.load(Ordering::SeqCst) {
            let waiting = {
                let mut waiting = self.0.waiting.lock();
                self.0.is_waited_for.store(false, Ordering::SeqCst);
                std::mem::take(&mut *waiting)
            };
            self.0.freed.notify_waiters();
            for outbox in waiting.iter().filter_map(Weak::upgrade) {
                outbox.has_room();
            }
        }
    }
}

/// Bytes that are counted until they are let go of.
#[derive(Debug)]
pub struct Held {
    unsent: Unsent,
    bytes: usize,
}

impl Held {
    /// Counts `bytes` from now on instead of what was counted before.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            let more = bytes - before;
            self.unsent.0.bytes.fetch_add(more, Ordering::SeqCst);
        } else if bytes < before {
            self.unsent.release(before - bytes);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn whoever_is_turned_away_is_woken_when_there_is_room() {
        let unsent = Unsent::new(1_000);
        let outbox = Outbox::new();
        let mut held = unsent.hold();
        held.set(1_000);
        assert!(unsent.room(1, &outbox).is_none());
        assert!(unsent.room(1, &outbox).is_none());
        assert_eq!(unsent.0.waiting.lock().len(), 1, "once is enough");
        held.set(999);
        assert!(unsent.0.waiting.lock().is_empty());
        let room = unsent.room(1, &outbox).expect("there is room");
        assert_eq!(unsent.bytes(), 1_000);
        drop((held, room));
        assert_eq!(unsent.bytes(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_room_gets_it_when_there_is_some() {
        let unsent = Unsent::new(1_000);
        let mut held = unsent.hold();
        held.set(1_000);
        let mut waiting = std::pin::pin!(unsent.wait_for_room(10));
        assert!(waiting.as_mut().now_or_never().is_none());
        held.set(999);
        let room = waiting.now_or_never().expect("there is room");
        assert_eq!(unsent.bytes(), 1_009);
        drop(room);
        assert_eq!(unsent.bytes(), 999);
    }

    #[test]
    fn shares_get_smaller_and_never_vanish() {
        let unsent = Unsent::new(16 << 20);
        assert_eq!(unsent.share(256 << 10), 256 << 10);
        let mut held = unsent.hold();
        held.set(15 << 20);
        assert_eq!(unsent.share(256 << 10), 64 << 10);
        held.set(17 << 20);
        assert_eq!(unsent.share(256 << 10), SHARE_BYTES_MIN);
    }
}
