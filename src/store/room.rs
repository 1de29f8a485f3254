//! The committer without room: what it does when the hot tail or the disk is full, and how it finds out that it may go on.
//!
//! Memory that is over its budget is waited for: the folder makes room. A disk that is full is not: writes are refused at once, and every
//! so often it is tried whether there is room again. What only removes is let through meanwhile, the engine's own as well as that of
//! clients, in the room of the [`reserve`](super::reserve); the folder clears away after it, and gives back what it can.
//!
//! Invariants: while the reserve is not whole, nothing is committed but removals, and of those no more than a part of it. Writes are taken
//! again only once it is whole and the folder is not stuck.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::commit::Commit;
use super::committer::Committer;
use super::error::StoreError;
use super::journal::Journal;
use super::rewind;
use crate::stream::{Completion, Drained, Stream, Submission};
use crate::types::{Error, Fault};

/// How often room is looked for on a full disk.
const ROOM_POLL: Duration = Duration::from_millis(250);

/// Removals in one commit.
const REMOVALS_MAX: usize = 1000;

/// What a commit of removals takes in the journal, unless there are very many.
const REMOVALS_BYTES: u64 = 4096;

/// Why nothing is written for now, and what there must be room for.
pub(super) struct Full {
    reason: String,
    bytes: u64,
    looked: Instant,
    /// When there was no room even for a removal.
    stopped: Option<Instant>,
    /// The last row of removals, and about what those take that were not folded when it was written.
    last_removal: u64,
    removal_bytes: u64,
}

fn is_own(submission: &Submission) -> bool {
    matches!(submission.completion, Completion::Discard)
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
            if !shared.reserve.is_whole() {
                unfolded.full = true;
                shared.unfolded_changed.notify_all();
                self.is_full("there is no room on the disk".to_owned(), 0);
                continue;
            }
            if !unfolded.is_over(&shared.options) {
                return None;
            }
            if let Some(reason) = unfolded.stuck.clone() {
                unfolded.full = true;
                shared.unfolded_changed.notify_all();
                self.is_full(reason, 0);
                continue;
            }
            shared.unfolded_changed.wait(&mut unfolded);
        }
    }

    /// Answers commands with `fault`, but commits removals if room is all that is missing. What else the engine asks of itself then stays
    /// queued.
    pub(super) fn refuse(&mut self, drained: Vec<Drained>, fault: &Fault) {
        let full = matches!(fault, Fault::StoreFull { .. });
        let removes = full && self.may_remove();
        let keeps = full && !self.shared.is_stopping();
        let mut removals = Vec::new();
        let mut left = if removes { REMOVALS_MAX } else { 0 };
        for mut part in drained {
            let (taken, refused) = part.submissions.into_iter().partition(|submission| {
                let takes =
                    left > 0 && submission.command.only_removes() && (keeps || !is_own(submission));
                left -= usize::from(takes);
                takes
            });
            self.refuse_each(&part.stream, refused, fault, keeps);
            part.submissions = taken;
            if !part.submissions.is_empty() {
                removals.push(part);
            }
        }
        self.completions.flush();
        if !removals.is_empty() {
            self.remove(removals);
        }
    }

    fn refuse_each(
        &mut self,
        stream: &Arc<Stream>,
        refused: VecDeque<Submission>,
        fault: &Fault,
        keeps: bool,
    ) {
        stream.answered(refused.len());
        for submission in refused {
            if keeps && is_own(&submission) {
                self.shared.queues.push_own(stream, submission);
                continue;
            }
            let answer = Err(Error::Fault(fault.clone()));
            self.completions.complete(submission.completion, answer);
        }
    }

    /// Whether removals may be tried: not right after there was no room even for them, nor while the folder has many to clear away after.
    fn may_remove(&self) -> bool {
        let stopped = self.full.as_ref().and_then(|full| full.stopped);
        let rests = stopped.is_some_and(|at| at.elapsed() < ROOM_POLL);
        let written = self.written_removals();
        !rests && written < self.shared.reserve.part() as u64
    }

    /// What removals take in the journal that the folder has not cleared away after.
    fn written_removals(&self) -> u64 {
        let Some(full) = &self.full else { return 0 };
        let folded = self.shared.watermark.load(Ordering::Acquire) >= full.last_removal;
        if folded { 0 } else { full.removal_bytes }
    }

    /// Commits what only removes, in the room of the reserve.
    fn remove(&mut self, removals: Vec<Drained>) {
        self.shared.reserve.spend();
        let removal_bytes = self.written_removals();
        let first = self.journal.as_ref().map_or(0, Journal::next_row);
        self.commit(removals);
        let next = self.journal.as_ref().map_or(0, Journal::next_row);
        if let Some(full) = self.full.as_mut().filter(|_| next > first) {
            full.last_removal = next - 1;
            full.removal_bytes = removal_bytes + REMOVALS_BYTES;
            // Whoever removes need not wait for the next look.
            self.shared.unfolded_changed.notify_all();
        }
    }

    /// Sees to the reserve at a start: without it, writes are refused until it can be made.
    pub(super) fn keep_room(&mut self) {
        if let Err(error) = self.shared.reserve.keep() {
            self.shared.unfolded.lock().full = true;
            self.is_full(error.to_string(), 0);
        }
    }

    /// Refuses writes until there is room for a commit of `bytes` bytes.
    fn is_full(&mut self, reason: String, bytes: u64) {
        self.shared.is_full(&reason);
        if let Some(journal) = &mut self.journal {
            journal.grow_sparingly(true);
        }
        let now = Instant::now();
        match &mut self.full {
            // Even a removal has no room.
            Some(full) => full.stopped = Some(now),
            None => {
                self.full = Some(Full {
                    reason,
                    bytes,
                    looked: now,
                    stopped: None,
                    last_removal: 0,
                    removal_bytes: 0,
                });
            }
        }
    }

    /// Gives back what the journal holds and nobody needs, as soon as the folder is through with it.
    fn give_back(&mut self) {
        let watermark = self.shared.watermark.load(Ordering::Acquire);
        if let (Some(journal), Some(files)) = (&mut self.journal, &self.shared.options.files) {
            journal.give_back(&**files, watermark);
        }
        let before = self.shared.given_back.swap(watermark, Ordering::AcqRel);
        if before != watermark {
            // Under the lock, so that a folder about to wait for this cannot miss it.
            drop(self.shared.unfolded.lock());
            self.shared.unfolded_changed.notify_all();
        }
    }

    /// Waits a while, or for a command, and then looks whether there is room again; not too often.
    pub(super) fn look_for_room(&mut self) {
        self.give_back();
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
        if self.is_folding() {
            return;
        }
        match self.make_room(bytes) {
            Ok(()) => {
                self.full = None;
                self.shared.unfolded.lock().full = false;
                self.shared.has_room();
            }
            Err(StoreError::Full { .. }) => {}
            Err(error) => {
                self.full = None;
                self.shared.fault(&error);
            }
        }
    }

    /// The folder is stuck, or at work in the room of the reserve, which is not to be taken from it.
    fn is_folding(&self) -> bool {
        let watermark = self.shared.watermark.load(Ordering::Acquire);
        let next_row = self.journal.as_ref().map_or(0, Journal::next_row);
        let behind = watermark + 1 < next_row;
        self.shared.unfolded.lock().stuck.is_some() || behind && !self.shared.reserve.is_whole()
    }

    /// Makes the reserve, and room for a commit of `bytes` bytes besides.
    fn make_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        let watermark = self.shared.watermark.load(Ordering::Acquire);
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        self.shared.reserve.keep()?;
        journal.grow_sparingly(false);
        let room = journal.make_room(bytes, watermark);
        journal.grow_sparingly(room.is_err());
        room
    }

    /// Has the removals of a commit without room tried again, in that of the reserve.
    fn queue_removals(&self, commit: &mut Commit) {
        for (answer, stream, command) in std::mem::take(&mut commit.removals).into_iter().rev() {
            let (completion, _) = commit.answers.remove(answer);
            let submission = Submission {
                command,
                completion,
                light: false,
            };
            self.shared.queues.push_own(&stream, submission);
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
                if self.full.is_none() {
                    self.queue_removals(commit);
                }
                self.shared.unfolded.lock().full = true;
                self.shared.unfolded_changed.notify_all();
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
