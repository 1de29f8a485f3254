//! Write queues: one per stream, bounded in bytes each and together, drained fairly by the committer.
//!
//! Sessions push; the committer is the only one that drains. A full queue gives the submission back: the caller then
//! stops reading its own connection and waits for [`WriteQueues::space`], and nobody else is held up.
//!
//! Invariant: a stream with something queued is on the active list exactly once.

mod active;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{Stream, Submission};
use crate::types::Fault;
use active::Active;

/// How much is queued at most on a stream that may use what is kept for short queues.
pub(crate) const SHORT_QUEUE_BYTES: usize = 64 << 10;

/// The part of a bound that is kept for short queues: who fills the rest waits, and nobody else waits for them.
pub(crate) fn kept_for_short(max: usize) -> usize {
    max / 8
}

/// How much may be queued.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Bytes over all streams; some of them only for short queues.
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

/// What one drain may take.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// About how many bytes.
    pub bytes_max: usize,
    /// Streams with more than this queued are left out.
    pub queue_bytes_max: usize,
}

impl Allowance {
    /// Everything there is.
    pub const ALL: Self = Self {
        bytes_max: usize::MAX,
        queue_bytes_max: usize::MAX,
    };
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
    active: Mutex<Active>,
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
            self.active.lock().begin(Arc::clone(stream));
        }
        if self.closed.load(Ordering::SeqCst) {
            self.refuse_rest();
        }
    }

    fn is_full(&self, pending: &Pending, cost: usize) -> bool {
        let QueueLimits {
            total_bytes_max,
            stream_bytes_max,
        } = self.limits;
        let kept = if pending.bytes + cost > SHORT_QUEUE_BYTES {
            kept_for_short(total_bytes_max)
        } else {
            0
        };
        // What is at most half full takes one of any size: what `space` waits for must let the waiter in.
        let over =
            |queued: usize, max: usize, kept: usize| queued > max / 2 && queued + cost > max - kept;
        over(pending.bytes, stream_bytes_max, 0) || over(self.bytes(), total_bytes_max, kept)
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

    /// Takes queued commands as far as the allowance goes, fairly: each active stream gives up to an equal share, those that the
    /// last drain left with a rest after the others. So a long queue cannot hold up a short one. A stream comes up at most once.
    pub(crate) fn drain(&self, allowance: Allowance) -> Vec<Drained> {
        let mut streams = self.active.lock().take();
        let share = (allowance.bytes_max / streams.len().max(1)).max(1);
        let mut drained = Vec::with_capacity(streams.len());
        let mut unfinished = VecDeque::new();
        let mut taken = 0;
        while taken < allowance.bytes_max {
            let Some(stream) = streams.pop_front() else {
                break;
            };
            let mut pending = stream.pending.lock();
            if pending.bytes <= allowance.queue_bytes_max {
                let (some, bytes) = pending.take(share);
                taken += bytes;
                drained.push(some.of(Arc::clone(&stream)));
            }
            let more = pending.active;
            drop(pending);
            if more {
                unfinished.push_back(stream);
            }
        }
        if !streams.is_empty() || !unfinished.is_empty() {
            self.active.lock().put_back(streams, unfinished);
        }
        self.release(taken);
        drained
    }

    /// Refuses whatever comes from now on, and what is still queued.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.refuse_rest();
    }

    fn refuse_rest(&self) {
        for part in self.drain(Allowance::ALL) {
            part.stream.answered(part.submissions.len());
            for submission in part.submissions {
                submission.completion.tell(Err(Fault::Draining.into()));
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

impl Pending {
    /// Takes commands worth up to `share` bytes, but at least one. Says what they weigh.
    fn take(&mut self, share: usize) -> (Share, usize) {
        let since = self.since.unwrap_or_else(Instant::now);
        if self.bytes <= share {
            let bytes = std::mem::take(&mut self.bytes);
            let submissions = std::mem::take(&mut self.submissions);
            self.active = false;
            return (Share { submissions, since }, bytes);
        }
        let mut submissions = VecDeque::new();
        let mut taken = 0;
        while taken < share {
            let Some(submission) = self.submissions.pop_front() else {
                break;
            };
            taken += submission.command.queued_bytes();
            submissions.push_back(submission);
        }
        self.bytes -= taken;
        self.active = !self.submissions.is_empty();
        (Share { submissions, since }, taken)
    }
}

struct Share {
    submissions: VecDeque<Submission>,
    since: Instant,
}

impl Share {
    fn of(self, stream: Arc<Stream>) -> Drained {
        Drained {
            stream,
            submissions: self.submissions,
            since: self.since,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::rules::Command;
    use crate::stream::Completion;
    use crate::types::{AppendOptions, RecordBlock, StorageKind, StreamName};

    const KIB: usize = 1 << 10;

    fn queues() -> WriteQueues {
        WriteQueues::new(QueueLimits {
            total_bytes_max: 8 << 20,
            stream_bytes_max: 2 << 20,
        })
    }

    fn stream(name: &str) -> Arc<Stream> {
        let name = StreamName::new(name).unwrap();
        Arc::new(Stream::new(name, StorageKind::Durable))
    }

    fn push(queues: &WriteQueues, stream: &Arc<Stream>, bytes: usize) -> bool {
        let submission = Submission {
            command: Command::Append {
                batch: RecordBlock::from_payloads([Bytes::from(vec![0; bytes])]),
                options: AppendOptions::default(),
            },
            completion: Completion::Discard,
        };
        queues.try_push(stream, submission).is_ok()
    }

    fn names(drained: &[Drained]) -> Vec<&str> {
        drained
            .iter()
            .map(|part| part.stream.name().as_str())
            .collect()
    }

    const ONE_MIB: Allowance = Allowance {
        bytes_max: 1024 * KIB,
        queue_bytes_max: usize::MAX,
    };

    #[test]
    fn a_short_queue_is_drained_before_long_ones_that_had_their_turn() {
        let queues = queues();
        let long = ["a", "b", "c", "d"].map(stream);
        for _ in 0..4 {
            assert!(long.iter().all(|long| push(&queues, long, 256 * KIB)));
        }
        let drained = queues.drain(ONE_MIB);
        assert_eq!(names(&drained), ["a", "b", "c", "d"]);
        assert!(push(&queues, &stream("short"), 100));
        let drained = queues.drain(ONE_MIB);
        assert_eq!(names(&drained), ["short", "a", "b", "c", "d"]);
    }

    #[test]
    fn long_queues_leave_room_for_short_ones() {
        let queues = queues();
        for long in ["a", "b", "c", "d", "e", "f"].map(stream) {
            while push(&queues, &long, 100 * KIB) {}
        }
        let left = (8 << 20) - queues.bytes();
        assert!(left >= 1024 * KIB, "{left} bytes are left");
        let short = stream("short");
        assert!(push(&queues, &short, 60 * KIB));
        assert!(!push(&queues, &short, 60 * KIB), "it is long now");
        assert!(push(&queues, &stream("other"), 60 * KIB));
    }

    #[test]
    fn long_queues_may_be_left_out_and_keep_what_they_have() {
        let queues = queues();
        let (long, short) = (stream("long"), stream("short"));
        assert!(push(&queues, &long, 256 * KIB) && push(&queues, &short, 100));
        let only_short = Allowance {
            queue_bytes_max: SHORT_QUEUE_BYTES,
            ..ONE_MIB
        };
        assert_eq!(names(&queues.drain(only_short)), ["short"]);
        assert!(queues.drain(only_short).is_empty());
        assert_eq!(names(&queues.drain(ONE_MIB)), ["long"]);
        assert_eq!(queues.bytes(), 0);
    }
}
