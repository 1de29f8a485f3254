//! One ceiling for the memory of the process, divided among the bounds that are not set themselves.
//!
//! What remains of the ceiling after the process itself and its connections goes to the bounds, in 32nds. Together
//! they never take more, whatever clients do; a bound that is set explicitly stays as it is said, and what is said must fit. Not among
//! them: idle subscriptions, of about 1 KiB each.

use super::layers::Resolver;
use super::{ByteCount, Config, MIB};

/// The process without load, its threads, and what an allocator cannot give back.
const PROCESS_BYTES: u64 = 24 * MIB;
/// An idle connection, rounded up.
const CONNECTION_BYTES: u64 = 4 << 10;
/// With less to divide, single requests of the largest size would take all.
const DIVIDED_BYTES_MIN: u64 = 32 * MIB;

/// Bounds, and how many 32nds they get.
const PARTS: [(&str, u64); 9] = [
    ("hot_tail_bytes_max", 8),
    ("memory_streams_bytes_max", 3),
    ("http_bodies_bytes_max", 3),
    ("http_answers_bytes_max", 4),
    ("unsent_bytes_max", 4),
    ("incoming_bytes_max", 3),
    ("fold_bytes", 2),
    ("store_cache_bytes", 2),
    ("queue_bytes_max", 2),
];

/// Bounds that are half of one of [`PARTS`], and no more than without a ceiling.
const HALVES: [(&str, &str, u64); 3] = [
    ("commit_bytes_max", "queue_bytes_max", MIB / 2),
    ("stream_queue_bytes_max", "queue_bytes_max", 2 * MIB),
    ("http_body_bytes_max", "http_bodies_bytes_max", 8 * MIB),
];

/// What is not divided.
fn fixed(connections_max: u32) -> u64 {
    PROCESS_BYTES + CONNECTION_BYTES * u64::from(connections_max)
}

/// Gives every bound that nobody speaks of its part of `ceiling`.
pub(super) fn divide(ceiling: u64, connections_max: u32, settings: &mut Resolver) {
    let bytes = ceiling.saturating_sub(fixed(connections_max));
    let part = |shares: u64| bytes / 32 * shares;
    for (name, shares) in PARTS {
        settings.derive(name, "memory_max", &ByteCount(part(shares)));
    }
    for (name, of, most) in HALVES {
        let whole = PARTS.iter().find(|(part, _)| *part == of);
        let half = whole.map_or(0, |(_, shares)| part(*shares) / 2);
        settings.derive(name, "memory_max", &ByteCount(half.min(most)));
    }
}

impl Config {
    /// What the ceiling would have to be for all bounds as they are, if it is less than that.
    pub(super) fn memory_lacking(&self) -> Option<u64> {
        let ceiling = self.memory_max?;
        let bounds = [
            self.hot_tail_bytes_max,
            self.memory_streams_bytes_max,
            self.http_bodies_bytes_max,
            self.http_answers_bytes_max,
            self.unsent_bytes_max,
            self.incoming_bytes_max,
            self.fold_bytes,
            self.store_cache_bytes,
            self.queue_bytes_max,
            self.commit_bytes_max,
        ];
        let taken = bounds
            .iter()
            .fold(0_u64, |sum, bound| sum.saturating_add(*bound));
        let fixed = fixed(self.connections_max);
        let need = fixed.saturating_add(taken.max(DIVIDED_BYTES_MIN));
        (need > ceiling).then_some(need)
    }
}
