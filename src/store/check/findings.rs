//! What a check tells of: problems as they are found, how far it is, and the report at its end.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::super::error::StoreError;
use super::super::snapshot::Snapshot;
use super::Rest;
use crate::types::{StreamId, StreamName};

/// How many bytes of chunks lie between two words on the progress.
const PROGRESS_BYTES: u64 = 64 << 20;

/// Problems that are told of one by one: of a file that is all damage, more say nothing new.
const PROBLEMS_MAX: u64 = 10_000;

/// Something that is not as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file it is in.
    pub file: String,
    /// The stream it is of, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The id of that stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<u64>,
    /// The first record that is affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl Problem {
    /// Of a file, as far as can be told.
    pub(super) fn in_file(file: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            what: what.into(),
            ..Self::default()
        }
    }

    /// Of a stream.
    pub(super) fn of(mut self, id: StreamId, name: Option<&StreamName>) -> Self {
        self.stream_id = Some(id.0);
        self.stream = name.map(ToString::to_string);
        self
    }

    /// From the record at `offset` on.
    pub(super) fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }
}

/// What was gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Streams.
    pub streams: u64,
    /// Records read: those that are shown, those that only forks still read, and those that are not removed yet.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Segment files.
    pub segments: u64,
    /// Journal rows that are not in the store yet.
    pub journal_rows: u64,
    /// Idempotent producers in the store.
    pub producers: u64,
    /// Streams that fork off another.
    pub forks: u64,
    /// Problems; 0 of a store that is whole.
    pub problems: u64,
}

/// What a check says while it is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// What was gone through so far.
    Progress(Report),
    /// Something is wrong.
    Problem(Problem),
    /// Something is worth knowing, and not wrong.
    Note(String),
}

/// Whom a check tells, and what it has counted.
///
/// Problems are told of at the next pause, when it is known that what they were found in was still of the snapshot's moment.
pub(super) struct Findings<'a> {
    each: &'a mut dyn FnMut(Event) -> ControlFlow<()>,
    stopped: bool,
    pub counted: Report,
    /// Not told of yet.
    found: Vec<Problem>,
    rest: Option<Rest>,
    said_at: u64,
}

impl<'a> Findings<'a> {
    pub fn new(each: &'a mut dyn FnMut(Event) -> ControlFlow<()>, rest: Option<Rest>) -> Self {
        Self {
            each,
            stopped: false,
            counted: Report::default(),
            found: Vec::new(),
            rest,
            said_at: 0,
        }
    }

    /// Notes a problem.
    pub fn problem(&mut self, problem: Problem) {
        self.counted.problems += 1;
        if self.counted.problems <= PROBLEMS_MAX {
            self.found.push(problem);
        }
    }

    /// Tells of the problems that were noted.
    pub fn tell_found(&mut self) {
        for problem in std::mem::take(&mut self.found) {
            self.tell(Event::Problem(problem));
        }
    }

    /// Tells of what is no problem.
    pub fn note(&mut self, note: String) {
        self.tell(Event::Note(note));
    }

    /// Takes a failure for what it says of the files, unless it says that they could not be looked at.
    pub fn damage(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.problem(damage(error)?);
        Ok(())
    }

    /// Says what was found and how far it is, rests, and sees whether it shall go on.
    pub fn pause(&mut self, snapshot: &Snapshot<'_>) -> Result<(), StoreError> {
        snapshot.ended().map_or(Ok(()), Err)?;
        self.tell_found();
        if self.counted.bytes - self.said_at >= PROGRESS_BYTES {
            self.said_at = self.counted.bytes;
            self.tell(Event::Progress(self.counted));
        }
        if let Some(rest) = &mut self.rest {
            rest.rest();
        }
        if self.stopped {
            return Err(StoreError::Closed);
        }
        Ok(())
    }

    fn tell(&mut self, event: Event) {
        self.stopped |= (self.each)(event).is_break();
    }

    /// What was gone through.
    pub fn report(self) -> Report {
        self.counted
    }
}

/// What `error` says of the files; itself, if it says that they could not be looked at.
pub(super) fn damage(error: StoreError) -> Result<Problem, StoreError> {
    let file = match &error {
        error if error.is_stale_handle() => None,
        StoreError::Redb { file, source } => (!is_io(source)).then_some(*file),
        StoreError::Io { file, source } => is_end(source).then_some(*file),
        StoreError::Damaged { file, .. }
        | StoreError::Corrupt { file, .. }
        | StoreError::CorruptChunk { file, .. }
        | StoreError::Missing { file, .. } => Some(*file),
        StoreError::SegmentGone { .. } => Some(super::super::segments::FILE),
        _ => None,
    };
    match file {
        Some(file) => Ok(Problem::in_file(file, error.to_string())),
        None => Err(error),
    }
}

/// The system failed, and not what it read.
fn is_io(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(error) if !is_end(error))
}

/// A file ends before what it should hold.
fn is_end(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData
    )
}
