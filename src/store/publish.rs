//! What readers see of a commit that is durable: each stream's live view goes from one durable state to the next in one step, and
//! whoever waits for it is woken.
//!
//! Invariant: a trim that readers were shown is never taken back, and is written down by a later commit.

use std::sync::atomic::Ordering;

use super::commit::{Commit, Touched};
use super::committer::Committer;
use super::retention;
use crate::rules::Command;
use crate::stream::{Live, Resident, View};
use crate::types::{DeleteReason, Position};

impl Committer {
    /// Answers how many of its streams are in memory only because of this commit.
    pub(super) fn publish(&mut self, commit: &Commit, first_row: u64) -> usize {
        let last_row = first_row + commit.row_count().saturating_sub(1) as u64;
        let released = self.shared.released.load(Ordering::Acquire);
        let mut streams = 0;
        for touched in &commit.touched {
            self.publish_stream(commit, touched, first_row);
            if self.journal.is_some() {
                streams += usize::from(touched.stream.note_row(last_row) <= released);
            }
        }
        if let Some(feed) = self.shared.feed.get() {
            for touched in &commit.touched {
                feed.changed(touched.stream.name());
            }
        }
        streams
    }

    /// One stream's step from one durable state to the next, under one lock.
    fn publish_stream(&mut self, commit: &Commit, touched: &Touched, first_row: u64) {
        let stream = &touched.stream;
        let resident = stream.state.lock();
        let Resident::Loaded(state) = &*resident else {
            return;
        };
        let mut freed = 0;
        let mut added = 0;
        let mut live = stream.live();
        let may_end = touched.reset || touched.gone.is_some();
        if touched.reset {
            freed += live.clear();
        }
        if touched.gone.is_some() {
            live.gone = touched.gone;
        }
        for (row, run) in commit.runs(touched) {
            added += run.encoded_bytes();
            live.push(first_row + row as u64, run);
        }
        let before = bounds(&live);
        let kept = live.view.as_ref().map(View::kept_from);
        match (&mut live.view, state.as_ref()) {
            (Some(view), Some(state)) if view.id == state.id => {
                let shown = view.earliest;
                view.follow(state);
                // A trim that was shown is not taken back before it is written down.
                view.earliest = view.earliest.max(shown);
            }
            (view, state) => *view = state.map(View::of),
        }
        let again = state
            .as_ref()
            .and_then(|state| retention::trim_hot(&live, state, commit.at));
        if let (Some(to), Some(view)) = (again, &mut live.view) {
            view.earliest = view.earliest.max(to);
        }
        let left = state
            .as_ref()
            .is_some_and(|state| retention::may_be_left(stream, &live, state, commit.at));
        let keeps = live.view.as_ref().map(View::kept_from);
        if let Some((unread_until, shared_until)) = keeps
            && keeps != kept
        {
            freed += live.trim(unread_until, shared_until);
        }
        let may_end = may_end || bounds(&live) != before;
        let waiting = live.take_waiting(may_end);
        drop(live);
        drop(resident);
        self.account(added, freed);
        if again.is_some() || left {
            // The next commit trims the rest, or writes down what readers are shown from now on. Not by a trim to that place: the stream it
            // meets may be the next one of that name.
            self.shared.submit_own(stream, Command::Expire);
        }
        if touched
            .gone
            .is_some_and(|gone| gone.reason == DeleteReason::Expired)
        {
            self.shared.metrics.expiries.increment(1);
        }
        for waiter in waiting.into_values() {
            waiter.watcher.wake(waiter.token);
        }
    }

    fn account(&self, added: usize, freed: usize) {
        if self.journal.is_none() {
            let bytes = &self.shared.memory_bytes;
            bytes.fetch_add(added, Ordering::Relaxed);
            bytes.fetch_sub(freed, Ordering::Relaxed);
        }
    }
}

/// What ends a reader when it changes: the earliest record, and whether the stream is closed.
fn bounds(live: &Live) -> Option<(Position, bool)> {
    live.view.as_ref().map(|view| (view.earliest, view.closed))
}
