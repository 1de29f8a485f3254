//! What the journal brings past the watermark, followed as a replay would follow it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use super::super::chunks::{self, STREAMS, failed};
use super::super::codec::{self, Entry};
use super::super::error::StoreError;
use super::super::journal::{FILE, Row};
use super::super::snapshot::Snapshot;
use super::findings::{Findings, Problem, damage};
use super::forks::Forks;
use crate::rules::{self, Effect, StreamState};
use crate::types::{Offset, Position, Run, StreamId, StreamName};

/// The streams that the journal goes on with.
pub(super) struct Rows {
    forks: Forks,
    streams: HashMap<StreamId, Followed>,
    /// Rows were lost: what they held is missed by those that follow.
    lost: bool,
}

struct Followed {
    name: Option<StreamName>,
    state: Option<StreamState>,
    /// It is in the store.
    stored: bool,
}

impl Rows {
    pub fn new(forks: Forks) -> Self {
        Self {
            forks,
            streams: HashMap::new(),
            lost: false,
        }
    }

    /// Follows a row.
    pub fn row(
        &mut self,
        snapshot: &Snapshot<'_>,
        row: &Row,
        findings: &mut Findings<'_>,
    ) -> Result<(), StoreError> {
        findings.counted.journal_rows += 1;
        let entries = match codec::entries(&row.bytes) {
            Ok(entries) => entries,
            Err(error) => {
                findings.problem(in_row(row, error));
                return Ok(());
            }
        };
        for entry in entries {
            match entry {
                Ok((id, entry)) => self.entry(snapshot, row, id, entry, findings)?,
                Err(error) => {
                    findings.problem(in_row(row, error));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Says what a row of a damaged commit holds that is not as it was written.
    pub fn doubtful(&self, snapshot: &Snapshot<'_>, row: &Row, findings: &mut Findings<'_>) {
        let Err(error) = codec::entries(&row.bytes).map(drop) else {
            return;
        };
        let mut told = false;
        for (id, entry) in codec::entries_unsealed(&row.bytes).map_while(Result::ok) {
            let Entry::Run { run } = entry else { continue };
            let Some(offset) = first_damaged(&run) else {
                continue;
            };
            told = true;
            let name = self.name(snapshot, id);
            findings.problem(in_row(row, &error).of(id, name.as_ref()).at(offset));
        }
        if !told {
            findings.problem(in_row(row, error));
        }
    }

    /// Notes that rows are missing in front of others.
    pub fn lost(&mut self, from: u64, until: u64, findings: &mut Findings<'_>) {
        self.lost = true;
        let what = format!(
            "the rows {from} to {} are damaged or missing, and others follow them: a broker does not start with this",
            until - 1
        );
        findings.problem(Problem::in_file(FILE, what));
    }

    fn name(&self, snapshot: &Snapshot<'_>, id: StreamId) -> Option<StreamName> {
        match self.streams.get(&id) {
            Some(followed) => followed.name.clone(),
            None => stored(snapshot, id).ok()?.name,
        }
    }

    fn entry(
        &mut self,
        snapshot: &Snapshot<'_>,
        row: &Row,
        id: StreamId,
        entry: Entry,
        findings: &mut Findings<'_>,
    ) -> Result<(), StoreError> {
        let followed = match self.streams.entry(id) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(free) => match stored(snapshot, id) {
                Ok(stored) => free.insert(stored),
                Err(error) => {
                    let problem = damage(error)?;
                    findings.problem(in_row(row, problem.what).of(id, None));
                    return Ok(());
                }
            },
        };
        match entry {
            Entry::Run { run } => followed.run(row, id, &run, self.lost, findings),
            Entry::Effect { effect, name } => {
                if let Effect::Created { .. } = &effect {
                    followed.name = StreamName::new(&name).ok();
                } else if followed.state.is_none() && !followed.stored && !self.lost {
                    let what = "the journal goes on with it, and it is not there";
                    findings.problem(in_row(row, what).of(id, None));
                }
                rules::apply(&mut followed.state, &effect);
            }
        }
        Ok(())
    }

    /// After the last row: what all streams together come to.
    pub fn finish(
        mut self,
        snapshot: &Snapshot<'_>,
        findings: &mut Findings<'_>,
    ) -> Result<(), StoreError> {
        for (id, followed) in &self.streams {
            self.forks.note(*id, followed.state.as_ref());
            let streams = &mut findings.counted.streams;
            match (followed.stored, &followed.state) {
                (true, None) => *streams = streams.saturating_sub(1),
                (false, Some(_)) => *streams += 1,
                _ => {}
            }
        }
        if self.lost {
            // Who forks off whom may be among what was lost.
            return Ok(());
        }
        let exists = |id: StreamId| match self.streams.get(&id) {
            Some(followed) => Ok(followed.state.is_some()),
            // One that is damaged was told of by the walk.
            None => stored(snapshot, id).map_or_else(
                |error| damage(error).map(|_told| false),
                |stored| Ok(stored.stored),
            ),
        };
        findings.counted.forks = self.forks.compare(findings, exists)?;
        Ok(())
    }
}

impl Followed {
    fn run(&mut self, row: &Row, id: StreamId, run: &Run, lost: bool, findings: &mut Findings<'_>) {
        let header = &run.header;
        let first = header.first_offset;
        let name = self.name.as_ref();
        for (offset, record) in (first..).zip(run.records_verified()) {
            match record {
                Ok(record) => {
                    findings.counted.records += 1;
                    findings.counted.bytes += record.payload.len() as u64;
                }
                Err(error) => findings.problem(in_row(row, error).of(id, name).at(offset)),
            }
        }
        let Some(state) = &mut self.state else {
            if !self.stored && !lost {
                let what = "the journal holds records of it, and it is not there";
                findings.problem(in_row(row, what).of(id, name).at(first));
            }
            return;
        };
        let tail = state.tail.offset.0;
        if first != tail || header.first_byte != state.tail.byte {
            let what = if first > tail {
                format!("the records {tail} to {first} are missing")
            } else {
                format!("the records from {first} on do not follow the tail {tail}")
            };
            let offset = first.min(tail);
            findings.problem(in_row(row, what).of(id, name).at(offset));
            state.tail = Position {
                offset: Offset(first),
                byte: header.first_byte,
            };
        }
        let at = crate::types::Timestamp(header.committed_at);
        state.appended(header.count, header.payload_bytes(), at);
    }
}

fn in_row(row: &Row, what: impl std::fmt::Display) -> Problem {
    Problem::in_file(FILE, format!("row {}: {what}", row.number))
}

/// A stream as the store knows it.
fn stored(snapshot: &Snapshot<'_>, id: StreamId) -> Result<Followed, StoreError> {
    let streams = snapshot.read.open_table(STREAMS).map_err(failed)?;
    let entry = match streams.get(id.0).map_err(failed)? {
        Some(row) => Some(chunks::decode(row.value())?),
        None => None,
    };
    let (name, state) = entry.map_or((None, None), |entry| (Some(entry.name), Some(entry.state)));
    Ok(Followed {
        stored: state.is_some(),
        name,
        state,
    })
}

/// The first record of a run that does not match its checksum.
fn first_damaged(run: &Run) -> Option<u64> {
    let records = (run.header.first_offset..).zip(run.records_verified());
    let mut damaged = records.filter(|(_, record)| record.is_err());
    damaged.next().map(|(offset, _)| offset)
}
