//! What is queued on one stream, and what a drain takes of it.

use std::collections::VecDeque;
use std::time::Instant;

use super::{QueueKind, Submission, Weight};

/// See the module.
#[derive(Debug, Default)]
pub(in crate::stream) struct Pending {
    pub submissions: VecDeque<Submission>,
    pub bytes: usize,
    /// On the list of active streams.
    pub active: bool,
    /// When the oldest one was queued.
    pub since: Option<Instant>,
    /// All that is queued is from light clients.
    light: bool,
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
    /// Adds a command of this weight.
    pub(super) fn push(&mut self, submission: Submission, added: Weight) {
        self.light = self.is_light_with(added);
        self.bytes += added.bytes;
        // Of many streams that each have one queued, room for four would be most of what they take.
        if self.submissions.capacity() == 0 {
            self.submissions.reserve_exact(1);
        }
        self.submissions.push_back(submission);
    }

    /// What kind of queue it would be with so much more.
    pub(super) fn kind_with(&self, added: Weight) -> QueueKind {
        QueueKind::of(self.bytes + added.bytes, self.is_light_with(added))
    }

    fn is_light_with(&self, added: Weight) -> bool {
        added.light && (self.light || self.submissions.is_empty())
    }

    /// What kind of queue it is.
    pub(super) fn kind(&self) -> QueueKind {
        QueueKind::of(self.bytes, self.light)
    }

    /// Takes commands worth up to `share` bytes, but at least one.
    pub(super) fn take(&mut self, share: usize) -> Taken {
        let queue = self.kind();
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
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::rules::Command;
    use crate::stream::Completion;
    use crate::types::{AppendOptions, RecordBlock};

    fn append(bytes: usize, light: bool) -> Submission {
        Submission {
            command: Command::Append {
                batch: RecordBlock::from_payloads([Bytes::from(vec![0; bytes])]),
                options: AppendOptions::default(),
            },
            completion: Completion::Discard,
            light,
        }
    }

    fn holding(appends: &[(usize, bool)]) -> Pending {
        let mut pending = Pending::default();
        for &(bytes, light) in appends {
            let submission = append(bytes, light);
            let added = submission.weight();
            pending.push(submission, added);
        }
        pending
    }

    #[test]
    fn a_queue_is_light_if_light_clients_alone_put_next_to_nothing_there() {
        let kind = |appends: &[(usize, bool)]| holding(appends).kind();
        assert_eq!(kind(&[(300, true); 3]), QueueKind::Light);
        assert_eq!(kind(&[(300, true), (300, false)]), QueueKind::Short);
        assert_eq!(kind(&[(300, false), (300, true)]), QueueKind::Short);
        assert_eq!(kind(&[(300, true); 30]), QueueKind::Short);
        assert_eq!(kind(&[(100 << 10, true)]), QueueKind::Long);
    }

    #[test]
    fn a_queue_that_was_emptied_can_be_light_again() {
        let mut pending = holding(&[(300, false)]);
        assert_eq!(pending.take(usize::MAX).queue, QueueKind::Short);
        let submission = append(300, true);
        let added = submission.weight();
        pending.push(submission, added);
        assert_eq!(pending.take(usize::MAX).queue, QueueKind::Light);
    }

    #[test]
    fn a_queue_is_long_by_what_it_held_not_by_what_was_taken() {
        let mut pending = holding(&[(40 << 10, false); 2]);
        let first = pending.take(1 << 10);
        assert!(first.more && first.queue == QueueKind::Long);
        assert_eq!(pending.take(1 << 10).queue, QueueKind::Short);
    }
}
