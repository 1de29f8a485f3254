//! One group commit while it is being put together: rows for the journal, runs for the hot tails, answers for the waiters.
//!
//! The committer feeds it stream by stream; records are copied once, from the socket's buffer into the row that goes to disk,
//! and that row is then the hot tail. Appends of one stream that follow each other become one run.
//!
//! Invariants: entries of one stream stand in the order they were decided; a run never spans two rows; a row takes little more memory
//! than it is long, since that is what it is counted as until it is folded.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::codec::RowBuilder;
use super::journal::ROW_BYTES_MAX;
use crate::rules::{Command, Effect};
use crate::stream::{Completion, Gone, Reply, Stream};
use crate::types::{Position, RecordBlock, Run, RunHeader, StreamId, Timestamp};

/// Bytes that opening a run adds to a row: an entry header and a run header, rounded up.
pub(super) const RUN_OVERHEAD: usize = 64;

/// Room for what nobody asked for: a trim, or a close with the last records.
const SMALL_EFFECT_BYTES: usize = 64;

/// Room for the effects that follow the last run of a full row: without, it would grow to twice its size for a few bytes.
const EFFECTS_ROOM: usize = 448;

/// A run by its place in the rows of this commit.
#[derive(Debug)]
struct PlacedRun {
    row: usize,
    range: Range<usize>,
}

/// What one stream's queue gave to this commit.
#[derive(Debug)]
pub(super) struct Part {
    pub stream: Arc<Stream>,
    pub commands: usize,
    /// When the oldest of them was queued.
    pub since: Instant,
    /// There is no such stream after this commit.
    pub absent: bool,
}

/// A stream with effects in this commit.
#[derive(Debug)]
pub(super) struct Touched {
    pub stream: Arc<Stream>,
    /// What was in memory before belongs to an incarnation that is gone.
    pub reset: bool,
    pub gone: Option<Gone>,
    runs: SmallVec<[PlacedRun; 1]>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Commit {
    pub at: Timestamp,
    pub touched: Vec<Touched>,
    /// The one that effects are written to.
    current: usize,
    /// Those that were touched through one of their forks: they may come up again by themselves.
    by_fork: SmallVec<[usize; 2]>,
    pub answers: Vec<(Completion, Reply)>,
    /// Commands of clients that only remove, with the index of their answer: they are tried again if there is no room for the others.
    pub removals: Vec<(usize, Arc<Stream>, Command)>,
    /// What was taken from the queues, stream by stream.
    pub parts: Vec<Part>,
    pub records: u64,
    pub record_bytes: u64,
    pub appends: u64,
    rows: Vec<Bytes>,
    row: RowBuilder,
    /// What is expected to come into rows from now on, in bytes.
    expected: usize,
    run_open: bool,
    /// Producer and seq changes that wait for the open run to end; only the last of each kind and producer counts.
    after_run: SmallVec<[Effect; 2]>,
}

impl Commit {
    /// An empty one.
    pub fn new(at: Timestamp) -> Self {
        Self {
            at,
            touched: Vec::new(),
            current: 0,
            by_fork: SmallVec::new(),
            answers: Vec::new(),
            removals: Vec::new(),
            parts: Vec::new(),
            records: 0,
            record_bytes: 0,
            appends: 0,
            rows: Vec::new(),
            row: RowBuilder::new(),
            expected: 0,
            run_open: false,
            after_run: SmallVec::new(),
        }
    }

    /// Expects about `bytes` bytes in rows from now on: the next ones begin with room for that.
    pub fn expect(&mut self, bytes: usize) {
        self.expected = bytes;
    }

    /// Begins the part of `stream`.
    pub fn begin_stream(&mut self, stream: Arc<Stream>) {
        let known = |index: &usize| {
            let touched = self.touched.get(*index);
            touched.is_some_and(|touched| Arc::ptr_eq(&touched.stream, &stream))
        };
        let before = self.by_fork.iter().copied().find(known);
        self.current = before.unwrap_or_else(|| self.push(stream));
    }

    /// Ends the part of the current stream; one without effects is dropped again.
    pub fn end_stream(&mut self, id: Option<StreamId>, had_effects: bool) {
        self.leave_stream(id);
        let fresh = self.current + 1 == self.touched.len() && !self.by_fork.contains(&self.current);
        if !had_effects && fresh {
            self.touched.pop();
        }
    }

    /// Interrupts the part of the current stream, now `id`. Answers which it is, for [`Commit::return_to`].
    pub fn leave_stream(&mut self, id: Option<StreamId>) -> usize {
        if let Some(id) = id {
            self.end_run(id);
        }
        self.current
    }

    /// Goes on with `stream`, wherever it stands in this commit: a stream is published once, with all that happened to it.
    pub fn enter_stream(&mut self, stream: &Arc<Stream>) {
        let same = |touched: &Touched| Arc::ptr_eq(&touched.stream, stream);
        let before = self.touched.iter().position(same);
        self.current = before.unwrap_or_else(|| self.push(Arc::clone(stream)));
        self.by_fork.push(self.current);
    }

    /// Goes on with a stream that was left.
    pub fn return_to(&mut self, current: usize) {
        self.current = current;
    }

    fn push(&mut self, stream: Arc<Stream>) -> usize {
        self.touched.push(Touched {
            stream,
            reset: false,
            gone: None,
            runs: SmallVec::new(),
        });
        self.touched.len() - 1
    }

    /// Writes one effect of the current stream. `tail` is the position before it.
    pub fn write(&mut self, id: StreamId, name: &str, tail: Position, effect: &Effect) {
        match effect {
            Effect::Appended { batch, .. } => self.append(id, tail, batch),
            Effect::ProducerAdvanced { id: producer, .. } if self.run_open => {
                self.after_run.retain(
                    |e| !matches!(e, Effect::ProducerAdvanced { id, .. } if *id == *producer),
                );
                self.after_run.push(effect.clone());
            }
            Effect::SeqAdvanced { .. } if self.run_open => {
                self.after_run
                    .retain(|e| !matches!(e, Effect::SeqAdvanced { .. }));
                self.after_run.push(effect.clone());
            }
            other => {
                self.end_run(id);
                self.note(id, other);
                self.make_room(0);
                self.row.effect(id, name, other);
            }
        }
    }

    fn note(&mut self, id: StreamId, effect: &Effect) {
        let Some(touched) = self.touched.get_mut(self.current) else {
            return;
        };
        match effect {
            Effect::Created { .. } => touched.reset = true,
            Effect::Retired { reason, .. } => {
                touched.gone = Some(Gone {
                    id,
                    reason: *reason,
                });
            }
            Effect::Deleted { reason, .. } => {
                touched.reset = true;
                touched.gone = Some(Gone {
                    id,
                    reason: *reason,
                });
                touched.runs.clear();
            }
            _ => {}
        }
    }

    fn append(&mut self, id: StreamId, tail: Position, batch: &RecordBlock) {
        self.appends += 1;
        self.records += u64::from(batch.count());
        self.record_bytes += batch.payload_bytes();
        let length = batch.bytes().len();
        if self.run_open && self.row.len() + length > ROW_BYTES_MAX {
            self.end_run(id);
        }
        if !self.run_open {
            self.make_room(length);
            self.row.begin_run(id, tail, self.at);
            self.run_open = true;
        }
        self.row.push_records(batch);
    }

    fn end_run(&mut self, id: StreamId) {
        if !self.run_open {
            return;
        }
        self.run_open = false;
        let range = self.row.end_run();
        if let Some(touched) = self.touched.get_mut(self.current) {
            touched.runs.push(PlacedRun {
                row: self.rows.len(),
                range,
            });
        }
        for effect in std::mem::take(&mut self.after_run) {
            // Neither kind needs the name: only `Created` writes it.
            self.row.effect(id, "", &effect);
        }
    }

    /// Cuts the row if `length` more bytes would take it over the size that fills its pages. A new one gets room for them, and for
    /// what is expected besides.
    fn make_room(&mut self, length: usize) {
        let needed = RUN_OVERHEAD + length;
        if !self.row.is_empty() && self.row.len() + needed > ROW_BYTES_MAX {
            self.cut_row();
        }
        if self.row.is_empty() {
            let most = ROW_BYTES_MAX.max(needed) + EFFECTS_ROOM;
            let room = self.expected.max(needed) + SMALL_EFFECT_BYTES;
            self.row = RowBuilder::with_capacity(room.min(most));
        }
    }

    /// Ends the current row, so that what follows lies in memory of its own.
    pub fn cut_row(&mut self) {
        if !self.row.is_empty() {
            let row = std::mem::take(&mut self.row).finish();
            self.expected = self.expected.saturating_sub(row.len());
            self.rows.push(row);
        }
    }

    /// The rows, ready to be written; empty if nothing changed.
    pub fn finish(&mut self) -> &[Bytes] {
        self.cut_row();
        &self.rows
    }

    /// Rows of this commit.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of those rows.
    pub fn row_bytes(&self) -> usize {
        self.rows.iter().map(Bytes::len).sum()
    }

    /// The runs of `touched`, each with the index of its row.
    pub fn runs(&self, touched: &Touched) -> SmallVec<[(usize, Run); 1]> {
        touched
            .runs
            .iter()
            .filter_map(|placed| Some((placed.row, self.run(placed)?)))
            .collect()
    }

    fn run(&self, placed: &PlacedRun) -> Option<Run> {
        let bytes = self.rows.get(placed.row)?.slice(placed.range.clone());
        let header = RunHeader::decode(&bytes).ok()?;
        Some(Run {
            header,
            records: bytes.slice(streamkeeper_protocol::run::RUN_HEADER_BYTES..),
        })
    }
}
