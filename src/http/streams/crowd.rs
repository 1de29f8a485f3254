//! The readers of server-sent events, all together: how many there are, and what was made for one of them a moment ago.
//!
//! Readers of one stream are mostly at the same few places, and the data is the same for each of them: the first one there
//! makes the event of it, the others copy that. The events kept take 1 MiB at most, and go with the last reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::types::{Offset, StreamId};

/// What one write to one reader may cost, when all of them are written to in turn.
const WRITE_COST: Duration = Duration::from_micros(12);
/// Longest rest after an event.
const REST_MAX: Duration = Duration::from_millis(20);
/// Rests shorter than this are none: the timer is no finer.
const REST_MIN: Duration = Duration::from_millis(1);

/// Events kept.
const EVENTS_MAX: usize = 64;
/// Larger events are not kept: making one costs little beside sending it.
const EVENT_BYTES_MAX: usize = 16 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Crowd {
    readers: AtomicUsize,
    /// Each in the place that its records give it.
    events: Mutex<[Option<(Told, Bytes)>; EVENTS_MAX]>,
}

/// Tells data events apart: what lies between two places of a stream never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The incarnation of the stream.
    pub(super) stream: StreamId,
    /// The first record.
    pub(super) from: Offset,
    /// The one after the last.
    pub(super) next: Offset,
    /// Nothing will follow: text that is cut off there is sent as it is.
    pub(super) ends: bool,
}

impl Told {
    fn place(&self) -> usize {
        let place = (self.stream.0.wrapping_add(self.from.0)) % EVENTS_MAX as u64;
        usize::try_from(place).unwrap_or_default()
    }
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            readers: AtomicUsize::new(0),
            events: Mutex::new([const { None }; EVENTS_MAX]),
        }
    }
}

impl Crowd {
    /// One reader more, until what is given is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        self.readers.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }
}

/// One reader of the crowd, until dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Crowd>);

impl Place {
    /// How long to rest after an event, so that writing to all readers in turn keeps up.
    pub(super) fn rest(&self) -> Option<Duration> {
        let readers = u32::try_from(self.0.readers.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        let rest = WRITE_COST.saturating_mul(readers).min(REST_MAX);
        (rest >= REST_MIN).then_some(rest)
    }

    /// The data event, if it was made a moment ago.
    pub(super) fn recall(&self, told: &Told) -> Option<Bytes> {
        let events = self.0.events.lock();
        let (kept, event) = events.get(told.place())?.as_ref()?;
        (kept == told).then(|| event.clone())
    }

    /// Keeps a data event for the other readers.
    pub(super) fn keep(&self, told: Told, event: &[u8]) {
        if event.len() > EVENT_BYTES_MAX {
            return;
        }
        let event = Bytes::copy_from_slice(event);
        if let Some(place) = self.0.events.lock().get_mut(told.place()) {
            *place = Some((told, event));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.readers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.events.lock().fill(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(from: u64) -> Told {
        Told {
            stream: StreamId(7),
            from: Offset(from),
            next: Offset(from + 2),
            ends: false,
        }
    }

    #[test]
    fn an_event_is_recalled_by_all_it_says() {
        let crowd = Arc::new(Crowd::default());
        let (one, other) = (crowd.enter(), crowd.enter());
        let event = Bytes::from_static(b"event");
        one.keep(told(3), &event);
        assert_eq!(other.recall(&told(3)), Some(event));
        assert_eq!(other.recall(&told(4)), None);
        let longer = Told {
            next: Offset(6),
            ..told(3)
        };
        assert_eq!(other.recall(&longer), None);
        let last = Told {
            ends: true,
            ..told(3)
        };
        assert_eq!(other.recall(&last), None);
        let another = Told {
            stream: StreamId(7 + EVENTS_MAX as u64),
            ..told(3)
        };
        assert_eq!(
            other.recall(&another),
            None,
            "the same place, another stream"
        );
    }

    #[test]
    fn few_and_small_events_are_kept_and_none_for_nobody() {
        let crowd = Arc::new(Crowd::default());
        let reader = crowd.enter();
        let event = Bytes::from_static(b"event");
        let later = told(EVENTS_MAX as u64);
        reader.keep(told(0), &event);
        reader.keep(later, &event);
        assert_eq!(reader.recall(&told(0)), None, "its place was taken");
        reader.keep(later, &vec![0; EVENT_BYTES_MAX + 1]);
        assert_eq!(
            reader.recall(&later),
            Some(event),
            "a large one is not kept"
        );
        drop(reader);
        assert_eq!(crowd.enter().recall(&later), None);
    }
}
