//! A pause of long queues, for the sake of those who append little and wait for each.
//!
//! A commit is waited for until it is done, and what fills one with batches keeps disk and cores busy besides. So while there are
//! light queues, long ones get at most half of the committer's time: after a commit that took from one, long queues are left out for as
//! long as it took. Commits are small meanwhile, and folds sync as they go, since each is waited for. With queues of one kind nothing of that is done.

use std::time::{Duration, Instant};

use crate::stream::{Drained, QueueKind};

/// A light queue counts for this long after it was seen.
const REMEMBERED: Duration = Duration::from_millis(250);

/// A stall of the disk is not made longer than this.
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// About what a commit brings beside light queues: a batch of the client's producer.
const COMMIT_BYTES_MAX: usize = 256 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    light_seen: Option<Instant>,
    long_seen: Option<Instant>,
    /// The commit under way took from a long queue.
    has_long: bool,
    /// Until when long queues are left out.
    until: Option<Instant>,
}

impl Pace {
    /// A commit of this begins `now`.
    pub fn begin(&mut self, drained: &[Drained], now: Instant) {
        let has = |kind| drained.iter().any(|part| part.queue == kind);
        self.has_long = has(QueueKind::Long);
        if self.has_long {
            self.long_seen = Some(now);
        }
        if has(QueueKind::Light) {
            self.light_seen = Some(now);
        }
    }

    /// The commit that began at `begun` ends `now`.
    pub fn end(&mut self, begun: Instant, now: Instant) {
        if self.has_long && self.is_beside_light(now) {
            self.until = Some(now + (now - begun).min(PAUSE_MAX));
        }
    }

    /// Long queues and light ones were seen a moment ago. (A thousand streams with little each are light, and nobody is in their way.)
    pub fn is_beside_light(&self, now: Instant) -> bool {
        let seen = [self.light_seen, self.long_seen];
        seen.iter()
            .all(|seen| seen.is_some_and(|at| now < at + REMEMBERED))
    }

    /// About how many bytes a commit may bring `now`.
    pub fn commit_bytes_max(&self, now: Instant) -> usize {
        if self.is_beside_light(now) {
            COMMIT_BYTES_MAX
        } else {
            usize::MAX
        }
    }

    /// For how long yet long queues are left out.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use super::*;
    use crate::stream::Stream;
    use crate::types::{StorageKind, StreamName};

    const MS: Duration = Duration::from_millis(1);

    fn drained(queue: QueueKind) -> Drained {
        let name = StreamName::new("a").unwrap();
        Drained {
            stream: Arc::new(Stream::new(name, StorageKind::Durable)),
            submissions: VecDeque::new(),
            since: Instant::now(),
            queue,
        }
    }

    impl Pace {
        /// A commit of these queues; for how long long queues are left out after it.
        fn after(
            &mut self,
            kinds: &[QueueKind],
            begun: Instant,
            took: Duration,
        ) -> Option<Duration> {
            let drained: Vec<_> = kinds.iter().copied().map(drained).collect();
            self.begin(&drained, begun);
            self.end(begun, begun + took);
            self.pause(begun + took)
        }
    }

    const BOTH: [QueueKind; 2] = [QueueKind::Light, QueueKind::Long];

    #[test]
    fn long_queues_pause_for_as_long_as_their_commit_took() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        assert_eq!(pace.after(&BOTH, begun, 2 * MS), Some(2 * MS));
        assert_eq!(pace.pause(begun + 3 * MS), Some(MS));
        assert_eq!(pace.pause(begun + 4 * MS), None);
    }

    #[test]
    fn a_light_commit_does_not_end_the_pause() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        pace.after(&BOTH, begun, 3 * MS);
        let left = pace.after(&[QueueKind::Light], begun + 3 * MS, MS);
        assert_eq!(left, Some(2 * MS));
    }

    #[test]
    fn nobody_pauses_for_nobody() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        let busy = [QueueKind::Long, QueueKind::Short];
        assert_eq!(pace.after(&busy, begun, MS), None);
        pace.after(&[QueueKind::Light], begun + MS, MS);
        let soon = pace.after(&busy, begun + REMEMBERED / 2, MS);
        assert_eq!(soon, Some(MS), "one was seen just now");
        assert_eq!(pace.after(&busy, begun + 2 * REMEMBERED, MS), None);
    }

    #[test]
    fn short_queues_do_not_pause() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        let small = [QueueKind::Light, QueueKind::Short];
        assert_eq!(pace.after(&small, begun, 2 * MS), None);
    }

    #[test]
    fn a_stall_is_not_made_twice_as_long() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        assert_eq!(pace.after(&BOTH, begun, 100 * MS), Some(PAUSE_MAX));
    }

    #[test]
    fn commits_are_small_with_long_queues_beside_light_ones_only() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        for alone in [QueueKind::Long, QueueKind::Light] {
            let mut pace = Pace::default();
            pace.after(&[alone], begun, MS);
            assert_eq!(pace.commit_bytes_max(begun + MS), usize::MAX);
        }
        pace.after(&BOTH, begun + MS, MS);
        assert_eq!(pace.commit_bytes_max(begun + 2 * MS), COMMIT_BYTES_MAX);
        let later = begun + MS + REMEMBERED;
        assert_eq!(pace.commit_bytes_max(later), usize::MAX);
    }
}
