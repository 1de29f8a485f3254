//! The chunks of a store while a fold writes them: rows of the `chunks` table, and their bytes in a segment.
//!
//! Keeps the account of each segment: what was written to it, and what of that is dead. One without live chunks goes when the
//! transaction is durable.

use std::collections::BTreeMap;

use bytes::Bytes;
use redb::{ReadableTable, Table, WriteTransaction};

use super::chunks::{CHUNKS, ChunkKey, SEGMENTS, failed};
use super::compaction::{Compaction, MOVED_BYTES_MAX};
use super::error::StoreError;
use super::segments::{ChunkHeader, FILE, Place, SegmentWriter, Segments, StoredPlace, Syncs};
use crate::types::StreamId;

/// See the module.
pub(super) struct StoredChunks<'txn> {
    rows: Table<'txn, ChunkKey, StoredPlace>,
    accounts: Table<'txn, u32, (u64, u64)>,
    segments: &'txn Segments,
    syncs: Syncs,
    /// Opened with the first chunk.
    writer: Option<SegmentWriter>,
    /// Bytes of chunks that this fold removed, by segment.
    dead: BTreeMap<u32, u64>,
}

impl<'txn> StoredChunks<'txn> {
    pub fn open(
        write: &'txn WriteTransaction,
        segments: &'txn Segments,
        syncs: Syncs,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            rows: write.open_table(CHUNKS).map_err(failed)?,
            accounts: write.open_table(SEGMENTS).map_err(failed)?,
            segments,
            syncs,
            writer: None,
            dead: BTreeMap::new(),
        })
    }

    /// Where the chunks of stream `id` begin that begin at `from` or later.
    pub fn starts(
        &self,
        id: StreamId,
        from: u64,
    ) -> Result<impl Iterator<Item = Result<u64, StoreError>>, StoreError> {
        let rows = self.rows.range((id.0, from)..=(id.0, u64::MAX));
        let rows = rows.map_err(failed)?;
        Ok(rows.map(|row| row.map(|(key, _)| key.value().1).map_err(failed)))
    }

    /// The last chunk of its stream that begins at `key` or before, if it is below `bytes_max`.
    pub fn last_up_to(
        &self,
        key: ChunkKey,
        bytes_max: usize,
    ) -> Result<Option<(ChunkKey, Bytes)>, StoreError> {
        let mut rows = self.rows.range((key.0, 0)..=key).map_err(failed)?;
        let Some((key, place)) = rows.next_back().transpose().map_err(failed)? else {
            return Ok(None);
        };
        let (key, place) = (key.value(), Place::from(place.value()));
        if place.length as usize >= bytes_max {
            return Ok(None);
        }
        let bytes = match &self.writer {
            Some(writer) if writer.number() == place.segment => writer.read(key, place)?,
            _ => self.segments.read(key, place)?,
        };
        Ok(Some((key, bytes)))
    }

    /// Writes the chunk `key`, in place of the one there was.
    pub fn put(&mut self, key: ChunkKey, payload: &[u8]) -> Result<(), StoreError> {
        let place = self.writer()?.append(key, payload)?;
        let before = self.rows.insert(key, place.stored()).map_err(failed)?;
        let before = before.map(|place| Place::from(place.value()));
        self.note_dead(before);
        Ok(())
    }

    /// Removes the chunk `key`.
    pub fn remove(&mut self, key: ChunkKey) -> Result<(), StoreError> {
        let before = self.rows.remove(key).map_err(failed)?;
        let before = before.map(|place| Place::from(place.value()));
        self.note_dead(before);
        Ok(())
    }

    fn note_dead(&mut self, place: Option<Place>) {
        if let Some(place) = place {
            *self.dead.entry(place.segment).or_default() += place.bytes_in_file();
        }
    }

    /// Writes to a new segment from now on.
    pub fn begin_segment(&mut self) -> Result<(), StoreError> {
        self.open_writer(0)
    }

    fn writer(&mut self) -> Result<&mut SegmentWriter, StoreError> {
        if self.writer.is_none() {
            self.open_writer(self.segments.bytes_max())?;
        }
        Ok(self.writer.as_mut().expect("it was opened just now"))
    }

    /// Goes on with the last segment if it is below `bytes_max`, else with a new one.
    fn open_writer(&mut self, bytes_max: u64) -> Result<(), StoreError> {
        let last = self.accounts.last().map_err(failed)?;
        let last = last.map(|(number, account)| (number.value(), account.value().0));
        let (number, end) = match last {
            None => (1, 0),
            Some((number, end)) if end < bytes_max => (number, end),
            Some((number, _)) => {
                // It is not the last one any more: it may go, if nothing in it is alive.
                self.dead.entry(number).or_default();
                (number + 1, 0)
            }
        };
        self.writer = Some(self.segments.write_from(number, end, self.syncs)?);
        Ok(())
    }

    /// Moves some of what is alive in a segment that is mostly dead.
    pub fn compact(&mut self, compaction: &mut Compaction) -> Result<(), StoreError> {
        let Some((number, mut position)) = compaction.next(&self.accounts)? else {
            return Ok(());
        };
        let end = self.account(number)?.map_or(0, |(bytes, _)| bytes);
        let mut moved = 0;
        while position < end && moved < MOVED_BYTES_MAX {
            match self.move_next(number, position, end) {
                Ok((next, bytes)) => {
                    position = next;
                    moved += bytes;
                }
                Err(error) if error.is_damage() => {
                    tracing::error!(segment = number, position, %error, "a segment is damaged; it stays");
                    position = end;
                }
                Err(error) => return Err(error),
            }
        }
        compaction.at = (position < end).then_some((number, position));
        if compaction.at.is_none() {
            compaction.passed.insert(number);
        }
        Ok(())
    }

    /// Moves the chunk at `position`, if it is alive. Answers where the next one begins, and how many bytes moved.
    fn move_next(
        &mut self,
        number: u32,
        position: u64,
        end: u64,
    ) -> Result<(u64, u64), StoreError> {
        let chunk = self.segments.chunk_at(number, position)?;
        let next = position + chunk.place.bytes_in_file();
        if next > end {
            let (stream, offset) = chunk.key;
            return Err(StoreError::CorruptChunk {
                file: FILE,
                stream,
                offset,
                reason: format!("its header is damaged (segment {number})"),
            });
        }
        Ok((next, self.move_chunk(chunk)?))
    }

    /// Moves a chunk if it is alive. Answers its bytes if so.
    fn move_chunk(&mut self, chunk: ChunkHeader) -> Result<u64, StoreError> {
        let known = self.rows.get(chunk.key).map_err(failed)?;
        let known = known.map(|place| Place::from(place.value()));
        let Some(from) = known.filter(|known| known.is_at(chunk.place)) else {
            return Ok(0);
        };
        // As it is: if it is damaged, whoever reads it shall be told.
        let payload = self.segments.read_front(from, from.length as usize)?;
        let mut to = self.writer()?.append(chunk.key, &payload)?;
        to.checksum = from.checksum;
        self.rows.insert(chunk.key, to.stored()).map_err(failed)?;
        self.note_dead(Some(from));
        Ok(from.bytes_in_file())
    }

    /// Whether there is something to compact.
    pub fn has_victim(&self, compaction: &Compaction) -> Result<bool, StoreError> {
        Ok(compaction.next(&self.accounts)?.is_some())
    }

    /// Makes what was written durable, and brings the accounts up to date. Answers the segments that can go once the
    /// transaction is durable, and how often the one that was written was synced. The last one stays, whatever is in it: its
    /// number is not to be used again.
    pub fn finish(&mut self) -> Result<(Vec<u32>, u64), StoreError> {
        let mut synced = 0;
        if let Some(writer) = self.writer.take() {
            let number = writer.number();
            let before = self.account(number)?.map_or(0, |(_, dead)| dead);
            let end;
            (end, synced) = writer.finish()?;
            self.accounts
                .insert(number, (end, before))
                .map_err(failed)?;
        }
        let last = self.accounts.last().map_err(failed)?;
        let last = last.map(|(number, _)| number.value());
        let mut gone = Vec::new();
        for (number, dead) in std::mem::take(&mut self.dead) {
            let Some((bytes, before)) = self.account(number)? else {
                continue;
            };
            let dead = before.saturating_add(dead);
            if dead >= bytes && Some(number) != last {
                self.accounts.remove(number).map_err(failed)?;
                gone.push(number);
            } else {
                self.accounts
                    .insert(number, (bytes, dead))
                    .map_err(failed)?;
            }
        }
        Ok((gone, synced))
    }

    /// Bytes of a segment, and how many of them are dead.
    fn account(&self, number: u32) -> Result<Option<(u64, u64)>, StoreError> {
        let account = self.accounts.get(number).map_err(failed)?;
        Ok(account.map(|account| account.value()))
    }
}
