//! Write queues: one per stream, bounded in bytes each and together, drained fairly by the committer.
//!
//! Sessions push; the committer is the only one that drains. A full queue gives the submission back: the caller then
//! stops reading its own connection and waits for [`WriteQueues::space`], and nobody else is held up.
//!
//! Invariant: a stream with something queued is on the active list exactly once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{Stream, Submission};
use crate::types::Fault;

/// How much may be queued.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Bytes over all streams.
    pub total_bytes_max: usize,
    /// Bytes on one stream.
    pub stream_bytes_max: usize,
}

/// What is queued on one stream.
#[derive(Debug, Default)]
pub(super) struct Pending {
    submissions: VecDeque<Submission>,
    bytes: usize,
    active: bool,
    /// When the oldest one was queued.
    since: Option<Instant>,
}

/// What the committer took from one stream's queue.
#[derive(Debug)]
pub struct Drained {
    /// The stream.
    pub stream: Arc<Stream>,
    /// Its commands, in order.
    pub submissions: VecDeque<Submission>,
    /// When the oldest of them was queued.
    pub since: Instant,
}

/// All write queues of one engine.
#[derive(Debug)]
pub struct WriteQueues {
    limits: QueueLimits,
    active: Mutex<VecDeque<Arc<Stream>>>,
    bytes: AtomicUsize,
    space: Notify,
    space_wanted: AtomicBool,
    committer: std::sync::OnceLock<Thread>,
    /// The committer has ended: nobody will drain the queues again.
    closed: AtomicBool,
}

impl WriteQueues {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            active: Mutex::default(),
            bytes: AtomicUsize::new(0),
            space: Notify::new(),
            space_wanted: AtomicBool::new(false),
            committer: std::sync::OnceLock::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Bytes queued over all streams.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Queues `submission`, or gives it back if the queue is full. A queue at most half full takes one of any size.
    ///
    /// The committer is not woken: call [`WriteQueues::kick`] after a series.
    pub(crate) fn try_push(
        &self,
        stream: &Arc<Stream>,
        submission: Submission,
    ) -> Result<(), Box<Submission>> {
        let cost = submission.command.queued_bytes();
        let pending = stream.pending.lock();
        if self.is_full(&pending, cost) {
            return Err(Box::new(submission));
        }
        self.push(stream, pending, submission);
        Ok(())
    }

    /// Queues a command of the engine's own, whatever the bounds.
    pub(crate) fn push_own(&self, stream: &Arc<Stream>, submission: Submission) {
        let pending = stream.pending.lock();
        self.push(stream, pending, submission);
    }

    fn push(
        &self,
        stream: &Arc<Stream>,
        mut pending: MutexGuard<'_, Pending>,
        submission: Submission,
    ) {
        let cost = submission.command.queued_bytes();
        stream.note_use();
        stream.unanswered.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(cost, Ordering::Relaxed);
        pending.bytes += cost;
        pending.submissions.push_back(submission);
        let activated = !pending.active;
        if activated {
            pending.active = true;
            pending.since = Some(Instant::now());
        }
        // Refusing the rest takes this lock again.
        drop(pending);
        if activated {
            self.active.lock().push_back(Arc::clone(stream));
        }
        if self.closed.load(Ordering::SeqCst) {
            self.refuse_rest();
        }
    }

    fn is_full(&self, pending: &Pending, cost: usize) -> bool {
        // What is at most half full takes one of any size: what `space` waits for must let the waiter in.
        let over = |queued: usize, max: usize| queued > max / 2 && queued + cost > max;
        over(pending.bytes, self.limits.stream_bytes_max)
            || over(self.bytes(), self.limits.total_bytes_max)
    }

    /// True if the queues together hold half of what they may.
    pub(crate) fn is_half_full(&self) -> bool {
        self.bytes() > self.limits.total_bytes_max / 2
    }

    /// Waits until the queue of `stream` has room again. Cancel safe.
    pub(crate) async fn space(&self, stream: &Stream) {
        loop {
            let freed = self.space.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            self.space_wanted.store(true, Ordering::SeqCst);
            let half_total = self.bytes() <= self.limits.total_bytes_max / 2;
            if half_total && stream.pending.lock().bytes <= self.limits.stream_bytes_max / 2 {
                return;
            }
            freed.await;
        }
    }

    pub(crate) fn set_committer(&self, thread: Thread) {
        // Set once per engine, by the committer itself; a second call could only name the same thread.
        drop(self.committer.set(thread));
    }

    /// Wakes the committer.
    pub(crate) fn kick(&self) {
        if let Some(thread) = self.committer.get() {
            thread.unpark();
        }
    }

    /// Takes queued commands up to about `bytes_max`, fairly: each active stream gives up to an equal share, so one with a long
    /// queue cannot hold up the others. A stream comes up at most once.
    pub(crate) fn drain(&self, bytes_max: usize) -> Vec<Drained> {
        let mut streams = std::mem::take(&mut *self.active.lock());
        let share = (bytes_max / streams.len().max(1)).max(1);
        let mut drained = Vec::with_capacity(streams.len());
        let mut unfinished = VecDeque::new();
        let mut taken = 0;
        while taken < bytes_max {
            let Some(stream) = streams.pop_front() else {
                break;
            };
            let (some, bytes, more) = take_share(&stream, share);
            taken += bytes;
            if more {
                unfinished.push_back(Arc::clone(&stream));
            }
            drained.push(some.into_drained(stream));
        }
        streams.append(&mut unfinished);
        self.put_back(streams);
        self.release(taken);
        drained
    }

    /// Refuses whatever comes from now on, and what is still queued.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.refuse_rest();
    }

    fn refuse_rest(&self) {
        for part in self.drain(usize::MAX) {
            part.stream.answered(part.submissions.len());
            for submission in part.submissions {
                submission.completion.tell(Err(Fault::Draining.into()));
            }
        }
    }

    /// Streams not reached go in front of those that became active meanwhile.
    fn put_back(&self, streams: VecDeque<Arc<Stream>>) {
        if !streams.is_empty() {
            let mut active = self.active.lock();
            for stream in streams.into_iter().rev() {
                active.push_front(stream);
            }
        }
    }

    fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        if self.space_wanted.swap(false, Ordering::SeqCst) {
            self.space.notify_waiters();
        }
    }
}

struct Share {
    submissions: VecDeque<Submission>,
    since: Instant,
}

impl Share {
    fn into_drained(self, stream: Arc<Stream>) -> Drained {
        Drained {
            stream,
            submissions: self.submissions,
            since: self.since,
        }
    }
}

/// Takes commands worth up to `share` bytes, but at least one. Says what they weigh and whether more are queued.
fn take_share(stream: &Stream, share: usize) -> (Share, usize, bool) {
    let mut pending = stream.pending.lock();
    let since = pending.since.unwrap_or_else(Instant::now);
    if pending.bytes <= share {
        let bytes = std::mem::take(&mut pending.bytes);
        let submissions = std::mem::take(&mut pending.submissions);
        pending.active = false;
        return (Share { submissions, since }, bytes, false);
    }
    let mut submissions = VecDeque::new();
    let mut taken = 0;
    while taken < share {
        let Some(submission) = pending.submissions.pop_front() else {
            break;
        };
        taken += submission.command.queued_bytes();
        submissions.push_back(submission);
    }
    pending.bytes -= taken;
    pending.active = !pending.submissions.is_empty();
    (Share { submissions, since }, taken, pending.active)
}
