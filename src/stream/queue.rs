//! Write queues: one per stream, bounded in bytes each and together, drained fairly by the committer.
//!
//! Sessions push; the committer is the only one that drains. A full queue gives the submission back: the caller then
//! stops reading its own connection and waits for [`WriteQueues::space`], and nobody else is held up.
//!
//! Invariant: a stream with something queued is on the active list exactly once.

mod active;
mod pending;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{Stream, Submission, Weight};
use crate::types::Fault;
use active::Active;
pub(super) use pending::Pending;
use pending::Taken;

/// How much a queue that is called light holds at most.
pub(crate) const LIGHT_QUEUE_BYTES: usize = 4 << 10;

/// How much a queue that is called short holds at most.
const SHORT_QUEUE_BYTES: usize = 64 << 10;

/// The part of a bound that is kept for short queues: long ones that fill the rest wait by themselves. Half of it is kept for light ones.
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

/// What one drain may take.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// About how many bytes.
    pub bytes_max: usize,
    /// How many streams, besides those with light queues.
    pub streams_max: usize,
    /// Heavier queues are left out.
    pub heaviest: QueueKind,
}

impl Allowance {
    /// About what a commit brings that somebody light waits for: a batch of the client's producer, or streams that are decided on in less than
    /// a sync takes.
    #[must_use]
    pub fn beside_light(self) -> Self {
        Self {
            bytes_max: self.bytes_max.min(256 << 10),
            streams_max: self.streams_max.min(128),
            ..self
        }
    }

    /// Everything there is.
    pub const ALL: Self = Self {
        bytes_max: usize::MAX,
        streams_max: usize::MAX,
        heaviest: QueueKind::Long,
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
    /// What its queue was like.
    pub queue: QueueKind,
}

/// What a drain found on a stream, from light to heavy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueKind {
    /// At most 4 KiB, from [light](Submission::light) clients alone.
    Light,
    /// At most 64 KiB.
    Short,
    /// More.
    Long,
}

impl QueueKind {
    fn of(bytes: usize, light: bool) -> Self {
        match bytes {
            ..=LIGHT_QUEUE_BYTES if light => Self::Light,
            ..=SHORT_QUEUE_BYTES => Self::Short,
            _ => Self::Long,
        }
    }
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
        let added = submission.weight();
        let pending = stream.pending.lock();
        if self.is_full(&pending, added) {
            return Err(Box::new(submission));
        }
        self.push(stream, pending, submission, added);
        Ok(())
    }

    /// Queues a command of the engine's own, whatever the bounds.
    pub(crate) fn push_own(&self, stream: &Arc<Stream>, submission: Submission) {
        let added = submission.weight();
        let pending = stream.pending.lock();
        self.push(stream, pending, submission, added);
    }

    fn push(
        &self,
        stream: &Arc<Stream>,
        mut pending: MutexGuard<'_, Pending>,
        submission: Submission,
        added: Weight,
    ) {
        stream.note_use();
        stream.unanswered.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(added.bytes, Ordering::Relaxed);
        pending.push(submission, added);
        let activated = !pending.active;
        if activated {
            pending.active = true;
            pending.since = Some(Instant::now());
        }
        // Refusing the rest takes this lock again.
        drop(pending);
        if activated {
            self.active.lock().begin(Arc::clone(stream), added.light);
        }
        if self.closed.load(Ordering::SeqCst) {
            self.refuse_rest();
        }
    }

    fn is_full(&self, pending: &Pending, added: Weight) -> bool {
        let QueueLimits {
            total_bytes_max,
            stream_bytes_max,
        } = self.limits;
        let kept_for_short = kept_for_short(total_bytes_max);
        let kept = match pending.kind_with(added) {
            QueueKind::Long => kept_for_short,
            QueueKind::Short => kept_for_short / 2,
            QueueKind::Light => 0,
        };
        // What is at most half full takes one of any size: what `space` waits for must let the waiter in.
        let over = |queued: usize, max: usize, kept: usize| {
            queued > max / 2 && queued + added.bytes > max - kept
        };
        over(pending.bytes, stream_bytes_max, 0) || over(self.bytes(), total_bytes_max, kept)
    }

    /// True if the queues together hold half of what they may.
    pub(crate) fn is_half_full(&self) -> bool {
        self.bytes() > self.limits.total_bytes_max / 2
    }

    /// Waits until the queue of `stream` has room again for a command of this weight. Cancel safe.
    pub(crate) async fn space(&self, stream: &Stream, weight: Weight) {
        loop {
            let freed = self.space.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            self.space_wanted.store(true, Ordering::SeqCst);
            if self.has_space(&stream.pending.lock(), weight) {
                return;
            }
            freed.await;
        }
    }

    /// Long queues wait until half is free, for larger commits; a short one does not wait for them.
    fn has_space(&self, pending: &Pending, weight: Weight) -> bool {
        if pending.kind_with(weight) < QueueKind::Long {
            return !self.is_full(pending, weight);
        }
        self.bytes() <= self.limits.total_bytes_max / 2
            && pending.bytes <= self.limits.stream_bytes_max / 2
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

    /// Takes queued commands as far as the allowance goes, fairly. Light queues go first, then short ones that began since the last drain,
    /// up to half of it; then each active stream gives up to an equal share, those after the others that gave one the last time. So a long queue
    /// holds up nobody for long. A stream comes up at most once.
    pub(crate) fn drain(&self, allowance: Allowance) -> Vec<Drained> {
        let turns = self.active.lock().take();
        let mut drain = Drain::new(allowance, turns.len());
        let mut order = turns.waiting;
        for stream in turns.light {
            order.extend(drain.visit_early(stream, QueueKind::Light));
        }
        for stream in turns.begun {
            order.extend(drain.visit_early(stream, QueueKind::Short));
        }
        order.extend(turns.unfinished);
        let mut passed_over = VecDeque::new();
        // Those that are passed over may be a hundred thousand: none is looked at for nothing.
        let only_light = allowance.heaviest == QueueKind::Light;
        while !only_light
            && drain.goes_on()
            && let Some(stream) = order.pop_front()
        {
            passed_over.extend(drain.visit(stream));
        }
        passed_over.append(&mut order);
        if !passed_over.is_empty() || !drain.unfinished.is_empty() {
            self.active.lock().put_back(passed_over, drain.unfinished);
        }
        if drain.taken > 0 {
            self.release(drain.taken);
        }
        drain.drained
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

/// A drain under way.
struct Drain {
    allowance: Allowance,
    /// What one stream may give.
    share: usize,
    taken: usize,
    drained: Vec<Drained>,
    /// Gave their share and have more.
    unfinished: VecDeque<Arc<Stream>>,
    /// How many streams may yet be taken from, besides those with light queues.
    streams_left: usize,
}

impl Drain {
    /// Of so many `streams`.
    fn new(allowance: Allowance, streams: usize) -> Self {
        let streams = streams.min(allowance.streams_max);
        let among = if allowance.heaviest == QueueKind::Long {
            streams.max(1)
        } else {
            1
        };
        Self {
            allowance,
            share: (allowance.bytes_max / among).max(1),
            taken: 0,
            drained: Vec::with_capacity(streams),
            unfinished: VecDeque::new(),
            streams_left: allowance.streams_max,
        }
    }

    /// True if there may be more, unless it is light.
    fn goes_on(&self) -> bool {
        self.taken < self.allowance.bytes_max && self.streams_left > 0
    }

    /// Takes all of a queue that is not over `heaviest`, as long as less than half of the allowance is used up. Else gives the stream back.
    fn visit_early(&mut self, stream: Arc<Stream>, heaviest: QueueKind) -> Option<Arc<Stream>> {
        let Allowance {
            bytes_max,
            streams_max,
            ..
        } = self.allowance;
        let many = heaviest > QueueKind::Light && self.streams_left <= streams_max / 2;
        if many || self.taken >= bytes_max / 2 {
            return Some(stream);
        }
        let mut pending = stream.pending.lock();
        if pending.kind() > heaviest.min(self.allowance.heaviest) {
            drop(pending);
            return Some(stream);
        }
        let taken = pending.take(usize::MAX);
        drop(pending);
        self.keep(stream, taken);
        None
    }

    /// Takes the share of a stream. Gives the stream back if it has to be left out.
    fn visit(&mut self, stream: Arc<Stream>) -> Option<Arc<Stream>> {
        let mut pending = stream.pending.lock();
        if pending.kind() > self.allowance.heaviest {
            drop(pending);
            return Some(stream);
        }
        let taken = pending.take(self.share);
        drop(pending);
        self.keep(stream, taken);
        None
    }

    fn keep(&mut self, stream: Arc<Stream>, taken: Taken) {
        self.taken += taken.bytes;
        if taken.queue > QueueKind::Light {
            self.streams_left = self.streams_left.saturating_sub(1);
        }
        if taken.more {
            self.unfinished.push_back(Arc::clone(&stream));
        }
        self.drained.push(Drained {
            stream,
            submissions: taken.submissions,
            since: taken.since,
            queue: taken.queue,
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;

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
        push_as(queues, stream, bytes, false)
    }

    fn push_light(queues: &WriteQueues, stream: &Arc<Stream>) -> bool {
        push_as(queues, stream, 100, true)
    }

    fn push_as(queues: &WriteQueues, stream: &Arc<Stream>, bytes: usize, light: bool) -> bool {
        let submission = Submission {
            command: Command::Append {
                batch: RecordBlock::from_payloads([Bytes::from(vec![0; bytes])]),
                options: AppendOptions::default(),
            },
            completion: Completion::Discard,
            light,
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
        ..Allowance::ALL
    };

    #[test]
    fn a_short_queue_is_in_the_next_drain_however_many_long_ones_wait() {
        let queues = queues();
        let long = ["a", "b", "c", "d"].map(stream);
        for _ in 0..4 {
            assert!(long.iter().all(|long| push(&queues, long, 256 * KIB)));
        }
        let half_mib = Allowance {
            bytes_max: 512 * KIB,
            ..ONE_MIB
        };
        assert_eq!(names(&queues.drain(half_mib)), ["a", "b"]);
        assert!(push(&queues, &stream("short"), 100));
        assert_eq!(names(&queues.drain(half_mib)), ["short", "c", "d"]);
        assert_eq!(names(&queues.drain(half_mib)), ["a", "b"]);
    }

    #[test]
    fn short_queues_leave_half_of_a_drain_to_others() {
        let queues = queues();
        let long = stream("long");
        for _ in 0..8 {
            assert!(push(&queues, &long, 256 * KIB - KIB));
        }
        queues.drain(ONE_MIB);
        for number in 0..100 {
            assert!(push(&queues, &stream(&format!("short-{number}")), 32 * KIB));
        }
        let before = queues.bytes();
        let drained = queues.drain(ONE_MIB);
        assert!(names(&drained).len() > 16 && before - queues.bytes() >= 1024 * KIB);
        for _ in 0..8 {
            if names(&queues.drain(ONE_MIB)).contains(&"long") {
                return;
            }
        }
        panic!("the long queue waits for ever");
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
    fn long_queues_that_are_left_out_keep_what_they_have_and_their_place() {
        let queues = queues();
        let (long, short) = (stream("long"), stream("short"));
        assert!(push(&queues, &long, 256 * KIB) && push(&queues, &short, 100));
        let only_short = Allowance {
            heaviest: QueueKind::Short,
            ..ONE_MIB
        };
        assert_eq!(names(&queues.drain(only_short)), ["short"]);
        assert!(queues.drain(only_short).is_empty());
        assert!(push(&queues, &stream("longer"), 512 * KIB));
        assert_eq!(names(&queues.drain(ONE_MIB)), ["long", "longer"]);
        assert_eq!(queues.bytes(), 0);
    }

    #[test]
    fn a_short_queue_that_was_refused_does_not_wait_for_long_ones() {
        let queues = queues();
        for long in ["a", "b", "c", "d", "e", "f"].map(stream) {
            while push(&queues, &long, 100 * KIB) {}
        }
        let mut number = 0;
        while push(&queues, &stream(&format!("short-{number}")), 60 * KIB) {
            number += 1;
        }
        let refused = stream("refused");
        let weight = Weight {
            bytes: 60 * KIB,
            light: false,
        };
        let mut space = std::pin::pin!(queues.space(&refused, weight));
        assert!(space.as_mut().now_or_never().is_none());
        queues.drain(Allowance {
            heaviest: QueueKind::Short,
            ..ONE_MIB
        });
        assert!(queues.bytes() > 6 << 20, "the long ones are left");
        assert!(space.now_or_never().is_some());
    }

    #[test]
    fn light_queues_are_in_the_next_drain_however_many_short_ones_wait() {
        let queues = queues();
        for number in 0..1000 {
            assert!(push(&queues, &stream(&format!("crowd-{number}")), 100));
        }
        assert!(push_light(&queues, &stream("a")) && push_light(&queues, &stream("b")));
        let drained = queues.drain(ONE_MIB.beside_light());
        assert_eq!(names(&drained)[..2], ["a", "b"]);
        assert_eq!(drained.len(), 2 + ONE_MIB.beside_light().streams_max);
        let mut left = 1002 - drained.len();
        while left > 0 {
            let drained = queues.drain(ONE_MIB.beside_light()).len();
            assert!(drained > 0);
            left -= drained;
        }
    }

    #[test]
    fn light_queues_leave_half_of_a_drain_to_others() {
        let queues = queues();
        let long = stream("long");
        for _ in 0..4 {
            assert!(push(&queues, &long, 256 * KIB));
        }
        let allowance = ONE_MIB.beside_light();
        for round in 0..8 {
            for number in 0..2000 {
                assert!(push_light(&queues, &stream(&format!("{round}-{number}"))));
            }
            if names(&queues.drain(allowance)).contains(&"long") {
                return;
            }
        }
        panic!("the long queue waits for ever");
    }

    #[test]
    fn short_queues_leave_room_for_light_ones() {
        let queues = queues();
        let mut number = 0;
        while push(&queues, &stream(&format!("crowd-{number}")), 1000) {
            number += 1;
        }
        assert!(!push(&queues, &stream("short"), 1000));
        let light = stream("light");
        assert!(push_light(&queues, &light));
        let only_light = Allowance {
            heaviest: QueueKind::Light,
            ..ONE_MIB
        };
        assert_eq!(names(&queues.drain(only_light)), ["light"]);
        assert!(queues.drain(only_light).is_empty());
    }
}
