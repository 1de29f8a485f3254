//! The chunks of one stream, one after the other: each as its place says, record after record as its checksum says, none missing.

use std::ops::Range;

use bytes::Bytes;

use super::super::chunks::{ChunkKey, decode_chunk};
use super::super::error::StoreError;
use super::super::segments::{CHUNK_HEADER_BYTES, FILE, Place, Segments};
use super::findings::{Findings, Problem};
use crate::rules::StreamState;
use crate::types::{Position, Run, StreamId, StreamName};

/// One stream on its way through the check.
pub(super) struct StreamChunks<'a> {
    pub id: StreamId,
    pub name: Option<&'a StreamName>,
    /// `None` if it could not be read: its chunks are looked at all the same.
    pub state: Option<&'a StreamState>,
    /// The records seen, in order; mostly one range.
    covered: Vec<Range<u64>>,
    /// Behind the last record seen.
    end: Option<Position>,
    newest: u64,
    /// A chunk that begins here cannot be read, so where it ends is not known.
    unread_from: Option<u64>,
}

impl<'a> StreamChunks<'a> {
    pub fn new(id: StreamId, name: Option<&'a StreamName>, state: Option<&'a StreamState>) -> Self {
        Self {
            id,
            name,
            state,
            covered: Vec::new(),
            end: None,
            newest: 0,
            unread_from: None,
        }
    }

    fn problem(&self, findings: &mut Findings<'_>, offset: u64, what: impl Into<String>) {
        let problem = Problem::in_file(FILE, what);
        findings.problem(problem.of(self.id, self.name).at(offset));
    }

    /// Reads the chunk `key`, and compares it with all that is known of it.
    pub fn chunk(
        &mut self,
        segments: &Segments,
        key: ChunkKey,
        place: Place,
        findings: &mut Findings<'_>,
    ) -> Result<(), StoreError> {
        findings.counted.chunks += 1;
        self.unread_until(key.1);
        match payload(segments, key, place) {
            Ok(payload) => self.payload(key, &payload, findings),
            Err(Unsound::File(error)) => return Err(error),
            Err(Unsound::Chunk { what, payload }) => {
                let offset = payload.and_then(|payload| first_damaged(key, &payload));
                self.problem(findings, offset.unwrap_or(key.1), what);
                self.unread_from = Some(key.1);
            }
        }
        Ok(())
    }

    /// A chunk that could not be read is taken to hold all up to the next one: what is missing is told of once.
    fn unread_until(&mut self, offset: u64) {
        if let Some(from) = self.unread_from.take() {
            self.cover(from..offset.max(from));
            self.end = None;
        }
    }

    fn cover(&mut self, range: Range<u64>) {
        match self.covered.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.covered.push(range),
        }
    }

    fn payload(&mut self, key: ChunkKey, payload: &Bytes, findings: &mut Findings<'_>) {
        for run in decode_chunk(key, payload) {
            match run {
                Ok(run) => self.run(&run, findings),
                Err(error) => return self.problem(findings, key.1, error.to_string()),
            }
        }
        let begins = decode_chunk(key, payload).next().and_then(Result::ok);
        if begins.is_none_or(|run| run.header.first_offset != key.1) {
            self.problem(findings, key.1, "the chunk does not begin with this record");
        }
    }

    fn run(&mut self, run: &Run, findings: &mut Findings<'_>) {
        let header = &run.header;
        let first = header.first_offset;
        if let Some(end) = self.end {
            if first < end.offset.0 {
                self.problem(findings, first, "records are there twice");
            }
            if first == end.offset.0 && header.first_byte != end.byte {
                self.problem(findings, first, "its byte position does not follow");
            }
        }
        if header.committed_at < self.newest {
            self.problem(
                findings,
                first,
                "its commit time is before that of an earlier record",
            );
        }
        self.newest = self.newest.max(header.committed_at);
        for (offset, record) in (first..).zip(run.records_verified()) {
            match record {
                Ok(record) => {
                    findings.counted.records += 1;
                    findings.counted.bytes += record.payload.len() as u64;
                }
                Err(error) => self.problem(findings, offset, error.to_string()),
            }
        }
        let state = self.state;
        let earliest = state.map(|state| state.earliest);
        if let Some(earliest) =
            earliest.filter(|at| (first..header.next_offset()).contains(&at.offset.0))
            && run
                .starting_at(earliest.offset.0)
                .is_some_and(|rest| rest.header.first_byte != earliest.byte)
        {
            self.problem(
                findings,
                earliest.offset.0,
                "its byte position is not the state's",
            );
        }
        self.cover(first..header.next_offset());
        self.end = Some(Position {
            offset: crate::types::Offset(header.next_offset()),
            byte: header.next_byte(),
        });
    }

    /// After the last chunk: everything must have been there that is read by the stream's readers or its forks (`shared`).
    pub fn finish<'r>(
        mut self,
        shared: impl Iterator<Item = &'r Range<u64>>,
        findings: &mut Findings<'_>,
    ) {
        let Some(state) = self.state else { return };
        self.unread_until(state.tail.offset.0);
        if let Some(end) = self.end {
            if end.offset > state.tail.offset {
                let tail = state.tail.offset.0;
                self.problem(findings, tail, "there are records behind the tail");
            } else if end.offset == state.tail.offset && end.byte != state.tail.byte {
                let what = "the tail's byte position is not where its last record ends";
                self.problem(findings, end.offset.0, what);
            }
        }
        let own_from = state.fork.as_ref().map_or(0, |fork| fork.at.offset.0);
        let own = state.unread_until().0.max(own_from)..state.tail.offset.0;
        let shared = shared.map(|range| range.start.max(own_from)..range.end);
        for needed in std::iter::once(own).chain(shared) {
            if let Some(missing) = self.missing(needed) {
                let what = format!(
                    "the records {} to {} are missing",
                    missing.start, missing.end
                );
                self.problem(findings, missing.start, what);
            }
        }
    }

    /// The first records of `needed` that no chunk holds.
    fn missing(&self, needed: Range<u64>) -> Option<Range<u64>> {
        let mut from = needed.start;
        for range in &self.covered {
            if from >= needed.end {
                return None;
            }
            if range.start > from {
                return Some(from..range.start.min(needed.end));
            }
            from = from.max(range.end);
        }
        (from < needed.end).then_some(from..needed.end)
    }
}

/// Why there is no payload.
enum Unsound {
    /// It is not what was written; with its bytes, if they are there.
    Chunk {
        what: String,
        payload: Option<Bytes>,
    },
    /// It could not be looked at.
    File(StoreError),
}

/// The payload at `place`, if it and its header are those of `key`.
fn payload(segments: &Segments, key: ChunkKey, place: Place) -> Result<Bytes, Unsound> {
    let unsound = |what: String| Unsound::Chunk {
        what: format!("chunks-{:06}.seg: {what}", place.segment),
        payload: None,
    };
    let failed = |error: StoreError| match error {
        StoreError::SegmentGone { .. } => unsound("the segment is missing".to_owned()),
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            unsound("the segment ends before the chunk does".to_owned())
        }
        other => Unsound::File(other),
    };
    let header_at = u64::from(place.position).checked_sub(CHUNK_HEADER_BYTES as u64);
    let header_at = header_at.ok_or_else(|| unsound("its place is impossible".to_owned()))?;
    let header = segments
        .chunk_at(place.segment, header_at)
        .map_err(failed)?;
    let payload = segments
        .read_front(place, place.length as usize)
        .map_err(failed)?;
    if crc32c::crc32c(&payload) != place.checksum {
        return Err(Unsound::Chunk {
            what: format!(
                "chunks-{:06}.seg: the chunk does not match its checksum",
                place.segment
            ),
            payload: Some(Bytes::from(payload)),
        });
    }
    if header.key != key || header.place != place {
        return Err(unsound(
            "the header in front of the chunk is not its own".to_owned(),
        ));
    }
    Ok(Bytes::from(payload))
}

/// The first record of a damaged chunk that does not match its own checksum, as far as the chunk can be taken apart.
fn first_damaged(key: ChunkKey, payload: &Bytes) -> Option<u64> {
    for run in decode_chunk(key, payload) {
        let run = run.ok()?;
        for (index, record) in (0..).zip(run.records_verified()) {
            if record.is_err() {
                return Some(run.header.first_offset + index);
            }
        }
    }
    None
}
