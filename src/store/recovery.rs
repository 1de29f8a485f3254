//! Start-up: replays the journal rows that lie past the store's watermark.
//!
//! Replay is the same fold of effects into states that the committer and the folder do, so a stream comes back exactly as it
//! was confirmed. Its cost follows the journal, which the hot tail's budget bounds, not the store. Streams without rows in
//! the journal are not touched: they load on first use.

use std::collections::HashMap;
use std::sync::Arc;

use super::chunks;
use super::codec::{self, Entry};
use super::error::StoreError;
use super::facts::Facts;
use super::journal::{self, Journal, Row};
use super::replaying::Replaying;
use super::retention;
use super::shared::Shared;
use crate::rules::{self, Command, Effect};
use crate::stream::{Gone, Resident, Stream, View};
use crate::types::{StreamId, StreamName, Timestamp};

/// Where the committer goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovered {
    pub next_stream_id: StreamId,
    pub newest: Timestamp,
    pub rows: u64,
}

/// Brings `shared` to the state of the last durable commit, and says on `/readyz` and in the log how far that is.
pub(super) fn replay(
    shared: &Shared,
    journal: &mut Journal,
    facts: Facts,
) -> Result<Recovered, StoreError> {
    let mut replaying = Replaying::begin(&shared.readiness);
    let mut replay = Replay {
        shared,
        streams: HashMap::new(),
        recovered: Recovered {
            next_stream_id: StreamId(facts.next_stream_id.max(1)),
            newest: facts.newest_commit_at,
            rows: 0,
        },
        watermark: facts.watermark,
    };
    journal.replay_telling(
        facts.watermark,
        |progress| replaying.is_at(progress),
        |row| replay.row(row),
    )?;
    if journal.left_out_last().is_some() {
        shared.metrics.journal_left_out.increment(1);
    }
    replay.publish();
    let replayed = replaying.end(replay.recovered.rows);
    shared.metrics.journal_replayed_bytes.set(replayed);
    Ok(replay.recovered)
}

struct Replay<'a> {
    shared: &'a Shared,
    streams: HashMap<StreamId, Arc<Stream>>,
    watermark: u64,
    recovered: Recovered,
}

impl Replay<'_> {
    fn row(&mut self, mut row: Row) -> Result<(), StoreError> {
        let corrupt = |source| StoreError::Corrupt {
            file: journal::FILE,
            source,
        };
        for entry in codec::entries(&row.bytes).map_err(corrupt)? {
            let (id, entry) = entry.map_err(corrupt)?;
            row.streams += usize::from(self.entry(row.number, id, entry)?);
        }
        self.recovered.rows += 1;
        let mut unfolded = self.shared.unfolded.lock();
        unfolded.push(row);
        Ok(())
    }

    /// Answers whether this is the first of its stream.
    fn entry(&mut self, row: u64, id: StreamId, entry: Entry) -> Result<bool, StoreError> {
        let next = self.recovered.next_stream_id.max(StreamId(id.0 + 1));
        self.recovered.next_stream_id = next;
        let Some(stream) = self.stream(id, &entry)? else {
            return Ok(false);
        };
        let is_first = stream.note_row(row) <= self.watermark;
        let mut resident = stream.state.lock();
        self.shared.load_into(&stream, &mut resident)?;
        let Resident::Loaded(state) = &mut *resident else {
            return Ok(is_first);
        };
        match entry {
            Entry::Run { run } => {
                let at = Timestamp(run.header.committed_at);
                self.recovered.newest = self.recovered.newest.max(at);
                if let Some(state) = state {
                    let (tail, first) = (state.tail.offset.0, run.header.first_offset);
                    if first != tail {
                        let what = format!("the records {tail} to {first} of {}", stream.name());
                        return Err(missing(journal::FILE, what));
                    }
                    state.appended(run.header.count, run.header.payload_bytes(), at);
                    stream.live().push(row, run);
                }
            }
            Entry::Effect { effect, .. } => {
                let mut live = stream.live();
                match &effect {
                    Effect::Created { .. } => drop(live.clear()),
                    Effect::Retired { reason, .. } => {
                        live.gone = Some(Gone {
                            id,
                            reason: *reason,
                        });
                    }
                    Effect::Deleted { reason, .. } => {
                        live.clear();
                        live.gone = Some(Gone {
                            id,
                            reason: *reason,
                        });
                    }
                    _ => {}
                }
                drop(live);
                rules::apply(state, &effect);
            }
        }
        Ok(is_first)
    }

    /// The stream that `entry` is about. A new incarnation brings its name along; older ones are in the store.
    fn stream(&mut self, id: StreamId, entry: &Entry) -> Result<Option<Arc<Stream>>, StoreError> {
        let created = match entry {
            Entry::Effect {
                effect: Effect::Created { .. },
                name,
            } => Some(chunks::valid_name(name)?),
            _ => None,
        };
        if let (None, Some(stream)) = (&created, self.streams.get(&id)) {
            return Ok(Some(Arc::clone(stream)));
        }
        let name = created.map_or_else(|| self.stored_name(id), Ok)?;
        let Ok(stream) = self.shared.registry.get_or_create(name.as_str()) else {
            return Ok(None);
        };
        self.streams.insert(id, Arc::clone(&stream));
        Ok(Some(stream))
    }

    fn stored_name(&self, id: StreamId) -> Result<StreamName, StoreError> {
        let chunks = self.shared.chunks.as_ref();
        let name = chunks
            .map(|chunks| chunks.name_of(id))
            .transpose()?
            .flatten();
        name.ok_or_else(|| {
            missing(
                chunks::FILE,
                format!("the name of stream {} that the journal goes on with", id.0),
            )
        })
    }

    /// Everything replayed is durable: readers may see it. Trims that were shown before the end and not written down yet
    /// are shown again, and the committer's first work is to write them down.
    fn publish(&self) {
        let now = self.recovered.newest.max(self.shared.clock.now());
        for (id, stream) in &self.streams {
            let resident = stream.state.lock();
            let Resident::Loaded(state) = &*resident else {
                continue;
            };
            if state.as_ref().is_some_and(|state| state.id != *id) {
                // A name that was used again comes up once for each incarnation, and is published by its last.
                continue;
            }
            let mut live = stream.live();
            live.view = state.as_ref().map(View::of);
            let Some(state) = state else { continue };
            let trimmed = retention::trim_hot(&live, state, now);
            let earliest = trimmed.unwrap_or(state.earliest);
            if let Some(view) = &mut live.view {
                view.earliest = earliest;
            }
            let unread_until = state.unread_until().max(earliest.offset);
            live.trim(unread_until, state.shared_until);
            drop(live);
            self.shared.arm_timer(stream, state);
            if !state.options.retention.is_unlimited() {
                self.shared.submit_own(stream, Command::Expire);
            }
        }
    }
}

fn missing(file: &'static str, what: String) -> StoreError {
    StoreError::Missing { file, what }
}
