//! `store.redb`: everything that has left the journal, but for the bytes of chunks: of those it says where they are in the
//! [`super::segments`].
//!
//! | table | key | value | how many |
//! |---|---|---|---|
//! | `names` | stream name | stream id | one per stream |
//! | `streams` | stream id | state, see [`super::codec`] | one per stream |
//! | `producers` | stream id, producer id | producer state | one per producer of a stream |
//! | `chunks` | stream id, first offset | segment, position, length, checksum | one per 64 KiB of records |
//! | `segments` | segment number | bytes written, bytes of removed chunks | one per segment file |
//! | `timers` | due time (µs), stream id | - | one per stream that changes by the clock |
//! | `due` | stream id | its key in `timers` | as `timers` |
//! | `garbage` | stream id | - | one per deleted stream whose rows are not all removed yet |
//! | `untrimmed` | stream id | - | one per stream whose trimmed chunks are not all removed yet |
//! | `facts` | text | number | watermark, next stream id, newest commit time, checksum: see `facts` |
//!
//! Only the folder writes. Readers open a transaction per call and run off the async threads. Commits use quick-repair, so
//! opening after a crash does not walk the file.

mod reading;

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

pub(super) use reading::decode_chunk;

use super::codec;
use super::compaction::Compaction;
use super::error::StoreError;
use super::facts::{FACTS, Facts};
use super::files::Files;
use super::redb_file::{Held, RedbFile};
use super::segments::{self, Segments, StoredPlace};
use crate::rules::{ProducerState, StreamState};
use crate::types::{StreamId, StreamName, Timestamp};

/// File name within the data directory.
pub const FILE: &str = "store.redb";

pub(super) type ChunkKey = (u64, u64);

pub(super) const NAMES: TableDefinition<'_, &str, u64> = TableDefinition::new("names");
pub(super) const STREAMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("streams");
pub(super) const PRODUCERS: TableDefinition<'_, (u64, &str), &[u8]> =
    TableDefinition::new("producers");
pub(super) const CHUNKS: TableDefinition<'_, ChunkKey, StoredPlace> =
    TableDefinition::new("chunks");
pub(super) const SEGMENTS: TableDefinition<'_, u32, (u64, u64)> = TableDefinition::new("segments");
pub(super) const TIMERS: TableDefinition<'_, (u64, u64), ()> = TableDefinition::new("timers");
pub(super) const DUE: TableDefinition<'_, u64, u64> = TableDefinition::new("due");
pub(super) const GARBAGE: TableDefinition<'_, u64, ()> = TableDefinition::new("garbage");
pub(super) const UNTRIMMED: TableDefinition<'_, u64, ()> = TableDefinition::new("untrimmed");

/// Tables of a store; an older one has fewer, and gets the others when it is opened.
const TABLES: usize = 10;

/// How often a read is begun anew because a segment went away under it.
const READ_TRIES: usize = 8;

/// How long a reader waits for whoever is at work on the file: a fold, or who opens it again, which waits for snapshots and for locks.
const HEALING: Duration = Duration::from_secs(8);

/// A smaller redb file is not looked at for room that it does not need.
const SPARSE_BYTES: u64 = 4 << 20;

pub(super) fn failed<E: Into<redb::Error>>(error: E) -> StoreError {
    StoreError::redb(FILE)(error.into())
}

/// A stream as the catalogue lists it.
#[derive(Clone, Debug)]
pub struct CatalogueEntry {
    /// Its name.
    pub name: StreamName,
    /// Its state, without producers.
    pub state: StreamState,
}

/// What the `timers` table says.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// Streams whose time has come.
    pub streams: Vec<StreamName>,
    /// More are due: from this key on.
    pub more_from: Option<(u64, u64)>,
    /// When the first one that is not due yet will be.
    pub next: Option<Timestamp>,
}

/// The open store.
#[derive(Debug)]
pub struct ChunkStore {
    redb: RedbFile,
    /// Held by a fold, and by whoever opens the file anew.
    pub(super) writing: Mutex<()>,
    pub(super) files: Arc<dyn Files>,
    pub(super) segments: Segments,
}

impl ChunkStore {
    /// Opens or creates the store among `files`. A segment is ended by the fold that takes it to `segment_bytes`.
    ///
    /// Its tables are durable before the first segment is made. So where there are segments and it holds nothing, it was lost, and
    /// going on would remove them.
    pub fn open(
        files: &Arc<dyn Files>,
        cache_bytes: usize,
        segment_bytes: u64,
    ) -> Result<Self, StoreError> {
        let store = Self {
            redb: RedbFile::open(files, cache_bytes)?,
            writing: Mutex::new(()),
            files: Arc::clone(files),
            segments: Segments::new(Arc::clone(files), segment_bytes),
        };
        let tables = store.tables()?;
        if tables == 0 && segments::exist(&**files)? {
            return Err(StoreError::Damaged {
                file: FILE,
                reason: "it holds nothing, and there are segments".to_owned(),
            });
        }
        if tables < TABLES {
            let write = store.begin_write()?;
            write.open_table(NAMES).map_err(failed)?;
            write.open_table(STREAMS).map_err(failed)?;
            write.open_table(PRODUCERS).map_err(failed)?;
            write.open_table(CHUNKS).map_err(failed)?;
            write.open_table(SEGMENTS).map_err(failed)?;
            write.open_table(TIMERS).map_err(failed)?;
            write.open_table(DUE).map_err(failed)?;
            write.open_table(GARBAGE).map_err(failed)?;
            write.open_table(UNTRIMMED).map_err(failed)?;
            write.open_table(FACTS).map_err(failed)?;
            write.commit().map_err(failed)?;
        }
        store.remove_unknown_segments(&store.hold().begin_read()?, u32::MAX)?;
        Ok(store)
    }

    /// Removes the segments up to number `last` that nothing points to.
    fn remove_unknown_segments(&self, read: &ReadTransaction, last: u32) -> Result<(), StoreError> {
        let known = read.open_table(SEGMENTS).map_err(failed)?;
        let is_known = |number| Ok(number > last || known.get(number).map_err(failed)?.is_some());
        self.segments.remove_unknown(is_known)
    }

    /// Bytes of all segments together.
    pub fn segment_bytes(&self) -> Result<u64, StoreError> {
        self.reading(|read| {
            let segments = read.open_table(SEGMENTS).map_err(failed)?;
            let mut bytes: u64 = 0;
            for row in segments.iter().map_err(failed)? {
                bytes = bytes.saturating_add(row.map_err(failed)?.1.value().0);
            }
            Ok(bytes)
        })
    }

    fn tables(&self) -> Result<usize, StoreError> {
        let read = self.hold().begin_read()?;
        Ok(read.list_tables().map_err(failed)?.count())
    }

    /// Whether rows of deleted or trimmed streams are still to be removed, or segments to be compacted.
    pub fn has_leftovers(&self) -> Result<bool, StoreError> {
        self.reading(|read| {
            let accounts = read.open_table(SEGMENTS).map_err(failed)?;
            if Compaction::default().next(&accounts)?.is_some() {
                return Ok(true);
            }
            for table in [GARBAGE, UNTRIMMED] {
                let table = read.open_table(table).map_err(failed)?;
                if table.first().map_err(failed)?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Whether at least half of the segment that is written to is dead: it is never emptied as long as it is the last one.
    pub(super) fn last_segment_is_half_dead(&self) -> Result<bool, StoreError> {
        self.reading(|read| {
            let accounts = read.open_table(SEGMENTS).map_err(failed)?;
            let last = accounts.last().map_err(failed)?;
            let account = last.map(|(_, account)| account.value());
            Ok(account.is_some_and(|(bytes, dead)| dead > 0 && dead >= bytes.div_ceil(2)))
        })
    }

    /// Whether less than half of the redb file holds anything. Goes through all of it, unless it is small.
    pub(super) fn is_half_empty(&self) -> Result<bool, StoreError> {
        let io = |source| StoreError::Io { file: FILE, source };
        let length = self.files.length(FILE).map_err(io)?;
        if length < SPARSE_BYTES {
            return Ok(false);
        }
        let _writing = self.writing.lock();
        let write = self.begin_write()?;
        let stats = write.stats().map_err(failed)?;
        write.abort().map_err(failed)?;
        Ok(stats.allocated_pages() * stats.page_size() as u64 <= length / 2)
    }

    /// Has redb bring the pages of its file together, and give back the rest. Readers wait meanwhile. False if those that there were did
    /// not come to an end.
    pub(super) fn bring_together(&self) -> Result<bool, StoreError> {
        let _writing = self.writing.lock();
        self.redb.durable()?;
        let begun = Instant::now();
        let done = self.redb.bring_together()?;
        if done {
            // What redb committed now would have to be walked after a crash.
            self.begin_write()?.commit().map_err(failed)?;
            tracing::info!(took = ?begun.elapsed(), "{FILE} was brought together");
        }
        Ok(done)
    }

    /// As [`RedbFile::verify_pages`].
    pub(super) fn verify_pages(&self) -> Result<bool, StoreError> {
        self.redb.verify_pages()
    }

    /// Closes the file, so that it can be opened again at once, whoever still holds this handle.
    pub fn close(&self) {
        self.redb.close();
    }

    /// Opens the redb file anew after an operation on it failed, which makes its handle useless, also for readers. It is then as its
    /// last commit left it, and so are the segments: what a fold that failed wrote behind their ends, or in
    /// a
    /// new one, is given back, and so are those that it had emptied if it was durable all the same.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let _writing = self.writing.lock();
        self.open_again()?;
        self.redb.durable()?;
        let held = self.redb.hold();
        let read = held.begin_read()?;
        let accounts = read.open_table(SEGMENTS).map_err(failed)?;
        let last = accounts.last().map_err(failed)?;
        let (last, end) = last.map_or((0, 0), |(number, account)| {
            (number.value(), account.value().0)
        });
        self.segments.cut(last, end)?;
        // The one that a fold began that failed: it is not removed, since its number is used again and a removal may be put off.
        self.segments.cut(last + 1, 0)?;
        self.remove_unknown_segments(&read, last)
    }

    fn open_again(&self) -> Result<(), StoreError> {
        // What a snapshot reads from then on is not of its moment.
        self.segments.void_pins();
        self.redb.open_again()
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        self.redb.begin_write()
    }

    /// As [`RedbFile::hold`].
    pub(super) fn hold(&self) -> Held<'_> {
        self.redb.hold()
    }

    /// As [`RedbFile::durable`].
    pub(super) fn durable(&self) -> Result<(), StoreError> {
        self.redb.durable()
    }

    /// As [`RedbFile::times_opened`].
    pub(super) fn times_opened(&self) -> u64 {
        self.redb.times_opened()
    }

    /// What `read` finds at one moment. A failure of anybody's makes the handle useless to all: whoever made it is told, others read anew
    /// once the file is open again.
    fn reading<T>(
        &self,
        mut read: impl FnMut(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut until = None;
        loop {
            let opened = self.times_opened();
            let outcome = survived(|| read(&self.hold().begin_read()?));
            match outcome {
                Err(error) if error.is_stale_handle() => {
                    let now = Instant::now();
                    let until = *until.get_or_insert(now + HEALING);
                    if now >= until {
                        return Err(error);
                    }
                    survived(|| self.heal(opened, until))?;
                }
                outcome => return outcome,
            }
        }
    }

    /// After an operation failed on the file as it was `opened`: opens it again, or leaves that to the one who is at work on it.
    fn heal(&self, opened: u64, until: Instant) -> Result<(), StoreError> {
        let Some(_writing) = self.writing.try_lock() else {
            drop(self.writing.try_lock_until(until));
            return Ok(());
        };
        if self.times_opened() != opened {
            return Ok(());
        }
        match self.open_again() {
            Err(error) if self.redb.is_open() => {
                tracing::warn!(%error, "the store cannot be opened again but to read from it");
                Ok(())
            }
            // Another process has it: it is tried again as long as the reader waits.
            Err(error) if error.is_stale_handle() => Ok(()),
            other => other,
        }
    }

    /// Watermark and counters.
    pub fn facts(&self) -> Result<Facts, StoreError> {
        self.reading(facts)
    }

    /// The stream called `name`, with its producers.
    pub fn load(&self, name: &str) -> Result<Option<StreamState>, StoreError> {
        self.reading(|read| load(read, name))
    }

    /// The streams called `names`, all at one moment, and the watermark then.
    pub(super) fn load_all<'a>(
        &self,
        names: &(impl Iterator<Item = &'a str> + Clone),
    ) -> Result<(u64, Vec<Option<StreamState>>), StoreError> {
        self.reading(|read| {
            let states = names.clone().map(|name| load(read, name));
            Ok((facts(read)?.watermark, states.collect::<Result<_, _>>()?))
        })
    }

    /// The name of stream `id`, if it is in the store.
    pub fn name_of(&self, id: StreamId) -> Result<Option<StreamName>, StoreError> {
        self.reading(|read| {
            let streams = read.open_table(STREAMS).map_err(failed)?;
            match streams.get(id.0).map_err(failed)? {
                Some(row) => Ok(Some(decode_of(id.0, row.value())?.name)),
                None => Ok(None),
            }
        })
    }

    /// Up to `limit` streams whose names begin with `prefix` and sort after `after`, in order.
    pub fn catalogue(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<CatalogueEntry>, StoreError> {
        self.reading(|read| catalogue(read, prefix, after, limit))
    }

    /// Streams with a timer due at `now`, from table key `from` on.
    pub fn due(&self, from: (u64, u64), now: Timestamp, limit: usize) -> Result<Due, StoreError> {
        self.reading(|read| streams_due(read, from, now, limit))
    }
}

/// Makes a panic of redb an error of this one read: it panics over some pages that it did not write. The committer reads as well, and its
/// panic would end all writes; others would take it along to threads that serve many. Nothing is half changed, since nothing is written.
fn survived<T>(read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_panic| {
        Err(StoreError::Damaged {
            file: FILE,
            reason: "redb gave up on a page of it".to_owned(),
        })
    })
}

fn load(read: &ReadTransaction, name: &str) -> Result<Option<StreamState>, StoreError> {
    let names = read.open_table(NAMES).map_err(failed)?;
    let Some(id) = names.get(name).map_err(failed)?.map(|id| id.value()) else {
        return Ok(None);
    };
    let mut entry = entry(read, name, id)?;
    let producers = read.open_table(PRODUCERS).map_err(failed)?;
    for row in producers.range((id, "")..(id + 1, "")).map_err(failed)? {
        let (key, value) = row.map_err(failed)?;
        let producer = decode_producer(value.value())?;
        entry.state.producers.advance(key.value().1, producer);
    }
    Ok(Some(entry.state))
}

/// The facts at a moment.
pub(super) fn facts(read: &ReadTransaction) -> Result<Facts, StoreError> {
    Facts::read(&read.open_table(FACTS).map_err(failed)?)
}

fn catalogue(
    read: &ReadTransaction,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<CatalogueEntry>, StoreError> {
    let names = read.open_table(NAMES).map_err(failed)?;
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let rows = names.range::<&str>((from, Bound::Unbounded));
    let mut entries = Vec::new();
    for row in rows.map_err(failed)?.take(limit) {
        let (name, id) = row.map_err(failed)?;
        if !name.value().starts_with(prefix) {
            break;
        }
        entries.push(entry(read, name.value(), id.value())?);
    }
    Ok(entries)
}

fn streams_due(
    read: &ReadTransaction,
    from: (u64, u64),
    now: Timestamp,
    limit: usize,
) -> Result<Due, StoreError> {
    let timers = read.open_table(TIMERS).map_err(failed)?;
    let streams = read.open_table(STREAMS).map_err(failed)?;
    let mut due = Due::default();
    for row in timers.range(from..).map_err(failed)? {
        let key = row.map_err(failed)?.0.value();
        if key.0 > now.0 {
            due.next = Some(Timestamp(key.0));
            break;
        }
        if due.streams.len() == limit {
            due.more_from = Some(key);
            break;
        }
        if let Some(row) = streams.get(key.1).map_err(failed)? {
            due.streams.push(decode_of(key.1, row.value())?.name);
        }
    }
    Ok(due)
}

fn corrupt(source: codec::CodecError) -> StoreError {
    StoreError::Corrupt { file: FILE, source }
}

/// A row of a producer.
pub(super) fn decode_producer(row: &[u8]) -> Result<ProducerState, StoreError> {
    codec::decode_producer(row).map_err(corrupt)
}

/// A stream's row, without its producers.
pub(super) fn decode(row: &[u8]) -> Result<CatalogueEntry, StoreError> {
    let (state, name) = codec::decode_state(row).map_err(corrupt)?;
    Ok(CatalogueEntry {
        name: valid_name(&name)?,
        state,
    })
}

/// A name read back from disk.
pub(super) fn valid_name(name: &str) -> Result<StreamName, StoreError> {
    let what = |error| format!("a valid stream name ({error})");
    StreamName::new(name).map_err(|error| StoreError::Missing {
        file: FILE,
        what: what(error),
    })
}

/// The row of stream `id`, without its producers. Only the row itself has a checksum: what leads to it may be damaged.
pub(super) fn decode_of(id: u64, row: &[u8]) -> Result<CatalogueEntry, StoreError> {
    let entry = decode(row)?;
    if entry.state.id.0 == id {
        return Ok(entry);
    }
    Err(StoreError::Damaged {
        file: FILE,
        reason: format!("the row of stream {id} is that of {}", entry.state.id.0),
    })
}

/// The row of the stream called `name`, which is `id`.
fn entry(read: &ReadTransaction, name: &str, id: u64) -> Result<CatalogueEntry, StoreError> {
    let streams = read.open_table(STREAMS).map_err(failed)?;
    let row = streams.get(id).map_err(failed)?;
    let row = row.ok_or_else(|| StoreError::Missing {
        file: FILE,
        what: format!("the state of stream {id}"),
    })?;
    let entry = decode_of(id, row.value())?;
    if entry.name.as_str() == name {
        return Ok(entry);
    }
    Err(StoreError::Damaged {
        file: FILE,
        reason: format!("{name} leads to stream {id}, which is {}", entry.name),
    })
}
