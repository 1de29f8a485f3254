//! Who may call a webhook now: so many at a time, and only so many of them at one host, so that a receiver that does not answer
//! holds up its own subscriptions and no others.
//!
//! Hosts with subscriptions that wait take turns; those of one host go in the order in which they came. A place that is given back
//! wakes nobody: whoever gives places away looks again when a delivery ends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Id;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Places {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    free: usize,
    host_max: usize,
    hosts: HashMap<Arc<str>, Host>,
    /// Hosts where somebody waits and a place is left, each once.
    ready: VecDeque<Arc<str>>,
}

#[derive(Debug, Default)]
struct Host {
    waiting: VecDeque<Id>,
    taken: usize,
    is_ready: bool,
}

/// A place, given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    inner: Arc<Mutex<Inner>>,
    host: Arc<str>,
}

impl Inner {
    fn settle(&mut self, name: &Arc<str>) {
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        if host.waiting.is_empty() && host.taken == 0 {
            self.hosts.remove(name);
        } else if !host.is_ready && !host.waiting.is_empty() && host.taken < self.host_max {
            host.is_ready = true;
            self.ready.push_back(Arc::clone(name));
        }
    }
}

impl Places {
    /// `max` places, at most `host_max` of them at one host.
    pub(super) fn new(max: usize, host_max: usize) -> Self {
        let inner = Inner {
            free: max.max(1),
            host_max: host_max.max(1),
            hosts: HashMap::new(),
            ready: VecDeque::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Has a subscription wait for a place at a host.
    pub(super) fn wait(&self, host: &str, id: Id) {
        let mut inner = self.inner.lock();
        let host: Arc<str> = Arc::from(host);
        let entry = inner.hosts.entry(Arc::clone(&host)).or_default();
        entry.waiting.push_back(id);
        inner.settle(&host);
    }

    /// The next that waits, with a place for it, if there is one.
    pub(super) fn next(&self) -> Option<(Id, Place)> {
        let mut inner = self.inner.lock();
        if inner.free == 0 {
            return None;
        }
        let name = inner.ready.pop_front()?;
        let host = inner.hosts.get_mut(&name)?;
        host.is_ready = false;
        let id = host.waiting.pop_front()?;
        host.taken += 1;
        inner.free -= 1;
        inner.settle(&name);
        let place = Place {
            inner: Arc::clone(&self.inner),
            host: name,
        };
        Some((id, place))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.inner.lock();
        inner.free += 1;
        if let Some(host) = inner.hosts.get_mut(&self.host) {
            host.taken -= 1;
        }
        inner.settle(&self.host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_does_not_hold_all_places() {
        let places = Places::new(3, 2);
        for n in 0..4 {
            places.wait("dead", Arc::from(format!("dead-{n}")));
        }
        places.wait("good", Arc::from("good"));
        let taken: Vec<_> = std::iter::from_fn(|| places.next()).collect();
        let ids: Vec<_> = taken.iter().map(|(id, _)| &**id).collect();
        assert_eq!(ids, ["dead-0", "good", "dead-1"]);
    }

    #[test]
    fn a_place_given_back_goes_to_the_next_of_its_host() {
        let places = Places::new(3, 1);
        places.wait("a", Arc::from("first"));
        places.wait("a", Arc::from("second"));
        let (id, place) = places.next().expect("a place");
        assert_eq!(&*id, "first");
        assert!(places.next().is_none());
        drop(place);
        let (id, place) = places.next().expect("a place");
        assert_eq!(&*id, "second");
        drop(place);
        assert!(places.next().is_none() && places.inner.lock().hosts.is_empty());
    }
}
