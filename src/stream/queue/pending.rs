//! What is queued on one stream, and what a drain takes of it.

use std::collections::VecDeque;
use std::time::Instant;

use super::{QueueKind, SHORT_QUEUE_BYTES, Submission};

/// What a queue holds at most that is called light, if it was like that [`LIGHT_DRAINS`] times in a row.
const LIGHT_QUEUE_BYTES: usize = 4 << 10;

/// A busy producer's queue may be caught nearly empty once or twice, not that often.
const LIGHT_DRAINS: u8 = 8;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::stream) struct Pending {
    pub submissions: VecDeque<Submission>,
    pub bytes: usize,
    /// On the list of active streams.
    pub active: bool,
    /// When the oldest one was queued.
    pub since: Option<Instant>,
    /// Drains in a row, up to [`LIGHT_DRAINS`], that found next to nothing.
    light_drains: u8,
}

/// What a queue gave.
#[derive(Debug)]
pub(super) struct Taken {
    pub submissions: VecDeque<Submission>,
    pub bytes: usize,
    pub since: Instant,
    /// It has more.
    pub more: bool,
    pub queue: QueueKind,
}

impl Pending {
    /// Takes commands worth up to `share` bytes, but at least one.
    pub(super) fn take(&mut self, share: usize) -> Taken {
        let queue = self.look();
        let since = self.since.unwrap_or_else(Instant::now);
        if self.bytes <= share {
            self.active = false;
            return Taken {
                submissions: std::mem::take(&mut self.submissions),
                bytes: std::mem::take(&mut self.bytes),
                since,
                more: false,
                queue,
            };
        }
        let mut submissions = VecDeque::new();
        let mut bytes = 0;
        while bytes < share {
            let Some(submission) = self.submissions.pop_front() else {
                break;
            };
            bytes += submission.command.queued_bytes();
            submissions.push_back(submission);
        }
        self.bytes -= bytes;
        self.active = !self.submissions.is_empty();
        // Nearly: the rest was queued at any time before.
        self.since = Some(Instant::now());
        Taken {
            submissions,
            bytes,
            since,
            more: self.active,
            queue,
        }
    }

    /// What kind of queue a drain finds.
    fn look(&mut self) -> QueueKind {
        if self.bytes > LIGHT_QUEUE_BYTES {
            self.light_drains = 0;
            return if self.bytes > SHORT_QUEUE_BYTES {
                QueueKind::Long
            } else {
                QueueKind::Short
            };
        }
        if self.light_drains < LIGHT_DRAINS {
            self.light_drains += 1;
            return QueueKind::Short;
        }
        QueueKind::Light
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::rules::Command;
    use crate::stream::Completion;
    use crate::types::{AppendOptions, RecordBlock};

    impl Pending {
        fn with(mut self, bytes: usize) -> Self {
            let submission = Submission {
                command: Command::Append {
                    batch: RecordBlock::from_payloads([Bytes::from(vec![0; bytes])]),
                    options: AppendOptions::default(),
                },
                completion: Completion::Discard,
            };
            self.bytes += submission.command.queued_bytes();
            self.submissions.push_back(submission);
            self
        }
    }

    /// What each of these drains finds, of one stream to which so many bytes were appended since the drain before.
    fn found(appended: &[usize]) -> Vec<QueueKind> {
        let mut pending = Pending::default();
        let drains = appended.iter().map(|bytes| {
            pending = std::mem::take(&mut pending).with(*bytes);
            pending.take(usize::MAX).queue
        });
        drains.collect()
    }

    #[test]
    fn a_queue_is_light_when_it_was_nearly_empty_many_times_in_a_row() {
        let kinds = found(&[300; 12]);
        assert_eq!(kinds[..8], [QueueKind::Short; 8]);
        assert_eq!(kinds[8..], [QueueKind::Light; 4]);
    }

    #[test]
    fn a_busy_queue_that_is_caught_nearly_empty_is_not_light() {
        let mut appended = [300; 12];
        appended[7] = 8 << 10;
        assert!(!found(&appended).contains(&QueueKind::Light));
        appended[7] = 100 << 10;
        assert_eq!(found(&appended)[7], QueueKind::Long);
    }

    #[test]
    fn a_queue_is_long_by_what_it_held_not_by_what_was_taken() {
        let mut pending = Pending::default().with(40 << 10).with(40 << 10);
        let first = pending.take(1 << 10);
        assert!(first.more && first.queue == QueueKind::Long);
        assert_eq!(pending.take(1 << 10).queue, QueueKind::Short);
    }
}
