//! What came in and is not on its way to the committer yet, all connections together: one bound.
//!
//! One half is for large frames: each is taken in only with room for all of it, in turn. So what was begun can be completed, and a
//! peer that does not complete it is cut off (`frame_timeout`). The other half is for the buffers that everything is read into: they
//! get smaller as there is less left, and never vanish.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One connection may read into this part of what is left for buffers.
const SHARE: usize = 16;

/// The bound. Clones share it.
#[derive(Clone, Debug)]
pub struct Incoming(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// A permit is a byte.
    large: Arc<Semaphore>,
    large_max: u32,
    buffers: AtomicUsize,
    buffers_max: usize,
}

impl Incoming {
    /// A bound of about this many bytes.
    pub fn new(bytes_max: usize) -> Self {
        let half = bytes_max / 2;
        let large_max = u32::try_from(half).unwrap_or(u32::MAX).max(1);
        Self(Arc::new(Shared {
            large: Arc::new(Semaphore::new(
                usize::try_from(large_max).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            large_max,
            buffers: AtomicUsize::new(0),
            buffers_max: half,
        }))
    }

    /// Asks for room for a large frame of so many bytes; one that is larger than all there is goes alone.
    pub(super) fn admit(&self, bytes: usize) -> LargeFrame {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permits = permits.min(self.0.large_max);
        let asked = Arc::clone(&self.0.large).acquire_many_owned(permits);
        LargeFrame::Waits(Box::pin(async move {
            // The semaphore is never closed; were it, frames would come in without room.
            asked.await.ok()
        }))
    }

    /// How much one connection may read into at once that would like to have up to `most`, which needs no less than `least`.
    pub(super) fn share(&self, most: usize, least: usize) -> usize {
        let buffers = self.0.buffers.load(Ordering::Relaxed);
        let left = self.0.buffers_max.saturating_sub(buffers);
        most.min((left / SHARE).max(least))
    }

    /// What the buffer of one connection takes; nothing at first.
    pub(super) fn hold(&self) -> Buffered {
        Buffered {
            incoming: self.clone(),
            bytes: 0,
        }
    }
}

/// A large frame on its way in, and the room for it, until dropped.
pub(super) enum LargeFrame {
    /// For room.
    Waits(Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>),
    /// It is read.
    ComesIn(Option<OwnedSemaphorePermit>),
    /// It is whole. The room is let go of when it is on a queue.
    IsWhole { _room: Option<OwnedSemaphorePermit> },
}

impl LargeFrame {
    /// Ready when it has room.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Waits(asked) = self {
            *self = Self::ComesIn(ready!(asked.as_mut().poll(cx)));
        }
        Poll::Ready(())
    }

    /// It was split off.
    pub(super) fn whole(&mut self) {
        if let Self::ComesIn(permit) = self {
            let room = permit.take();
            *self = Self::IsWhole { _room: room };
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::IsWhole { .. })
    }
}

/// Bytes of a buffer that are counted until they are let go of.
#[derive(Debug)]
pub(super) struct Buffered {
    incoming: Incoming,
    bytes: usize,
}

impl Buffered {
    /// Counts `bytes` from now on instead of what was counted before.
    pub(super) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let buffers = &self.incoming.0.buffers;
        if bytes > before {
            buffers.fetch_add(bytes - before, Ordering::Relaxed);
        } else if bytes < before {
            buffers.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn has_room(large: &mut LargeFrame) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        large.poll(&mut cx).is_ready()
    }

    #[test]
    fn large_frames_come_in_one_after_the_other_when_they_have_no_room_together() {
        let incoming = Incoming::new(8 * MIB);
        let (mut first, mut second) = (incoming.admit(3 * MIB), incoming.admit(3 * MIB));
        assert!(has_room(&mut first) && !has_room(&mut second));
        first.whole();
        assert!(first.is_whole() && !has_room(&mut second));
        drop(first);
        assert!(has_room(&mut second) && !second.is_whole());
    }

    #[test]
    fn one_that_is_larger_than_the_bound_goes_alone() {
        let incoming = Incoming::new(2 * MIB);
        let (mut large, mut small) = (incoming.admit(100 * MIB), incoming.admit(1));
        assert!(has_room(&mut large) && !has_room(&mut small));
        drop(large);
        assert!(has_room(&mut small));
    }

    #[test]
    fn buffers_get_smaller_as_there_are_more_and_never_vanish() {
        let incoming = Incoming::new(8 * MIB);
        let share = || incoming.share(128 << 10, 2 << 10);
        assert_eq!(share(), 128 << 10);
        let mut held = incoming.hold();
        held.set(3 * MIB);
        assert_eq!(share(), 64 << 10);
        held.set(5 * MIB);
        assert_eq!(share(), 2 << 10);
        drop(held);
        assert_eq!(share(), 128 << 10);
    }
}
