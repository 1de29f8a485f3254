//! Retention: up to where a stream is trimmed.
//!
//! The engine asks [`is_due`] often and, only if it says yes, loads the stream's first runs and asks [`trim_point`];
//! it writes the answer down as [`Effect::Trimmed`](super::Effect::Trimmed). Each limit trims a prefix; the longest one counts. Whole runs are judged by their headers: only the run that holds the trim point is walked record by record.

use crate::types::{Offset, Position, Retention, Run, Timestamp};

/// Up to where retention trims, given the stream's runs in order from `earliest` on. `None`: nothing to trim.
///
/// A record is trimmed if it was committed `max_age` or longer ago, if more than `max_records` records would stay, or if
/// more than `max_bytes` payload bytes would stay; the newest record is never trimmed for its bytes. The first run may begin before
/// `earliest`. If the runs end early (or one is malformed), the answer is what can be said so far.
pub fn trim_point<'a>(
    retention: &Retention,
    earliest: Position,
    tail: Position,
    now: Timestamp,
    runs: impl IntoIterator<Item = &'a Run>,
) -> Option<Position> {
    let bounds = Bounds::new(retention, tail, now);
    let mut point = earliest;
    for run in runs {
        let header = &run.header;
        let end = Position {
            offset: Offset(header.next_offset()),
            byte: header.next_byte(),
        };
        if bounds.trims_run(Timestamp(header.committed_at), end) {
            point = end;
            continue;
        }
        // What one run keeps, no later run loses.
        point = first_kept(run, &bounds);
        break;
    }
    (point > earliest).then_some(point.min(tail))
}

/// Whether all records before `end` go for sure, of which no more is known than that they were committed at `committed_by` or before.
///
/// For records that cannot be read: what is not sure stays.
pub fn surely_trims(
    retention: &Retention,
    tail: Position,
    now: Timestamp,
    end: Position,
    committed_by: Timestamp,
) -> bool {
    Bounds::new(retention, tail, now).trims_run(committed_by, end)
}

/// Cheap test whether [`trim_point`] could find anything. `earliest_committed_at` is the commit time of the earliest record
/// kept, if there is one.
pub fn is_due(
    retention: &Retention,
    earliest: Position,
    tail: Position,
    now: Timestamp,
    earliest_committed_at: Option<Timestamp>,
) -> bool {
    let records = tail.offset.0.saturating_sub(earliest.offset.0);
    let bytes = tail.byte.saturating_sub(earliest.byte);
    let too_many = retention.max_records.is_some_and(|max| records > max);
    let too_large = retention.max_bytes.is_some_and(|max| bytes > max) && records > 1;
    let too_old = match (retention.max_age, earliest_committed_at) {
        (Some(max_age), Some(at)) => records > 0 && at.after(max_age) <= now,
        _ => false,
    };
    too_many || too_large || too_old
}

/// The limits of one retention, as positions: what lies before any of them goes.
struct Bounds<'a> {
    retention: &'a Retention,
    now: Timestamp,
    /// Records that begin before this offset are too many.
    offset: u64,
    /// Records that begin before this byte are too large together, save the newest.
    byte: u64,
    newest: u64,
}

impl<'a> Bounds<'a> {
    fn new(retention: &'a Retention, tail: Position, now: Timestamp) -> Self {
        let before = |end: u64, max: Option<u64>| max.map_or(0, |max| end.saturating_sub(max));
        Self {
            retention,
            now,
            offset: before(tail.offset.0, retention.max_records),
            byte: before(tail.byte, retention.max_bytes),
            newest: tail.offset.0.saturating_sub(1),
        }
    }

    fn trims_age(&self, committed_at: Timestamp) -> bool {
        self.retention
            .max_age
            .is_some_and(|max_age| committed_at.after(max_age) <= self.now)
    }

    /// True if every record of a run that ends at `end` surely goes. The newest record's run ends at the tail, which never
    /// lies before `self.byte`, so that record needs no second look here.
    fn trims_run(&self, committed_at: Timestamp, end: Position) -> bool {
        self.trims_age(committed_at) || end.offset.0 <= self.offset || end.byte < self.byte
    }

    /// True if the record at this position, whose run's age keeps it, goes.
    fn trims_record(&self, offset: u64, byte: u64) -> bool {
        offset < self.offset || (byte < self.byte && offset < self.newest)
    }
}

/// The position of the first record of `run` that stays, or the run's end; its age keeps it.
fn first_kept(run: &Run, bounds: &Bounds<'_>) -> Position {
    let mut point = Position {
        offset: Offset(run.header.first_offset),
        byte: run.header.first_byte,
    };
    for record in run.records() {
        let Ok(record) = record else { break };
        if !bounds.trims_record(record.offset, record.byte) {
            break;
        }
        point = Position {
            offset: Offset(record.offset.saturating_add(1)),
            byte: record.next_byte(),
        };
    }
    point
}
