//! What runs by the clock: expiries, and trims by age.
//!
//! Two sources of due times: a heap for streams in memory, and the store's `timers` table for the others. Either way the
//! stream gets a [`Command::Expire`], which is harmless if it is early: the committer decides by the state, applies
//! retention, and arms the next due time. Woken by the clock, by a new earliest due time, and once a second. Of a store without
//! files, it also sweeps the registry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::shared::Shared;
use crate::rules::{Command, StreamState};
use crate::stream::Stream;
use crate::types::{Expiry, StreamName, Timestamp};

/// How often the store's table is looked at when nothing is known to be due.
const POLL: Duration = Duration::from_secs(1);

/// Rows of the store's table looked at in one step.
const PAGE: usize = 256;

#[derive(Debug)]
struct Entry {
    due: Timestamp,
    stream: StreamName,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

/// Due times of streams in memory.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<Entry>>>,
    changed: Notify,
}

impl Timers {
    fn push(&self, due: Timestamp, stream: &Arc<Stream>) {
        let mut heap = self.heap.lock();
        let earliest = heap.peek().is_none_or(|Reverse(first)| due < first.due);
        heap.push(Reverse(Entry {
            due,
            stream: stream.name().clone(),
        }));
        drop(heap);
        if earliest {
            self.changed.notify_one();
        }
    }

    fn pop_due(&self, now: Timestamp) -> Option<(Timestamp, StreamName)> {
        let mut heap = self.heap.lock();
        let Reverse(first) = heap.peek()?;
        if first.due > now {
            return None;
        }
        heap.pop().map(|Reverse(entry)| (entry.due, entry.stream))
    }

    fn next(&self) -> Option<Timestamp> {
        self.heap.lock().peek().map(|Reverse(first)| first.due)
    }
}

impl Shared {
    /// Sees to it that the clock looks at `stream` when its state next changes by itself.
    pub fn arm_timer(&self, stream: &Arc<Stream>, state: &StreamState) {
        let Some(due) = due_time(stream, state, self.clock.now()) else {
            return;
        };
        if stream.arm(due) {
            self.timers.push(due, stream);
        }
    }
}

fn due_time(stream: &Stream, state: &StreamState, now: Timestamp) -> Option<Timestamp> {
    let read_since = match state.options.expiry {
        Expiry::Ttl(_) => stream.last_read().since(state.touched_at),
        Expiry::Never | Expiry::At(_) => Duration::ZERO,
    };
    let expiry = state.expires_at().map(|at| at.after(read_since));
    let age = state
        .options
        .retention
        .max_age
        .filter(|_| state.records() > 0 && !state.deleted)
        .map(|max_age| {
            match stream.earliest_at(state.earliest.offset) {
                Some(at) => at.after(max_age),
                // Committed just now, or not known yet: then look again soon.
                None => now.after(max_age.min(POLL)),
            }
        });
    let due = [expiry, age].into_iter().flatten().min()?;
    // Due already although it was just looked at: it could not be read. Trying again at once would not help.
    Some(if due <= now { now.after(POLL) } else { due })
}

/// Runs for as long as the store is open.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut swept = shared.clock.now();
    loop {
        let now = shared.clock.now();
        if shared.chunks.is_none() && now.since(swept) >= shared.options.fold_interval {
            // Without files there is no folder to let go of the names of streams that are gone.
            shared.registry.sweep(0);
            swept = now;
        }
        fire_resident(&shared, now);
        let next_cold = fire_cold(&shared, now).await;
        let poll = now.after(POLL);
        let next = [shared.timers.next(), next_cold]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(poll)
            .min(poll);
        tokio::select! {
            () = shared.clock.sleep_until(next) => {}
            () = shared.timers.changed.notified() => {}
        }
    }
}

fn fire_resident(shared: &Arc<Shared>, now: Timestamp) {
    while let Some((due, name)) = shared.timers.pop_due(now) {
        // By name: a stream that has left memory meanwhile is found in the store's table.
        if let Some(stream) = shared.registry.get(name.as_str())
            && stream.disarm(due)
        {
            shared.submit_own(&stream, Command::Expire);
        }
    }
}

/// Looks at the store's table; answers when its next row is due.
async fn fire_cold(shared: &Arc<Shared>, now: Timestamp) -> Option<Timestamp> {
    shared.chunks.as_ref()?;
    let mut from = (0, 0);
    loop {
        let reader = Arc::clone(shared);
        let read = move || {
            reader
                .chunks
                .as_ref()
                .map(|chunks| chunks.due(from, now, PAGE))
        };
        let due = match tokio::task::spawn_blocking(read).await.ok().flatten()? {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "the timers in the store cannot be read");
                return None;
            }
        };
        for name in &due.streams {
            if let Ok(stream) = shared.registry.get_or_create(name.as_str())
                && !stream.is_armed()
                && !stream.has_unanswered()
                && !(stream.is_loaded() && stream.live().view.is_none())
            {
                shared.submit_own(&stream, Command::Expire);
            }
        }
        match due.more_from {
            // After a long stop a great many may be due: the queues are not flooded, the rest comes next time.
            Some(_) if shared.queues.is_half_full() => return None,
            Some(key) => from = key,
            None => return due.next,
        }
    }
}
