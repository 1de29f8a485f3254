//! Making a data directory from a backup.
//!
//! A note lies in the directory from before the first file until everything is durable ([`UNFINISHED`]): a restore that was cut short leaves a
//! directory that nobody opens. The tables are one transaction, the chunks go into segments one behind the other, the rows into a new
//! journal; they keep their numbers.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use redb::{Table, WriteTransaction};

use super::super::check::CACHE_BYTES;
use super::super::chunks::{
    CHUNKS, ChunkKey, ChunkStore, DUE, NAMES, PRODUCERS, SEGMENTS, STREAMS, TIMERS, UNTRIMMED,
    decode, failed,
};
use super::super::codec;
use super::super::error::StoreError;
use super::super::facts::{FACTS, Facts};
use super::super::files::Files;
use super::super::journal::Journal;
use super::super::restored::UNFINISHED;
use super::super::segments::{SegmentWriter, Segments, StoredPlace, Syncs};
use super::format::{BackupError, Counts, Frame, FrameReader, Kind, damaged, number};
use crate::types::Timestamp;

/// How large segments become. The broker goes on with its own size.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Rows of the journal that are written at a time.
const COMMIT_BYTES: usize = 4 << 20;

/// What the file systems themselves put into an empty directory.
const OF_THE_FILE_SYSTEM: &str = "lost+found";

const NOTE: &str = "A backup is being restored into this directory, or was and did not come to its end.\n\
    If no restore is running: empty the directory and restore again.\n";

/// Makes a data directory of the empty place that `files` are in from the backup that `from` reads.
///
/// # Errors
/// If the directory is not empty, the backup is not whole, or the disk fails. If it got as far as writing anything, the directory is then of
/// no use, and says so to whoever opens it.
pub fn restore(files: &Arc<dyn Files>, from: &mut dyn Read) -> Result<Counts, BackupError> {
    let mut from = FrameReader::new(from)?;
    let at = |source| StoreError::Directory {
        path: files.place().to_owned(),
        source,
    };
    files.prepare().map_err(at)?;
    let names = files.names().map_err(at)?;
    if names.iter().any(|name| name != OF_THE_FILE_SYSTEM) {
        return Err(BackupError::NotEmpty {
            path: files.place().to_owned(),
        });
    }
    begin(&**files).map_err(at)?;
    let store = ChunkStore::open(files, CACHE_BYTES, SEGMENT_BYTES)?;
    fill(files, &store, &mut from)?;
    store.close();
    end(&**files).map_err(at)?;
    Ok(from.counts())
}

/// Leaves the note, durably.
fn begin(files: &dyn Files) -> io::Result<()> {
    let note = files.create(UNFINISHED)?;
    note.write(0, NOTE.as_bytes())?;
    note.sync_data()?;
    note.close()?;
    files.sync()
}

/// Takes the note away, durably, and not before all names are durable.
fn end(files: &dyn Files) -> io::Result<()> {
    files.sync()?;
    files.remove(UNFINISHED)?;
    files.sync()
}

fn fill(
    files: &Arc<dyn Files>,
    store: &ChunkStore,
    from: &mut FrameReader<'_>,
) -> Result<(), BackupError> {
    let first = from.next()?.filter(|frame| frame.kind == Kind::Facts);
    let first = first.ok_or_else(|| damaged("it does not begin with its facts".to_owned()))?;
    let mut numbers = &first.body[..];
    let facts = Facts {
        watermark: number(&mut numbers, 8)?,
        next_stream_id: number(&mut numbers, 8)?,
        newest_commit_at: Timestamp(number(&mut numbers, 8)?),
    };
    let mut rows = Rows::begin(files, facts.watermark)?;
    let write = store.begin_write()?;
    {
        let mut tables = Tables::open(&write, &store.segments)?;
        while let Some(frame) = from.next()? {
            match frame.kind {
                Kind::Row => rows.take(&frame)?,
                _ => tables.take(&frame)?,
            }
        }
        tables.end_segment()?;
        facts.write(&mut write.open_table(FACTS).map_err(failed)?)?;
    }
    rows.end()?;
    write.commit().map_err(failed)?;
    Ok(())
}

/// The journal's rows on their way to a new journal.
struct Rows {
    journal: Journal,
    watermark: u64,
    next: u64,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
}

impl Rows {
    fn begin(files: &Arc<dyn Files>, watermark: u64) -> Result<Self, StoreError> {
        let mut journal = Journal::open(&**files)?;
        journal.replay(watermark, |_row| Ok(()))?;
        Ok(Self {
            next: journal.next_row(),
            journal,
            watermark,
            waiting: Vec::new(),
            waiting_bytes: 0,
        })
    }

    fn take(&mut self, frame: &Frame) -> Result<(), BackupError> {
        let mut body = &frame.body[..];
        if number(&mut body, 8)? != self.next {
            return Err(damaged(format!("row {} is missing", self.next)));
        }
        let row = frame.body.slice_ref(body);
        if let Err(error) = codec::entries(&row).map(drop) {
            return Err(damaged(format!("row {}: {error}", self.next)));
        }
        self.next += 1;
        self.waiting_bytes += row.len();
        self.waiting.push(row);
        if self.waiting_bytes >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if !self.waiting.is_empty() {
            self.journal.commit(&self.waiting, self.watermark)?;
        }
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }

    fn end(mut self) -> Result<(), StoreError> {
        self.commit()
    }
}

/// The tables, and the segment under way.
struct Tables<'txn> {
    names: Table<'txn, &'static str, u64>,
    streams: Table<'txn, u64, &'static [u8]>,
    producers: Table<'txn, (u64, &'static str), &'static [u8]>,
    chunks: Table<'txn, ChunkKey, StoredPlace>,
    accounts: Table<'txn, u32, (u64, u64)>,
    timers: Table<'txn, (u64, u64), ()>,
    due: Table<'txn, u64, u64>,
    untrimmed: Table<'txn, u64, ()>,
    segments: &'txn Segments,
    writer: Option<SegmentWriter>,
    next_segment: u32,
}

impl<'txn> Tables<'txn> {
    fn open(write: &'txn WriteTransaction, segments: &'txn Segments) -> Result<Self, StoreError> {
        Ok(Self {
            names: write.open_table(NAMES).map_err(failed)?,
            streams: write.open_table(STREAMS).map_err(failed)?,
            producers: write.open_table(PRODUCERS).map_err(failed)?,
            chunks: write.open_table(CHUNKS).map_err(failed)?,
            accounts: write.open_table(SEGMENTS).map_err(failed)?,
            timers: write.open_table(TIMERS).map_err(failed)?,
            due: write.open_table(DUE).map_err(failed)?,
            untrimmed: write.open_table(UNTRIMMED).map_err(failed)?,
            segments,
            writer: None,
            next_segment: 1,
        })
    }

    fn take(&mut self, frame: &Frame) -> Result<(), BackupError> {
        let mut body = &frame.body[..];
        match frame.kind {
            Kind::Stream => {
                let id = number(&mut body, 8)?;
                let entry = decode(body)?;
                let name = entry.name.as_str();
                self.names.insert(name, id).map_err(failed)?;
                self.streams.insert(id, body).map_err(failed)?;
            }
            Kind::Producer => {
                let id = number(&mut body, 8)?;
                let length = usize::try_from(number(&mut body, 4)?).unwrap_or(usize::MAX);
                let split = body.split_at_checked(length);
                let (name, state) = split.ok_or_else(|| malformed("producer"))?;
                let name = std::str::from_utf8(name).map_err(|_not_text| malformed("producer"))?;
                self.producers.insert((id, name), state).map_err(failed)?;
            }
            Kind::Due => {
                let (id, at) = (number(&mut body, 8)?, number(&mut body, 8)?);
                self.due.insert(id, at).map_err(failed)?;
                self.timers.insert((at, id), ()).map_err(failed)?;
            }
            Kind::Untrimmed => {
                let id = number(&mut body, 8)?;
                self.untrimmed.insert(id, ()).map_err(failed)?;
            }
            Kind::Chunk => {
                let key = (number(&mut body, 8)?, number(&mut body, 8)?);
                let mut payload = frame.body.clone();
                payload.advance(frame.body.len() - body.len());
                self.chunk(key, &payload)?;
            }
            Kind::End => {}
            Kind::Facts | Kind::Row | Kind::Aborted => return Err(malformed("frame")),
        }
        Ok(())
    }

    fn chunk(&mut self, key: ChunkKey, payload: &[u8]) -> Result<(), StoreError> {
        let full = |writer: &SegmentWriter| writer.end() >= self.segments.bytes_max();
        if self.writer.as_ref().is_some_and(full) {
            self.end_segment()?;
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self
                .segments
                .write_from(self.next_segment, 0, Syncs::default())?,
        };
        let place = writer.append(key, payload)?;
        self.writer = Some(writer);
        self.chunks.insert(key, place.stored()).map_err(failed)?;
        Ok(())
    }

    fn end_segment(&mut self) -> Result<(), StoreError> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let number = writer.number();
        let (end, _) = writer.finish()?;
        self.accounts.insert(number, (end, 0)).map_err(failed)?;
        self.next_segment = number + 1;
        Ok(())
    }
}

fn malformed(what: &str) -> BackupError {
    damaged(format!("a {what} is malformed"))
}
