//! Who is connected, so that a drain reaches everyone.
//!
//! Invariant: an outbox entered after the drain began is told so at once; nobody is missed in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::session::Outbox;

/// The place of a connection in the roster; given up on drop.
#[derive(Debug)]
pub(super) struct Place {
    roster: Arc<Roster>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roster.present.lock().outboxes.remove(&self.number);
    }
}

#[derive(Debug, Default)]
struct Present {
    outboxes: HashMap<u64, Arc<Outbox>>,
    draining: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Roster {
    present: Mutex<Present>,
    numbers: AtomicU64,
}

impl Roster {
    /// A number for a connection, from 1 on.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn enter(self: &Arc<Self>, number: u64, outbox: &Arc<Outbox>) -> Place {
        let mut present = self.present.lock();
        if present.draining {
            outbox.drain();
        }
        present.outboxes.insert(number, Arc::clone(outbox));
        Place {
            roster: Arc::clone(self),
            number,
        }
    }

    /// Tells everyone, and all who come later.
    pub(super) fn drain(&self) {
        let mut present = self.present.lock();
        present.draining = true;
        for outbox in present.outboxes.values() {
            outbox.drain();
        }
    }
}
