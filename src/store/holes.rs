//! Giving back what dead chunks take while their segment stays: at once and without room of its own, which a full disk has not.
//!
//! Compaction moves what is alive, and so needs room first. Here the file system is told which blocks of a segment hold nothing but the
//! payloads of dead chunks; it takes them back, and the file keeps its length. Headers stay: compaction still goes from chunk to chunk.
//!
//! Invariants: a chunk is dead by the last durable fold, and nobody holds a snapshot from before it. A reader that looked its place up
//! earlier is told by [`Segments::given_back`](super::segments::Segments::given_back) to look again.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;

use redb::{ReadTransaction, ReadableTable};

use super::chunks::{CHUNKS, ChunkStore, SEGMENTS, failed};
use super::error::StoreError;
use super::segments::{CHUNK_HEADER_BYTES, Place};

/// What file systems give back at a time, at the least.
const BLOCK_BYTES: u64 = 4096;

/// Segments gone through in one step.
const SEGMENTS_MAX: usize = 8;

/// What has been given back: how much of each segment was dead then. Nothing here is needed after a restart.
#[derive(Debug, Default)]
pub(super) struct Holes {
    dead: BTreeMap<u32, u64>,
    /// The file system cannot.
    never: bool,
}

impl Holes {
    /// Goes through some segments of `store` that have more dead chunks than the last time. Only between folds.
    pub fn give_back(&mut self, store: &ChunkStore) -> Result<(), StoreError> {
        if self.never || store.segments.are_pinned() {
            return Ok(());
        }
        // What is not known is given back: it must not be asked of a file that is opened anew meanwhile, nor of one that shows
        // more than is on the disk.
        let _writing = store.writing.lock();
        store.durable()?;
        let read = store.hold().begin_read()?;
        for (number, bytes, dead) in self.candidates(&read)? {
            let ranges = dead_ranges(store, &read, number, bytes)?;
            match store.segments.punch(number, &ranges) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    tracing::warn!(
                        "the file system takes back no parts of files: only whole segments make room"
                    );
                    self.never = true;
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(segment = number, %error, "dead chunks keep their room");
                }
            }
            self.dead.insert(number, dead);
        }
        Ok(())
    }

    /// Segments to go through: number, bytes, and how many of them are dead.
    fn candidates(&self, read: &ReadTransaction) -> Result<Vec<(u32, u64, u64)>, StoreError> {
        let accounts = read.open_table(SEGMENTS).map_err(failed)?;
        let mut found = Vec::new();
        for row in accounts.iter().map_err(failed)? {
            let (number, account) = row.map_err(failed)?;
            let (number, (bytes, dead)) = (number.value(), account.value());
            if dead > self.dead.get(&number).copied().unwrap_or(0) {
                found.push((number, bytes, dead));
            }
            if found.len() == SEGMENTS_MAX {
                break;
            }
        }
        Ok(found)
    }
}

/// The blocks of segment `number` that hold nothing but payloads of dead chunks. One whose headers are damaged is gone through up to there.
fn dead_ranges(
    store: &ChunkStore,
    read: &ReadTransaction,
    number: u32,
    bytes: u64,
) -> Result<Vec<Range<u64>>, StoreError> {
    let chunks = read.open_table(CHUNKS).map_err(failed)?;
    let mut ranges = Vec::new();
    let mut at = 0;
    while at + CHUNK_HEADER_BYTES as u64 <= bytes {
        let chunk = match store.segments.chunk_at(number, at) {
            Err(error) if error.is_damage() => break,
            chunk => chunk?,
        };
        at += chunk.place.bytes_in_file();
        if at > bytes {
            break;
        }
        let known = chunks.get(chunk.key).map_err(failed)?;
        let known = known.map(|place| Place::from(place.value()));
        if !known.is_some_and(|known| known.is_at(chunk.place)) {
            ranges.extend(blocks(chunk.place));
        }
    }
    Ok(ranges)
}

/// The whole blocks within a payload.
fn blocks(place: Place) -> Option<Range<u64>> {
    let from = u64::from(place.position);
    let until = from + u64::from(place.length);
    let range = from.next_multiple_of(BLOCK_BYTES)..until - until % BLOCK_BYTES;
    (range.start < range.end).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_of_a_payload_are_given_back() {
        let place = |position, length| Place {
            segment: 1,
            position,
            length,
            checksum: 0,
        };
        assert_eq!(blocks(place(24, 4000)), None);
        assert_eq!(blocks(place(24, 8168)), Some(4096..8192));
        assert_eq!(blocks(place(4096, 4096)), Some(4096..8192));
        assert_eq!(blocks(place(4097, 8190)), None);
        assert_eq!(blocks(place(4000, 20_000)), Some(4096..20_480));
    }
}
