//! Writing a backup: the journal's rows first, since they are in memory as long as they wait, then the tables, then the chunks.

use redb::ReadableTable;

use super::super::chunks::{
    CHUNKS, DUE, PRODUCERS, STREAMS, UNTRIMMED, decode, decode_producer, failed,
};
use super::super::error::StoreError;
use super::super::snapshot::Snapshot;
use super::format::{BackupError, Counts, FrameWriter, Kind};

/// Writes all of `snapshot`.
pub(super) fn write(
    mut snapshot: Snapshot<'_>,
    to: &mut FrameWriter<'_>,
) -> Result<Counts, BackupError> {
    let facts = snapshot.facts;
    let numbers = [
        facts.watermark,
        facts.next_stream_id,
        facts.newest_commit_at.0,
    ];
    let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    to.frame(Kind::Facts, &[&numbers])?;
    for row in snapshot.take_rows() {
        go_on(&snapshot)?;
        to.frame(Kind::Row, &[&row.number.to_be_bytes(), &row.bytes])?;
    }
    streams(&snapshot, to)?;
    producers(&snapshot, to)?;
    clock(&snapshot, to)?;
    chunks(&snapshot, to)?;
    go_on(&snapshot)?;
    to.end()
}

fn go_on(snapshot: &Snapshot<'_>) -> Result<(), StoreError> {
    snapshot.ended().map_or(Ok(()), Err)
}

fn streams(snapshot: &Snapshot<'_>, to: &mut FrameWriter<'_>) -> Result<(), BackupError> {
    let streams = snapshot.read.open_table(STREAMS).map_err(failed)?;
    for row in streams.iter().map_err(failed)? {
        go_on(snapshot)?;
        let (id, state) = row.map_err(failed)?;
        decode(state.value())?;
        to.frame(Kind::Stream, &[&id.value().to_be_bytes(), state.value()])?;
    }
    Ok(())
}

/// Those of streams that are there: of deleted ones some may not be cleared away yet.
fn producers(snapshot: &Snapshot<'_>, to: &mut FrameWriter<'_>) -> Result<(), BackupError> {
    let producers = snapshot.read.open_table(PRODUCERS).map_err(failed)?;
    let mut owner = Owner::of(snapshot)?;
    for row in producers.iter().map_err(failed)? {
        go_on(snapshot)?;
        let (key, state) = row.map_err(failed)?;
        let (id, name) = key.value();
        if owner.is_there(id)? {
            decode_producer(state.value())?;
            let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
            let parts = [
                &id.to_be_bytes()[..],
                &length,
                name.as_bytes(),
                state.value(),
            ];
            to.frame(Kind::Producer, &parts)?;
        }
    }
    Ok(())
}

fn clock(snapshot: &Snapshot<'_>, to: &mut FrameWriter<'_>) -> Result<(), BackupError> {
    let due = snapshot.read.open_table(DUE).map_err(failed)?;
    for row in due.iter().map_err(failed)? {
        go_on(snapshot)?;
        let (id, at) = row.map_err(failed)?;
        let parts = [id.value().to_be_bytes(), at.value().to_be_bytes()];
        to.frame(Kind::Due, &[&parts.concat()])?;
    }
    let untrimmed = snapshot.read.open_table(UNTRIMMED).map_err(failed)?;
    for row in untrimmed.iter().map_err(failed)? {
        let id = row.map_err(failed)?.0.value();
        to.frame(Kind::Untrimmed, &[&id.to_be_bytes()])?;
    }
    Ok(())
}

fn chunks(snapshot: &Snapshot<'_>, to: &mut FrameWriter<'_>) -> Result<(), BackupError> {
    let chunks = snapshot.read.open_table(CHUNKS).map_err(failed)?;
    let mut owner = Owner::of(snapshot)?;
    for row in chunks.iter().map_err(failed)? {
        go_on(snapshot)?;
        let (key, place) = row.map_err(failed)?;
        let (id, first) = key.value();
        if owner.is_there(id)? {
            let payload = snapshot
                .segments()
                .read((id, first), place.value().into())?;
            let parts = [&id.to_be_bytes()[..], &first.to_be_bytes(), &payload];
            to.frame(Kind::Chunk, &parts)?;
        }
    }
    Ok(())
}

/// Whether a stream is there, asked for many rows of each.
struct Owner {
    streams: redb::ReadOnlyTable<u64, &'static [u8]>,
    last: Option<(u64, bool)>,
}

impl Owner {
    fn of(snapshot: &Snapshot<'_>) -> Result<Self, StoreError> {
        let streams = snapshot.read.open_table(STREAMS).map_err(failed)?;
        Ok(Self {
            streams,
            last: None,
        })
    }

    fn is_there(&mut self, id: u64) -> Result<bool, StoreError> {
        if let Some((_, there)) = self.last.filter(|(last, _)| *last == id) {
            return Ok(there);
        }
        let there = self.streams.get(id).map_err(failed)?.is_some();
        self.last = Some((id, there));
        Ok(there)
    }
}
