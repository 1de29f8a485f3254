//! The committer without room: what it does when the hot tail or the disk is full, and how it finds out that it may go on.
//!
//! Memory that is over its budget is waited for: the folder makes room. A disk that is full is not: writes are refused at once, and every
//! so often it is tried whether there is room again. What the engine asked of itself meanwhile stays queued.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::commit::Commit;
use super::committer::Committer;
use super::error::StoreError;
use super::rewind;
use crate::stream::{Completion, Drained};
use crate::types::{Error, Fault};

/// How often room is looked for on a full disk.
const ROOM_POLL: Duration = Duration::from_millis(250);

/// Why nothing is written for now, and what there must be room for.
pub(super) struct Full {
    reason: String,
    bytes: u64,
    looked: Instant,
}

impl Committer {
    /// Waits for room in the hot tail; the fault if there is none for now, or will be none.
    pub(super) fn refusing(&mut self) -> Option<Fault> {
        let shared = Arc::clone(&self.shared);
        let mut unfolded = shared.unfolded.lock();
        loop {
            if let Some(fault) = shared.faulted() {
                return Some(fault);
            }
            if let Some(Full { reason, .. }) = &self.full {
                let reason = reason.clone();
                return Some(Fault::StoreFull { reason });
            }
            if !unfolded.is_over(&shared.options) {
                return None;
            }
            if let Some(reason) = unfolded.stuck.clone() {
                self.is_full(reason, 0);
                continue;
            }
            shared.unfolded_changed.wait(&mut unfolded);
        }
    }

    /// Answers all commands with `fault`. What the engine asks of itself while there is no room stays queued.
    pub(super) fn refuse_all(&mut self, drained: Vec<Drained>, fault: &Fault) {
        let keep = matches!(fault, Fault::StoreFull { .. }) && !self.shared.is_stopping();
        for part in drained {
            part.stream.answered(part.submissions.len());
            for submission in part.submissions {
                if keep && matches!(submission.completion, Completion::Discard) {
                    self.shared.queues.push_own(&part.stream, submission);
                    continue;
                }
                self.completions
                    .complete(submission.completion, Err(Error::Fault(fault.clone())));
            }
        }
        self.completions.flush();
    }

    /// Refuses writes until there is room for a commit of `bytes` bytes.
    fn is_full(&mut self, reason: String, bytes: u64) {
        self.shared.is_full(&reason);
        self.full = Some(Full {
            reason,
            bytes,
            looked: Instant::now(),
        });
    }

    /// Waits a while, or for a command, and then looks whether there is room again; not too often.
    pub(super) fn look_for_room(&mut self) {
        let Some(Full { looked, bytes, .. }) = &mut self.full else {
            return;
        };
        let left = ROOM_POLL.saturating_sub(looked.elapsed());
        if !left.is_zero() && !self.shared.is_stopping() {
            std::thread::park_timeout(left);
            return;
        }
        *looked = Instant::now();
        let bytes = *bytes;
        let unfolded = self.shared.unfolded.lock();
        let stuck = unfolded.stuck.is_some() && unfolded.is_over(&self.shared.options);
        drop(unfolded);
        let watermark = self.shared.watermark.load(Ordering::Acquire);
        let room = self.journal.as_mut().map_or(Ok(()), |journal| {
            if stuck {
                return Ok(());
            }
            journal.make_room(bytes, watermark)
        });
        match room {
            Ok(()) if stuck => {}
            Ok(()) => {
                self.full = None;
                self.shared.has_room();
            }
            Err(StoreError::Full { .. }) => {}
            Err(error) => {
                self.full = None;
                self.shared.fault(&error);
            }
        }
    }

    /// What a commit that failed means for its waiters.
    pub(super) fn give_up(&mut self, commit: &mut Commit, error: StoreError) {
        let taken_back = match (&error, &self.journal) {
            (StoreError::Full { .. }, Some(journal)) => {
                rewind::rewind(&self.shared, journal, commit)
            }
            _ => Err(error),
        };
        let fault = match taken_back {
            Ok(()) => {
                let reason = "there is no room on the disk".to_owned();
                self.is_full(reason.clone(), commit.row_bytes() as u64);
                Fault::StoreFull { reason }
            }
            Err(error) => {
                self.shared.fault(&error);
                Fault::StoreFaulted {
                    reason: error.to_string(),
                }
            }
        };
        for (_, reply) in &mut commit.answers {
            *reply = Err(Error::Fault(fault.clone()));
        }
    }
}
