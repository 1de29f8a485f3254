//! Retention against real runs: where [`crate::rules::retention`] gets the records to judge.
//!
//! Trimming looks at what is durable only: in memory if the earliest record is still there, else in the store, a few streams
//! per commit. What a commit could not trim yet is asked for again once it is published. Records that cannot be read go when it is sure by
//! those behind them that they are due: damage at the front does not keep a stream for ever.

use super::chunks::ChunkStore;
use super::error::StoreError;
use super::shared::Shared;
use crate::rules::{self, Command, StreamState};
use crate::stream::{Live, Stream};
use crate::types::{Offset, Position, Run, RunHeader, Timestamp};

/// Bytes of runs read from the store at a time.
const READ_BYTES: usize = 256 << 10;

/// Reads of one stream in one commit: bounds what a single trim may cost its neighbours.
const READS_MAX: usize = 64;

/// Where the stream is to be trimmed now, given `state` ahead of the disk and the records that are durable.
pub(super) fn trim_point(
    shared: &Shared,
    stream: &std::sync::Arc<Stream>,
    state: &StreamState,
    now: Timestamp,
    cold_trims_left: &mut usize,
) -> Option<Position> {
    if !is_limited(state) {
        return None;
    }
    let from = earliest_shown(&stream.live(), state)?;
    let found = trim_point_from(shared, stream, state, from, now, cold_trims_left);
    if let Err(error) = &found {
        tracing::warn!(stream = %stream.name(), %error, "retention could not read the stream");
    }
    let found = found.unwrap_or_default();
    found.or_else(|| (from > state.earliest).then_some(from))
}

/// The earliest record for readers; `None` if they are shown none of this incarnation, so that nothing durable is to be
/// trimmed. They may have been shown a trim that is not written down yet: it is the least that this commit trims.
fn earliest_shown(live: &Live, state: &StreamState) -> Option<Position> {
    let view = live.view.as_ref().filter(|view| view.id == state.id)?;
    let earliest = view.earliest.max(state.earliest);
    (earliest.offset < view.tail.offset || earliest > state.earliest).then_some(earliest)
}

fn trim_point_from(
    shared: &Shared,
    stream: &std::sync::Arc<Stream>,
    state: &StreamState,
    from: Position,
    now: Timestamp,
    cold_trims_left: &mut usize,
) -> Result<Option<Position>, StoreError> {
    let live = stream.live();
    if is_hot(&live, from) {
        stream.note_earliest(from.offset, live.runs_from(from.offset).next());
        let to = trim_in(state, from, now, live.runs_from(from.offset));
        note_new_earliest(stream, to, live.runs_from(from.offset));
        return Ok(to);
    }
    drop(live);
    if !may_be_due(stream, state, from, now) {
        return Ok(None);
    }
    if *cold_trims_left == 0 {
        shared.submit_own(stream, Command::Expire);
        return Ok(None);
    }
    *cold_trims_left -= 1;
    cold_trim_point(shared, stream, state, from, now)
}

/// Whether a stream that has just been published may be left with more than it is to keep, and nobody would ask again: its
/// earliest record is in the store, so that [`trim_hot`] says nothing. The folder may have let go of it since this commit looked.
pub(super) fn may_be_left(
    stream: &Stream,
    live: &Live,
    state: &StreamState,
    now: Timestamp,
) -> bool {
    let cold = is_limited(state) && !is_hot(live, state.earliest);
    cold && may_be_due(stream, state, state.earliest, now)
}

fn is_limited(state: &StreamState) -> bool {
    !state.options.retention.is_unlimited() && state.records() > 0 && !state.deleted
}

/// The same over the hot tail of a stream that has just been published; `None` unless its earliest record is there.
pub(super) fn trim_hot(live: &Live, state: &StreamState, now: Timestamp) -> Option<Position> {
    let hot = is_limited(state) && is_hot(live, state.earliest);
    hot.then(|| {
        trim_in(
            state,
            state.earliest,
            now,
            live.runs_from(state.earliest.offset),
        )
    })?
}

fn is_hot(live: &Live, earliest: Position) -> bool {
    live.hot_start()
        .is_some_and(|start| start <= earliest.offset)
}

/// False only if the earliest record is known not to be due. A stream whose records are all of this commit is not due by age.
fn may_be_due(stream: &Stream, state: &StreamState, from: Position, now: Timestamp) -> bool {
    let known = stream.earliest_at(from.offset);
    let unknown_age = known.is_none() && state.options.retention.max_age.is_some();
    unknown_age || rules::retention::is_due(&state.options.retention, from, state.tail, now, known)
}

fn trim_in<'a>(
    state: &StreamState,
    from: Position,
    now: Timestamp,
    mut runs: impl Iterator<Item = &'a Run>,
) -> Option<Position> {
    // Runs that begin later say nothing of the records in between.
    let first = runs
        .next()
        .filter(|run| run.header.first_offset <= from.offset.0)?;
    let at = Timestamp(first.header.committed_at);
    let retention = &state.options.retention;
    if !rules::retention::is_due(retention, from, state.tail, now, Some(at)) {
        return None;
    }
    rules::retention::trim_point(
        retention,
        from,
        state.tail,
        now,
        std::iter::once(first).chain(runs),
    )
}

fn cold_trim_point(
    shared: &Shared,
    stream: &Stream,
    state: &StreamState,
    from: Position,
    now: Timestamp,
) -> Result<Option<Position>, StoreError> {
    let Some(chunks) = &shared.chunks else {
        return Ok(None);
    };
    let mut point = from;
    for _ in 0..READS_MAX {
        let read = chunks.read(state.id, point.offset, READ_BYTES);
        let runs = match read {
            Err(error) if error.is_unreadable_chunk() => {
                warn_once(stream, point, &error);
                Vec::new()
            }
            read => read?,
        };
        let begins = |run: &Run| run.header.first_offset <= point.offset.0;
        let to = if runs.first().is_some_and(begins) {
            stream.note_earliest(point.offset, runs.first());
            let to = trim_in(state, point, now, runs.iter());
            note_new_earliest(stream, to, runs.iter());
            to
        } else {
            let to = past_lost(chunks, stream, state, point, now)?;
            if let Some(to) = to {
                tell_lost(shared, stream, point, to);
            }
            to
        };
        let Some(to) = to else { break };
        point = to;
        if is_in_memory(&stream.live(), point) {
            break;
        }
    }
    Ok((point > from).then_some(point))
}

/// Whether what lies behind `point` is in memory, if there is anything.
fn is_in_memory(live: &Live, point: Position) -> bool {
    let tail = live.view.as_ref().map(|view| view.tail.offset);
    is_hot(live, point) || tail.is_none_or(|tail| tail <= point.offset)
}

/// Up to where a trim goes over records at `point` that cannot be read: all of them, once it is sure that all are due. Commit times never go
/// back, so they are as old as what follows them, or older.
fn past_lost(
    chunks: &ChunkStore,
    stream: &Stream,
    state: &StreamState,
    point: Position,
    now: Timestamp,
) -> Result<Option<Position>, StoreError> {
    let stored = chunks.next_readable(state.id, point.offset)?;
    let Some((end, committed_by)) = end_of_lost(&stream.live(), stored) else {
        return Ok(None);
    };
    stream.note_earliest_by(point.offset, committed_by);
    let retention = &state.options.retention;
    let all = rules::surely_trims(retention, state.tail, now, end, committed_by);
    Ok((all && end > point).then_some(end))
}

/// Where records that cannot be read end, and by when they were committed, if the next in the store is `stored`.
fn end_of_lost(live: &Live, stored: Option<RunHeader>) -> Option<(Position, Timestamp)> {
    let start = live.hot_start();
    let hot = start.and_then(|start| live.runs_from(start).next());
    let next = stored
        .into_iter()
        .chain(hot.map(|run| run.header))
        .min_by_key(|header| header.first_offset);
    if let Some(header) = next {
        let end = Position {
            offset: Offset(header.first_offset),
            byte: header.first_byte,
        };
        return Some((end, Timestamp(header.committed_at)));
    }
    let view = live.view.as_ref()?;
    Some((view.tail, view.last_append_at?))
}

/// Says so the first time that retention cannot read the records at `point`.
fn warn_once(stream: &Stream, point: Position, error: &StoreError) {
    if stream.earliest_at(point.offset).is_none() {
        tracing::warn!(
            stream = %stream.name(), offset = point.offset.0, %error,
            "retention cannot read the stream: what is damaged goes when what follows it is due"
        );
    }
}

fn tell_lost(shared: &Shared, stream: &Stream, from: Position, to: Position) {
    let records = to.offset.0 - from.offset.0;
    shared.metrics.trimmed_unread.increment(records);
    tracing::warn!(
        stream = %stream.name(), from = from.offset.0, to = to.offset.0,
        "retention trims records that cannot be read"
    );
}

/// Keeps the commit time of the record that is now the earliest, if it is among `runs`.
fn note_new_earliest<'a>(
    stream: &Stream,
    to: Option<Position>,
    mut runs: impl Iterator<Item = &'a Run>,
) {
    if let Some(to) = to {
        let holds = |run: &&Run| run.header.next_offset() > to.offset.0;
        stream.note_earliest(to.offset, runs.find(holds));
    }
}
