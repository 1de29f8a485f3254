//! Records as readers get them: the chunks of a stream by offset or by time, decoded into runs.
//!
//! A reader may meet a segment that has just been removed, since compaction moved its chunks, or a chunk that is dead and was given back
//! on a full disk: it looks them up again. What is damaged
//! is an error with stream and offset, never left out.

use bytes::Bytes;
use streamkeeper_protocol::run::RUN_HEADER_BYTES;

use super::{CHUNKS, ChunkKey, ChunkStore, READ_TRIES, failed};
use crate::store::error::StoreError;
use crate::store::segments::{self, StoredPlace};
use crate::types::{Offset, Run, RunHeader, StreamId, Timestamp};

/// Chunks that are looked at at a time.
const SEARCHED_CHUNKS: usize = 16;

/// What was found in some chunks.
enum Search {
    Ended(Option<RunHeader>),
    GoesOn(Offset),
}

impl ChunkStore {
    /// Runs of stream `id` from the record at `from` on, in order and without a gap, worth about `bytes_max`, at least one run if there is
    /// one. The first is cut in front; it may begin behind `from`, if what lies there is lost. They end before a chunk that is damaged,
    /// which is told to whoever reads on there.
    pub fn read(
        &self,
        id: StreamId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Run>, StoreError> {
        self.with_chunks(|chunks| self.read_chunks(chunks, id, from, bytes_max))
    }

    /// Reads the `chunks` table and what it points to, anew if a segment went away in between.
    fn with_chunks<T>(
        &self,
        mut read: impl FnMut(&ChunkTable) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tries_left = READ_TRIES;
        loop {
            let given_back = self.segments.given_back();
            tries_left -= 1;
            let outcome = self.reading(|transaction| {
                let chunks = transaction.open_table(CHUNKS).map_err(failed)?;
                read(&chunks)
            });
            match outcome {
                Err(StoreError::SegmentGone { .. }) if tries_left > 0 => {}
                // What was read may be zeros where a dead chunk was.
                _ if self.segments.given_back() != given_back && tries_left > 0 => {}
                outcome => return outcome,
            }
        }
    }

    fn read_chunks(
        &self,
        chunks: &ChunkTable,
        id: StreamId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Run>, StoreError> {
        let first = chunk_at(chunks, id, from)?.unwrap_or(from.0);
        let mut runs = Vec::new();
        let mut taken = 0;
        for row in chunks
            .range((id.0, first)..=(id.0, u64::MAX))
            .map_err(failed)?
        {
            let (key, place) = row.map_err(failed)?;
            let bytes = match self.segments.read(key.value(), place.value().into()) {
                Err(error) if error.is_damage() && !runs.is_empty() => break,
                read => read?,
            };
            for run in decode_chunk(key.value(), &bytes) {
                if let Some(run) = run?.starting_at(from.0) {
                    let end = runs.last().map(|last: &Run| last.header.next_offset());
                    if end.is_some_and(|end| end != run.header.first_offset) {
                        // Something between is lost: whoever reads on there is told so.
                        return Ok(runs);
                    }
                    taken += run.encoded_bytes();
                    runs.push(run);
                }
            }
            if taken >= bytes_max {
                break;
            }
        }
        Ok(runs)
    }

    /// The first run of stream `id` that begins behind `from` and can be read: for whoever cannot read what lies at `from`.
    pub(in crate::store) fn next_readable(
        &self,
        id: StreamId,
        from: Offset,
    ) -> Result<Option<RunHeader>, StoreError> {
        let mut at = from;
        loop {
            match self.with_chunks(|chunks| self.find_readable(chunks, id, at, from))? {
                Search::Ended(found) => return Ok(found),
                Search::GoesOn(next) => at = next,
            }
        }
    }

    /// Looks for it in some chunks, from the one at `at` on: there may be many, on a disk that takes long to fail.
    fn find_readable(
        &self,
        chunks: &ChunkTable,
        id: StreamId,
        at: Offset,
        from: Offset,
    ) -> Result<Search, StoreError> {
        let first = chunk_at(chunks, id, at)?.unwrap_or(at.0);
        let rows = chunks.range((id.0, first)..=(id.0, u64::MAX));
        for (looked, row) in rows.map_err(failed)?.enumerate() {
            let (key, place) = row.map_err(failed)?;
            if looked == SEARCHED_CHUNKS {
                return Ok(Search::GoesOn(Offset(key.value().1)));
            }
            let bytes = match self.segments.read(key.value(), place.value().into()) {
                Err(error) if error.is_unreadable_chunk() => continue,
                read => read?,
            };
            let runs = decode_chunk(key.value(), &bytes).map_while(Result::ok);
            let mut headers = runs.map(|run| run.header);
            if let Some(header) = headers.find(|header| header.first_offset > from.0) {
                return Ok(Search::Ended(Some(header)));
            }
        }
        Ok(Search::Ended(None))
    }

    /// The offset of the first record of stream `id` committed at `time` or later, among the records in the store.
    pub fn offset_at(&self, id: StreamId, time: Timestamp) -> Result<Option<Offset>, StoreError> {
        self.with_chunks(|chunks| self.find_time(chunks, id, time))
    }

    fn find_time(
        &self,
        chunks: &ChunkTable,
        id: StreamId,
        time: Timestamp,
    ) -> Result<Option<Offset>, StoreError> {
        // Commit times never go back, so the first chunk that ends late enough can be found by halving the offsets.
        let Some((mut low, mut high)) = first_and_last(chunks, id)? else {
            return Ok(None);
        };
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let start = chunk_at(chunks, id, Offset(middle))?.unwrap_or(low);
            match self.first_commit_time(chunks, (id.0, start))? {
                Some(at) if at < time => low = middle,
                _ => high = start.saturating_sub(1).max(low),
            }
        }
        let start = chunk_at(chunks, id, Offset(low))?.unwrap_or(low);
        for row in chunks
            .range((id.0, start)..=(id.0, u64::MAX))
            .map_err(failed)?
            .take(2)
        {
            let (key, place) = row.map_err(failed)?;
            let bytes = self.segments.read(key.value(), place.value().into())?;
            for run in decode_chunk(key.value(), &bytes) {
                let header = run?.header;
                if Timestamp(header.committed_at) >= time {
                    return Ok(Some(Offset(header.first_offset)));
                }
            }
        }
        Ok(None)
    }

    /// When the first record of the chunk `key` was committed.
    fn first_commit_time(
        &self,
        chunks: &ChunkTable,
        key: ChunkKey,
    ) -> Result<Option<Timestamp>, StoreError> {
        let Some(place) = chunks.get(key).map_err(failed)? else {
            return Ok(None);
        };
        let front = self
            .segments
            .read_front(place.value().into(), RUN_HEADER_BYTES)?;
        match RunHeader::decode(&front) {
            Ok(header) => Ok(Some(Timestamp(header.committed_at))),
            Err(error) => Err(StoreError::CorruptChunk {
                file: segments::FILE,
                stream: key.0,
                offset: key.1,
                reason: error.to_string(),
            }),
        }
    }
}

type ChunkTable = redb::ReadOnlyTable<ChunkKey, StoredPlace>;

/// Key of the chunk that holds `offset`: the last one that begins at or before it.
fn chunk_at(chunks: &ChunkTable, id: StreamId, offset: Offset) -> Result<Option<u64>, StoreError> {
    let mut before = chunks.range((id.0, 0)..=(id.0, offset.0)).map_err(failed)?;
    before
        .next_back()
        .transpose()
        .map_err(failed)
        .map(|row| row.map(|(key, _)| key.value().1))
}

fn first_and_last(chunks: &ChunkTable, id: StreamId) -> Result<Option<(u64, u64)>, StoreError> {
    let mut all = chunks.range((id.0, 0)..=(id.0, u64::MAX)).map_err(failed)?;
    let Some(first) = all
        .next()
        .transpose()
        .map_err(failed)?
        .map(|(key, _)| key.value().1)
    else {
        return Ok(None);
    };
    let last = all
        .next_back()
        .transpose()
        .map_err(failed)?
        .map_or(first, |(key, _)| key.value().1);
    Ok(Some((first, last)))
}

/// The runs of one chunk row.
pub(in crate::store) fn decode_chunk(
    (stream, offset): ChunkKey,
    bytes: &Bytes,
) -> impl Iterator<Item = Result<Run, StoreError>> {
    streamkeeper_protocol::run::decode_runs(bytes).map(move |run| {
        run.map_err(|error| StoreError::CorruptChunk {
            file: segments::FILE,
            stream,
            offset,
            reason: error.to_string(),
        })
    })
}
