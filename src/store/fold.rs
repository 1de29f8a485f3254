//! One fold: journal rows sorted by stream and written into the store's tables in one transaction.
//!
//! The rows are decoded as recovery decodes them and folded into each stream's stored state by the same `apply`, so what a
//! fold leaves behind is what a replay would have built.
//!
//! What a fold brings for a stream becomes one or a few chunks in a [segment](super::segments), and one row each that says where
//! it is. A small last chunk is written anew with what follows it. So a fold writes little more than it brings, whatever the
//! number of streams.

use std::collections::BTreeMap;

use bytes::BytesMut;
use redb::{ReadableTable, Table, WriteTransaction};

use super::chunks::{
    self, ChunkStore, DUE, GARBAGE, NAMES, PRODUCERS, STREAMS, TIMERS, UNTRIMMED, failed,
};
use super::codec::{self, Entry};
use super::compaction::Compaction;
use super::error::StoreError;
use super::facts::{FACTS, Facts};
use super::journal::{self, Row};
use super::segments::{Segments, Syncs};
use super::stored_chunks::StoredChunks;
use crate::rules::{self, Effect, StreamState};
use crate::types::{Run, StreamId, StreamName, Timestamp};

/// The largest chunk, unless it is one record: large enough to read a stream at the speed of memory, small enough to read for one record.
const CHUNK_BYTES_MAX: usize = 65_536;

/// A last chunk below this is written anew with what follows it.
const SMALL_CHUNK_BYTES: usize = 4096;

/// A quick-repair commit of redb syncs its pages before its header.
const COMMIT_SYNCS: u64 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fold {
    streams: BTreeMap<StreamId, Vec<Entry>>,
    last_row: u64,
    next_stream_id: u64,
    newest_commit_at: u64,
    begins_segment: bool,
    syncs: Syncs,
    /// Nothing is moved: a fold should take no more room than it must.
    moves_nothing: bool,
}

impl Fold {
    /// One that makes its chunks durable by and by if `syncs` says so.
    pub fn synced(syncs: Syncs) -> Self {
        Self {
            syncs,
            ..Self::default()
        }
    }

    /// The same, but one that moves nothing out of segments that are mostly dead, if `moves_nothing`.
    pub fn moving_nothing(self, moves_nothing: bool) -> Self {
        Self {
            moves_nothing,
            ..self
        }
    }

    /// The same, but one whose segment becomes the last one, if `begins_segment`: so the one before it can be emptied.
    pub fn beginning_segment(self, begins_segment: bool) -> Self {
        Self {
            begins_segment,
            ..self
        }
    }

    /// Takes a row in; rows come in order.
    pub fn add(&mut self, row: &Row) -> Result<(), StoreError> {
        let corrupt = |source| StoreError::Corrupt {
            file: journal::FILE,
            source,
        };
        for entry in codec::entries(&row.bytes).map_err(corrupt)? {
            let (id, entry) = entry.map_err(corrupt)?;
            self.next_stream_id = self.next_stream_id.max(id.0 + 1);
            if let Entry::Run { run } = &entry {
                self.newest_commit_at = self.newest_commit_at.max(run.header.committed_at);
            }
            self.streams.entry(id).or_default().push(entry);
        }
        self.last_row = row.number;
        Ok(())
    }

    /// Writes everything in one transaction. Removes up to `removals_max` rows of deleted or trimmed streams on the way, and goes
    /// on with the compaction. If it fails, nothing of that has happened.
    pub fn write(
        self,
        store: &ChunkStore,
        removals_max: usize,
        mut compaction: Compaction,
    ) -> Result<Written, StoreError> {
        let _writing = store.writing.lock();
        let write = store.begin_write()?;
        let mut names = Vec::with_capacity(self.streams.len());
        let (dead, synced, removed, leftovers);
        {
            let mut tables = Tables::open(&write, &store.segments, self.syncs, removals_max)?;
            if self.begins_segment {
                tables.chunks.begin_segment()?;
            }
            for (id, entries) in self.streams {
                names.extend(tables.fold_stream(id, entries)?);
            }
            tables.collect_garbage()?;
            tables.trim_leftovers()?;
            if !self.moves_nothing {
                tables.chunks.compact(&mut compaction)?;
            }
            (dead, synced) = tables.chunks.finish()?;
            removed = tables.removals_left < removals_max;
            // By the accounts as they are now: what this fold removed may have made a victim.
            leftovers = tables.has_removals()?
                || !self.moves_nothing && tables.chunks.has_victim(&compaction)?;
            let mut facts = write.open_table(FACTS).map_err(failed)?;
            let brought = Facts {
                watermark: self.last_row,
                next_stream_id: self.next_stream_id,
                newest_commit_at: Timestamp(self.newest_commit_at),
            };
            brought.or_newer(Facts::read(&facts)?).write(&mut facts)?;
        }
        write.commit().map_err(failed)?;
        store.segments.remove(&dead)?;
        compaction.forget(&dead);
        Ok(Written {
            names,
            removed,
            leftovers,
            compaction,
            syncs: synced + COMMIT_SYNCS,
        })
    }
}

/// What was read, or nothing if it is damaged: it stays as it is, for its readers to be told, and everybody else goes on.
fn if_whole<T>(read: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(error) if error.is_damage() => {
            tracing::error!(%error, "a chunk cannot be read; the fold goes on without it");
            Ok(None)
        }
        other => other,
    }
}

/// What a fold did.
#[derive(Debug)]
pub(super) struct Written {
    /// The streams it touched.
    pub names: Vec<StreamName>,
    /// It removed chunks or whole streams.
    pub removed: bool,
    /// There is more to remove or to move.
    pub leftovers: bool,
    /// How far that is.
    pub compaction: Compaction,
    /// Files synced on the way.
    pub syncs: u64,
}

/// The tables of the write transaction.
struct Tables<'txn> {
    names: Table<'txn, &'static str, u64>,
    streams: Table<'txn, u64, &'static [u8]>,
    producers: Table<'txn, (u64, &'static str), &'static [u8]>,
    chunks: StoredChunks<'txn>,
    timers: Table<'txn, (u64, u64), ()>,
    due: Table<'txn, u64, u64>,
    garbage: Table<'txn, u64, ()>,
    untrimmed: Table<'txn, u64, ()>,
    /// Rows that this fold may still remove.
    removals_left: usize,
}

/// One stream on its way through a fold.
#[derive(Default)]
struct Folded {
    name: Option<StreamName>,
    state: Option<StreamState>,
    runs: Vec<Run>,
    evicted_since: Option<Timestamp>,
    trimmed: bool,
    created: bool,
}

impl<'txn> Tables<'txn> {
    fn open(
        write: &'txn WriteTransaction,
        segments: &'txn Segments,
        syncs: Syncs,
        removals_max: usize,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            names: write.open_table(NAMES).map_err(failed)?,
            streams: write.open_table(STREAMS).map_err(failed)?,
            producers: write.open_table(PRODUCERS).map_err(failed)?,
            chunks: StoredChunks::open(write, segments, syncs)?,
            timers: write.open_table(TIMERS).map_err(failed)?,
            due: write.open_table(DUE).map_err(failed)?,
            garbage: write.open_table(GARBAGE).map_err(failed)?,
            untrimmed: write.open_table(UNTRIMMED).map_err(failed)?,
            removals_left: removals_max,
        })
    }

    fn fold_stream(
        &mut self,
        id: StreamId,
        entries: Vec<Entry>,
    ) -> Result<Option<StreamName>, StoreError> {
        let mut folded = self.stored(id)?;
        for entry in entries {
            folded.apply(entry)?;
        }
        let Some(name) = folded.name else {
            return Ok(None);
        };
        match folded.state {
            None => self.remove_stream(id, &name)?,
            Some(state) => {
                if let Some(since) = folded.evicted_since {
                    self.evict_producers(id, since)?;
                }
                for (producer, known) in state.producers.iter() {
                    let row = codec::encode_producer(&known);
                    self.producers
                        .insert((id.0, producer), row.as_slice())
                        .map_err(failed)?;
                }
                self.add_runs(id, &folded.runs, &state)?;
                if folded.trimmed {
                    self.trim_chunks(id, &state)?;
                }
                if folded.created {
                    self.names.insert(name.as_str(), id.0).map_err(failed)?;
                }
                let row = codec::encode_state(&state, name.as_str());
                self.streams.insert(id.0, row.as_slice()).map_err(failed)?;
                self.set_timer(id, self.due_time(&state)?)?;
            }
        }
        Ok(Some(name))
    }

    fn has_removals(&self) -> Result<bool, StoreError> {
        Ok(self.garbage.first().map_err(failed)?.is_some()
            || self.untrimmed.first().map_err(failed)?.is_some())
    }

    fn stored(&self, id: StreamId) -> Result<Folded, StoreError> {
        let Some(row) = self.streams.get(id.0).map_err(failed)? else {
            return Ok(Folded::default());
        };
        let entry = chunks::decode_of(id.0, row.value())?;
        Ok(Folded {
            name: Some(entry.name),
            state: Some(entry.state),
            ..Folded::default()
        })
    }

    fn remove_stream(&mut self, id: StreamId, name: &StreamName) -> Result<(), StoreError> {
        let current = self
            .names
            .get(name.as_str())
            .map_err(failed)?
            .map(|current| current.value());
        if current == Some(id.0) {
            self.names.remove(name.as_str()).map_err(failed)?;
        }
        self.streams.remove(id.0).map_err(failed)?;
        self.untrimmed.remove(id.0).map_err(failed)?;
        self.set_timer(id, None)?;
        self.garbage.insert(id.0, ()).map_err(failed)?;
        Ok(())
    }

    fn evict_producers(&mut self, id: StreamId, since: Timestamp) -> Result<(), StoreError> {
        let idle =
            |row: &[u8]| codec::decode_producer(row).is_ok_and(|producer| producer.at <= since);
        self.producers
            .retain_in((id.0, "")..(id.0 + 1, ""), |_, row| !idle(row))
            .map_err(failed)
    }

    fn set_timer(&mut self, id: StreamId, due: Option<Timestamp>) -> Result<(), StoreError> {
        let before = self.due.get(id.0).map_err(failed)?.map(|due| due.value());
        if before == due.map(|due| due.0) {
            return Ok(());
        }
        if let Some(before) = before {
            self.timers.remove((before, id.0)).map_err(failed)?;
            self.due.remove(id.0).map_err(failed)?;
        }
        if let Some(due) = due {
            self.timers.insert((due.0, id.0), ()).map_err(failed)?;
            self.due.insert(id.0, due.0).map_err(failed)?;
        }
        Ok(())
    }

    /// When the clock must look at a stream that is not in memory.
    fn due_time(&self, state: &StreamState) -> Result<Option<Timestamp>, StoreError> {
        let age = match state
            .options
            .retention
            .max_age
            .filter(|_| state.records() > 0 && !state.deleted)
        {
            Some(max_age) => self.commit_time(state)?.map(|at| at.after(max_age)),
            None => None,
        };
        Ok([state.expires_at(), age, crowded_since(state)]
            .into_iter()
            .flatten()
            .min())
    }

    /// Commit time of the earliest record.
    fn commit_time(&self, state: &StreamState) -> Result<Option<Timestamp>, StoreError> {
        let earliest = state.earliest.offset;
        let key = (state.id.0, earliest.0);
        let Some((key, bytes)) = if_whole(self.chunks.last_up_to(key, usize::MAX))? else {
            return Ok(None);
        };
        let mut runs = chunks::decode_chunk(key, &bytes);
        let run = runs.find(|run| {
            run.as_ref()
                .map_or(true, |run| run.header.next_offset() > earliest.0)
        });
        let run = if_whole(run.transpose())?;
        Ok(run.map(|run| Timestamp(run.header.committed_at)))
    }

    /// Writes `runs` behind what the stream has, less what nobody reads any more.
    fn add_runs(
        &mut self,
        id: StreamId,
        runs: &[Run],
        state: &StreamState,
    ) -> Result<(), StoreError> {
        let (unread_until, shared_until) = (state.unread_until().0, state.shared_until.0);
        let read = |run: &Run| {
            if run.header.first_offset < shared_until {
                return Some(run.clone());
            }
            run.starting_at(unread_until)
        };
        let kept: Vec<Run> = runs.iter().filter_map(read).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let mut chunk = self.open_chunk(id)?;
        for mut run in kept {
            loop {
                let room = CHUNK_BYTES_MAX.saturating_sub(chunk.bytes.len());
                if run.encoded_bytes() <= room {
                    chunk.push(&run);
                    break;
                }
                let piece = run.take(room, u32::MAX);
                let fits = piece.encoded_bytes() <= room;
                if fits || chunk.bytes.is_empty() {
                    chunk.push(&piece);
                }
                let taken = chunk.next_offset;
                self.put(id, &mut chunk)?;
                match run.starting_at(taken) {
                    Some(rest) => run = rest,
                    None => break,
                }
            }
        }
        self.put(id, &mut chunk)
    }

    /// The stream's last chunk if it is a small one, to be written anew with more in it; else an empty one.
    fn open_chunk(&self, id: StreamId) -> Result<OpenChunk, StoreError> {
        let last = self.chunks.last_up_to((id.0, u64::MAX), SMALL_CHUNK_BYTES);
        let last = if_whole(last)?;
        Ok(
            last.map_or_else(OpenChunk::default, |(key, bytes)| OpenChunk {
                first: key.1,
                next_offset: key.1,
                bytes: BytesMut::from(bytes),
            }),
        )
    }

    fn put(&mut self, id: StreamId, chunk: &mut OpenChunk) -> Result<(), StoreError> {
        if !chunk.bytes.is_empty() {
            self.chunks.put((id.0, chunk.first), &chunk.bytes)?;
            chunk.bytes.clear();
        }
        Ok(())
    }

    /// Removes chunks of which nothing is read any more, as many as this fold still may; notes if there are more. What forks
    /// share stays, whatever is trimmed for the stream's own readers.
    fn trim_chunks(&mut self, id: StreamId, state: &StreamState) -> Result<(), StoreError> {
        let unread_until = state.unread_until();
        let mut dead = Vec::new();
        let mut previous = None;
        for start in self.chunks.starts(id, state.shared_until.0)? {
            let start = start?;
            if start > unread_until.0 || dead.len() > self.removals_left {
                break;
            }
            dead.extend(previous.replace(start));
        }
        if unread_until == state.tail.offset {
            dead.extend(previous);
        }
        if dead.len() > self.removals_left {
            dead.truncate(self.removals_left);
            self.untrimmed.insert(id.0, ()).map_err(failed)?;
        } else {
            self.untrimmed.remove(id.0).map_err(failed)?;
        }
        self.removals_left -= dead.len();
        for start in dead {
            self.chunks.remove((id.0, start))?;
        }
        Ok(())
    }

    /// Goes on with trims that were more than one fold may do.
    fn trim_leftovers(&mut self) -> Result<(), StoreError> {
        while self.removals_left > 0 {
            let first = self.untrimmed.first().map_err(failed)?;
            let Some(id) = first.map(|(id, _)| StreamId(id.value())) else {
                break;
            };
            match self.stored(id)?.state {
                Some(state) => self.trim_chunks(id, &state)?,
                None => drop(self.untrimmed.remove(id.0).map_err(failed)?),
            }
        }
        Ok(())
    }

    /// Removes some rows of deleted streams.
    fn collect_garbage(&mut self) -> Result<(), StoreError> {
        while self.removals_left > 0 {
            let Some(id) = self
                .garbage
                .first()
                .map_err(failed)?
                .map(|(id, _)| id.value())
            else {
                break;
            };
            let dead = self.chunks.starts(StreamId(id), 0)?;
            let dead: Vec<u64> = dead.take(self.removals_left).collect::<Result<_, _>>()?;
            for start in &dead {
                self.chunks.remove((id, *start))?;
            }
            if dead.len() < self.removals_left {
                self.producers
                    .retain_in((id, "")..(id + 1, ""), |_, _| false)
                    .map_err(failed)?;
                self.garbage.remove(id).map_err(failed)?;
            }
            self.removals_left -= dead.len().max(1);
        }
        Ok(())
    }
}

/// A time long gone if the stream holds more than its limits say: its readers have been shown a trim that is written down only by
/// a later commit. Should that one never be, the clock sees to it.
fn crowded_since(state: &StreamState) -> Option<Timestamp> {
    let never = Timestamp::default();
    let retention = &state.options.retention;
    let crowded = !state.deleted
        && rules::retention::is_due(retention, state.earliest, state.tail, never, None);
    crowded.then_some(never)
}

/// A chunk being filled.
#[derive(Default)]
struct OpenChunk {
    first: u64,
    next_offset: u64,
    bytes: BytesMut,
}

impl OpenChunk {
    fn push(&mut self, run: &Run) {
        if self.bytes.is_empty() {
            self.first = run.header.first_offset;
        }
        self.next_offset = run.header.next_offset();
        run.encode(&mut self.bytes);
    }
}

impl Folded {
    fn apply(&mut self, entry: Entry) -> Result<(), StoreError> {
        match entry {
            Entry::Run { run } => {
                if let Some(state) = &mut self.state {
                    let at = Timestamp(run.header.committed_at);
                    state.appended(run.header.count, run.header.payload_bytes(), at);
                    self.runs.push(run);
                }
            }
            Entry::Effect { effect, name } => {
                match &effect {
                    Effect::Created { .. } => {
                        self.name = Some(chunks::valid_name(&name)?);
                        self.created = true;
                    }
                    Effect::Deleted { .. } => self.runs.clear(),
                    Effect::Trimmed { .. } | Effect::ForkReleased | Effect::Retired { .. } => {
                        self.trimmed = true;
                    }
                    Effect::ProducersEvicted { idle_since } => {
                        self.evicted_since = Some(*idle_since);
                    }
                    _ => {}
                }
                rules::apply(&mut self.state, &effect);
            }
        }
        Ok(())
    }
}
