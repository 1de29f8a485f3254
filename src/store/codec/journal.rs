//! Rows of the journal: the effects of one commit, on any number of streams.
//!
//! The committer builds rows with a [`RowBuilder`]; recovery and the folder take them apart with [`entries`]. Records are
//! copied once into the row, behind the header of a run, and from then on shared: the bytes of a run in a row are what
//! the hot tail, the chunks and the subscribers hold.
//!
//! Invariants: an entry lies in one row; entries of one stream stand in the order in which they were decided; a run has at
//! least one record.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use streamkeeper_protocol::run::RUN_HEADER_BYTES;

use super::effect::{self, Kind};
use super::reader::{Reader, length};
use super::{CodecError, SEAL_BYTES, check_seal, close_seal};
use crate::rules::Effect;
use crate::types::{Offset, Position, RecordBlock, Run, RunHeader, Str, StreamId, Timestamp};

/// Version 2 added entries for forks.
const JOURNAL_VERSION: u8 = 2;

/// Bytes in front of the body of an entry: kind, length, stream id.
const ENTRY_HEADER_BYTES: usize = 1 + 4 + 8;

/// Where the length stands in an entry.
const LENGTH_AT: usize = 1;

/// What a finished row may hold beyond its bytes, or an eighth of those.
const SPARE_BYTES_MAX: usize = 1024;

/// One journal row while it is being written.
#[derive(Debug)]
pub struct RowBuilder {
    row: BytesMut,
    open: Option<OpenRun>,
}

/// The run that is being written, whose header is not yet known.
#[derive(Debug)]
struct OpenRun {
    /// Where its entry begins in the row.
    entry: usize,
    first: Position,
    at: Timestamp,
    count: u32,
}

impl OpenRun {
    /// Where the run's header begins in the row.
    fn start(&self) -> usize {
        self.entry + ENTRY_HEADER_BYTES
    }
}

impl RowBuilder {
    /// An empty row that grows as it is filled.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty row with room for `bytes` bytes in all.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut row = BytesMut::with_capacity(bytes.max(SEAL_BYTES));
        row.put_u32(0);
        row.put_u8(JOURNAL_VERSION);
        Self { row, open: None }
    }

    /// Bytes of the row so far, its seal included.
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// True as long as the row has no entry.
    pub fn is_empty(&self) -> bool {
        self.row.len() == SEAL_BYTES
    }

    /// Writes an entry for `effect` on `stream`. `name` is the stream's; only a creation writes it.
    ///
    /// # Panics
    /// If a run is open, or if the effect is [`Effect::Appended`]: records are written as runs.
    pub fn effect(&mut self, stream: StreamId, name: &str, effect: &Effect) {
        let entry = self.begin_entry(Kind::of(effect), stream);
        effect::put(&mut self.row, name, effect);
        self.end_entry(entry);
    }

    /// Opens a run of `stream` that begins at `first` and is committed at `at`.
    ///
    /// # Panics
    /// If a run is open.
    pub fn begin_run(&mut self, stream: StreamId, first: Position, at: Timestamp) {
        let entry = self.begin_entry(Kind::Run, stream);
        self.row.put_bytes(0, RUN_HEADER_BYTES);
        self.open = Some(OpenRun {
            entry,
            first,
            at,
            count: 0,
        });
    }

    /// Copies the records of `block` into the open run.
    ///
    /// # Panics
    /// If no run is open, or if it would hold 2³² records.
    pub fn push_records(&mut self, block: &RecordBlock) {
        let open = self
            .open
            .as_mut()
            .expect("records are pushed into an open run");
        open.count = open
            .count
            .checked_add(block.count())
            .expect("a row holds far fewer records");
        self.row.put_slice(block.bytes());
    }

    /// Ends the open run and answers where it lies in the row, header and records.
    ///
    /// # Panics
    /// If no run is open, or if it has no record.
    pub fn end_run(&mut self) -> Range<usize> {
        let open = self.open.take().expect("a run was begun");
        assert!(open.count > 0, "a run has at least one record");
        let run = open.start()..self.row.len();
        let header = RunHeader {
            first_offset: open.first.offset.0,
            first_byte: open.first.byte,
            committed_at: open.at.0,
            count: open.count,
            length: length(run.len() - RUN_HEADER_BYTES),
        };
        self.patch(run.start, &header.encode());
        self.end_entry(open.entry);
        run
    }

    /// The finished row, checksum and all. It takes little more memory than it is long, whatever room it began with.
    ///
    /// # Panics
    /// If a run is open.
    pub fn finish(mut self) -> Bytes {
        assert!(self.open.is_none(), "a row is finished after its last run");
        close_seal(&mut self.row);
        let unused = self.row.capacity() - self.row.len();
        if unused > SPARE_BYTES_MAX.max(self.row.len() / 8) {
            return Bytes::copy_from_slice(&self.row);
        }
        self.row.freeze()
    }

    /// Writes the header of an entry whose length is not yet known, and answers where the entry begins.
    fn begin_entry(&mut self, kind: Kind, stream: StreamId) -> usize {
        assert!(
            self.open.is_none(),
            "a run is ended before the next entry begins"
        );
        let entry = self.row.len();
        self.row.put_u8(kind as u8);
        self.row.put_u32(0);
        self.row.put_u64(stream.0);
        entry
    }

    fn end_entry(&mut self, entry: usize) {
        let body = self.row.len() - entry - ENTRY_HEADER_BYTES;
        self.patch(entry + LENGTH_AT, &length(body).to_be_bytes());
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        let room = self
            .row
            .get_mut(at..at + bytes.len())
            .expect("the room was left when writing");
        room.copy_from_slice(bytes);
    }
}

impl Default for RowBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// What one entry of a row says about its stream.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Records were appended.
    Run {
        /// The records, as a slice of the row.
        run: Run,
    },
    /// Anything else happened.
    Effect {
        /// What; never [`Effect::Appended`].
        effect: Effect,
        /// Of a creation, the stream's name; else empty.
        name: Str,
    },
}

/// The entries of a row, in order. The first error is the last item.
///
/// # Errors
/// If the row is too short, does not match its checksum, or is of an unknown version.
pub fn entries(
    row: &Bytes,
) -> Result<impl Iterator<Item = Result<(StreamId, Entry), CodecError>> + use<>, CodecError> {
    let (_, body) = check_seal(row, JOURNAL_VERSION)?;
    Ok(split_entries(row.slice_ref(body)))
}

/// What can be made of a row that does not match its checksum: for saying what is lost, never for going on with it.
pub fn entries_unsealed(
    row: &Bytes,
) -> impl Iterator<Item = Result<(StreamId, Entry), CodecError>> + use<> {
    split_entries(row.slice(SEAL_BYTES.min(row.len())..))
}

fn split_entries(
    mut rest: Bytes,
) -> impl Iterator<Item = Result<(StreamId, Entry), CodecError>> + use<> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = split_entry(&mut rest);
        if entry.is_err() {
            rest.clear();
        }
        Some(entry)
    })
}

/// Splits the first entry off `rest`.
fn split_entry(rest: &mut Bytes) -> Result<(StreamId, Entry), CodecError> {
    let mut reader = Reader::new(rest);
    let kind = Kind::try_from(reader.u8()?)?;
    let length = reader.u32()? as usize;
    let stream = StreamId(reader.u64()?);
    reader.take(length)?;
    let body = rest
        .split_to(ENTRY_HEADER_BYTES + length)
        .slice(ENTRY_HEADER_BYTES..);
    let entry = if kind == Kind::Run {
        Entry::Run {
            run: read_run(&body)?,
        }
    } else {
        read_effect(kind, stream, &body)?
    };
    Ok((stream, entry))
}

fn read_run(body: &Bytes) -> Result<Run, CodecError> {
    let header = RunHeader::decode(body)?;
    let records = body.slice(RUN_HEADER_BYTES..);
    let (need, have) = (header.length as usize, records.len());
    if have < need {
        return Err(CodecError::Truncated { need, have });
    }
    if have > need {
        return Err(CodecError::Trailing { left: have - need });
    }
    Ok(Run { header, records })
}

fn read_effect(kind: Kind, stream: StreamId, body: &[u8]) -> Result<Entry, CodecError> {
    let mut body = Reader::new(body);
    let mut name = Str::default();
    let effect = match kind {
        Kind::Created | Kind::Forked => {
            let forked = kind == Kind::Forked;
            let (effect, created) = effect::read_created(stream, &mut body, forked)?;
            name = created;
            effect
        }
        Kind::Run => unreachable!("runs are read by read_run"),
        Kind::ProducerAdvanced => effect::read_producer_advanced(&mut body)?,
        Kind::ProducersEvicted => Effect::ProducersEvicted {
            idle_since: Timestamp(body.u64()?),
        },
        Kind::SeqAdvanced => Effect::SeqAdvanced {
            seq: body.owned_bytes()?,
        },
        Kind::Closed => Effect::Closed {
            at: Timestamp(body.u64()?),
        },
        Kind::Touched => Effect::Touched {
            at: Timestamp(body.u64()?),
        },
        Kind::Trimmed => Effect::Trimmed {
            to: body.position()?,
        },
        Kind::ForkTaken => Effect::ForkTaken {
            until: Offset(body.u64()?),
        },
        Kind::ForkReleased => Effect::ForkReleased,
        Kind::Retired => {
            let (reason, at) = effect::read_end(&mut body)?;
            Effect::Retired { reason, at }
        }
        Kind::Deleted => {
            let (reason, at) = effect::read_end(&mut body)?;
            Effect::Deleted { reason, at }
        }
    };
    body.end()?;
    Ok(Entry::Effect { effect, name })
}
