//! A pause of long queues and crowds, for the sake of those who append little and wait for each.
//!
//! A commit is waited for until it is done, and what fills one with batches keeps disk and cores busy besides. So while there are
//! light queues, long ones, and a crowd of short ones, get at most half of the committer's time: after a commit that took from those, they
//! are left out for as long as it took. Commits are small meanwhile, in bytes and in streams, and folds sync as they go, since each is waited
//! for. With light queues alone, or without any, nothing of that is done.

use std::time::{Duration, Instant};

use crate::stream::{Drained, QueueKind};

/// A light queue counts for this long after it was seen.
const REMEMBERED: Duration = Duration::from_millis(250);

/// A stall of the disk is not made longer than this.
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// So many queues in a commit, none of them light, are a crowd.
const CROWD: usize = 64;

/// What is left out of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub until: Instant,
    /// Queues that are heavier.
    pub over: QueueKind,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    light_seen: Option<Instant>,
    /// A long queue or a crowd.
    heavy_seen: Option<Instant>,
    /// Queues over this are to pause, for the commit under way took from them.
    took_over: Option<QueueKind>,
    pause: Option<Pause>,
}

impl Pace {
    /// A commit of this begins `now`.
    pub fn begin(&mut self, drained: &[Drained], now: Instant) {
        let light = count(drained, QueueKind::Light);
        self.took_over = if drained.len() - light >= CROWD {
            Some(QueueKind::Light)
        } else {
            (count(drained, QueueKind::Long) > 0).then_some(QueueKind::Short)
        };
        if self.took_over.is_some() {
            self.heavy_seen = Some(now);
        }
        if light > 0 {
            self.light_seen = Some(now);
        }
    }

    /// The commit that began at `begun` ends `now`.
    pub fn end(&mut self, begun: Instant, now: Instant) {
        if let Some(over) = self.took_over
            && self.is_beside_light(now)
        {
            let until = now + (now - begun).min(PAUSE_MAX);
            self.pause = Some(Pause { until, over });
        }
    }

    /// Light queues were seen a moment ago, and long ones or a crowd. (A thousand clients that append little are light, and nobody is in
    /// their way.)
    pub fn is_beside_light(&self, now: Instant) -> bool {
        let seen = [self.light_seen, self.heavy_seen];
        seen.iter()
            .all(|seen| seen.is_some_and(|at| now < at + REMEMBERED))
    }

    /// What is left out `now`.
    pub fn pause(&self, now: Instant) -> Option<Pause> {
        self.pause.filter(|pause| now < pause.until)
    }
}

fn count(drained: &[Drained], kind: QueueKind) -> usize {
    drained.iter().filter(|part| part.queue == kind).count()
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
            self.pauses_for(begun + took)
        }

        fn pauses_for(&self, now: Instant) -> Option<Duration> {
            self.pause(now).map(|pause| pause.until - now)
        }
    }

    const BOTH: [QueueKind; 2] = [QueueKind::Light, QueueKind::Long];

    #[test]
    fn long_queues_pause_for_as_long_as_their_commit_took() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        assert_eq!(pace.after(&BOTH, begun, 2 * MS), Some(2 * MS));
        assert_eq!(pace.pauses_for(begun + 3 * MS), Some(MS));
        assert_eq!(
            pace.pause(begun + 3 * MS).map(|pause| pause.over),
            Some(QueueKind::Short)
        );
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
    fn short_queues_pause_in_a_crowd() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        let mut queues = vec![QueueKind::Short; CROWD - 1];
        queues.push(QueueKind::Light);
        assert_eq!(pace.after(&queues, begun, 2 * MS), None);
        queues.push(QueueKind::Short);
        assert_eq!(pace.after(&queues, begun, 2 * MS), Some(2 * MS));
        let over = pace.pause(begun + 2 * MS).map(|pause| pause.over);
        assert_eq!(over, Some(QueueKind::Light));
    }

    #[test]
    fn a_stall_is_not_made_twice_as_long() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        assert_eq!(pace.after(&BOTH, begun, 100 * MS), Some(PAUSE_MAX));
    }

    #[test]
    fn light_queues_are_beside_long_ones_or_a_crowd() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        for alone in [vec![QueueKind::Long], vec![QueueKind::Light; 1000]] {
            let mut pace = Pace::default();
            pace.after(&alone, begun, MS);
            assert!(!pace.is_beside_light(begun + MS));
        }
        pace.after(&BOTH, begun + MS, MS);
        assert!(pace.is_beside_light(begun + 2 * MS));
        let later = begun + MS + REMEMBERED;
        assert!(!pace.is_beside_light(later));
        let mut crowd = vec![QueueKind::Short; CROWD];
        pace.after(&crowd, later, MS);
        assert!(!pace.is_beside_light(later + MS), "nobody is light");
        crowd.push(QueueKind::Light);
        pace.after(&crowd, later + MS, MS);
        assert!(pace.is_beside_light(later + 2 * MS));
    }
}
