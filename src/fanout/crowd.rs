//! How many readers are pushed to at this moment, and how long each rests because of it.
//!
//! A write to a socket costs the same for one record as for many. With a thousand readers of a busy stream, a write to each
//! for each record is more than a machine can do, and whoever waits in that queue waits longer and longer. So a reader that
//! has caught up rests a little after each write, the longer the more readers there are, and takes what came meanwhile
//! together: the number of writes is bounded, whatever the rate of appends.
//!
//! Both faces of a broker share one crowd, as they share the processor. A few readers never rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longest rest.
const REST_MAX: Duration = Duration::from_millis(20);
/// Rests shorter than this are none: the timer is no finer.
const REST_MIN: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Crowd {
    readers: Arc<AtomicUsize>,
}

impl Crowd {
    /// One more reader, until the place is dropped.
    pub fn enter(&self) -> CrowdPlace {
        self.readers.fetch_add(1, Ordering::Relaxed);
        CrowdPlace(self.clone())
    }
}

/// One reader of a crowd.
#[derive(Debug)]
pub struct CrowdPlace(Crowd);

impl CrowdPlace {
    /// How long to rest after a write, if one to each reader in turn costs `write_cost`.
    pub fn rest(&self, write_cost: Duration) -> Option<Duration> {
        let readers = u32::try_from(self.0.readers.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        let rest = write_cost.saturating_mul(readers).min(REST_MAX);
        (rest >= REST_MIN).then_some(rest)
    }
}

impl Drop for CrowdPlace {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_readers_never_rest_many_do_and_nobody_for_long() {
        let cost = Duration::from_micros(10);
        let crowd = Crowd::default();
        let mut places = vec![crowd.enter()];
        let rest = |places: &[CrowdPlace]| places.first().and_then(|place| place.rest(cost));
        assert_eq!(rest(&places), None);
        places.extend((1..1_000).map(|_| crowd.enter()));
        assert_eq!(rest(&places), Some(Duration::from_millis(10)));
        places.extend((1_000..10_000).map(|_| crowd.enter()));
        assert_eq!(rest(&places), Some(REST_MAX));
        places.truncate(1);
        assert_eq!(rest(&places), None);
    }
}
