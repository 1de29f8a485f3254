//! What came in and is not on its way to the committer yet, all connections together: one bound.
//!
//! One half is for large frames: each is taken in only with room for all of it, in turn. So what was begun can be completed, and a
//! peer that does not complete it is cut off (`frame_timeout`). The other half is for the buffers that everything is read into: they
//! get smaller as there is less left, and never vanish.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// Room for a large frame of so many bytes; one that is larger than all there is goes alone.
    pub(super) fn admit(&self, bytes: usize) -> impl Future<Output = Admission> + Send + 'static {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permits = permits.min(self.0.large_max);
        let large = Arc::clone(&self.0.large);
        async move {
            // It is never closed; were it, frames would be admitted without.
            let permit = large.acquire_many_owned(permits).await.ok();
            Admission {
                _permit: permit,
                is_split: false,
            }
        }
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

/// Room for one large frame, until dropped.
#[derive(Debug)]
pub(super) struct Admission {
    _permit: Option<OwnedSemaphorePermit>,
    /// The frame is whole. The room is let go of when it is on a queue.
    pub(super) is_split: bool,
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
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn large_frames_come_in_one_after_the_other_when_they_have_no_room_together() {
        let incoming = Incoming::new(8 * MIB);
        let first = incoming.admit(3 * MIB).now_or_never().expect("room");
        let mut second = std::pin::pin!(incoming.admit(3 * MIB));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[test]
    fn one_that_is_larger_than_the_bound_goes_alone() {
        let incoming = Incoming::new(2 * MIB);
        let large = incoming.admit(100 * MIB).now_or_never().expect("room");
        assert!(incoming.admit(1).now_or_never().is_none());
        drop(large);
        assert!(incoming.admit(1).now_or_never().is_some());
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
