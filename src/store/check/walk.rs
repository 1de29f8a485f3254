//! The tables of `store.redb`, each gone through once, and what they say of each other.

use std::collections::BTreeMap;

use redb::{ReadableTable, ReadableTableMetadata as _};

use super::super::chunks::{
    CHUNKS, ChunkKey, DUE, FILE, GARBAGE, NAMES, PRODUCERS, SEGMENTS, STREAMS, TIMERS, UNTRIMMED,
    decode, failed,
};
use super::super::codec;
use super::super::error::StoreError;
use super::super::segments::Place;
use super::super::snapshot::Snapshot;
use super::chunks::StreamChunks;
use super::findings::{Findings, Problem};
use super::forks::Forks;
use crate::types::StreamId;

/// See the module.
pub(super) struct Walk<'w, 'f> {
    snapshot: &'w Snapshot<'w>,
    findings: &'w mut Findings<'f>,
    /// Bytes written to each segment, and how many of them are dead.
    accounts: BTreeMap<u32, (u64, u64)>,
    /// Bytes of the chunks that were found in each.
    live: BTreeMap<u32, u64>,
    forks: Forks,
}

/// Going through one table.
type Step<'w, 'f> = fn(&mut Walk<'w, 'f>) -> Result<(), StoreError>;

type ChunkRow = Option<(ChunkKey, Place)>;

impl<'w, 'f> Walk<'w, 'f> {
    pub fn new(snapshot: &'w Snapshot<'w>, findings: &'w mut Findings<'f>) -> Self {
        Self {
            snapshot,
            findings,
            accounts: BTreeMap::new(),
            live: BTreeMap::new(),
            forks: Forks::default(),
        }
    }

    /// Goes through all of them; one that is damaged does not hide the others.
    pub fn tables(&mut self) -> Result<(), StoreError> {
        let tables: [Step<'w, 'f>; 7] = [
            Self::read_accounts,
            Self::read_forks,
            Self::streams,
            Self::names,
            Self::producers,
            Self::timers,
            Self::leftovers,
        ];
        for table in tables {
            if let Err(error) = table(self) {
                // One that was opened anew meanwhile is not damaged.
                self.findings.pause(self.snapshot)?;
                self.findings.damage(error)?;
            }
        }
        self.close_accounts();
        Ok(())
    }

    /// What is known of forks now that the tables were read.
    pub fn into_known(self) -> Forks {
        self.forks
    }

    fn problem(&mut self, what: impl Into<String>) {
        self.findings.problem(Problem::in_file(FILE, what));
    }

    fn stream_problem(&mut self, id: u64, what: impl Into<String>) {
        let problem = Problem::in_file(FILE, what);
        self.findings.problem(problem.of(StreamId(id), None));
    }

    fn read_accounts(&mut self) -> Result<(), StoreError> {
        let accounts = self.snapshot.read.open_table(SEGMENTS).map_err(failed)?;
        for row in accounts.iter().map_err(failed)? {
            let (number, account) = row.map_err(failed)?;
            self.accounts.insert(number.value(), account.value());
        }
        self.findings.counted.segments = self.accounts.len() as u64;
        Ok(())
    }

    /// Before any chunk is read it must be known which of them forks need.
    fn read_forks(&mut self) -> Result<(), StoreError> {
        let streams = self.snapshot.read.open_table(STREAMS).map_err(failed)?;
        for row in streams.iter().map_err(failed)? {
            let (id, row) = row.map_err(failed)?;
            // One that does not decode is told of when its chunks are read.
            if let Ok(entry) = decode(row.value()) {
                self.forks.note(StreamId(id.value()), Some(&entry.state));
            }
        }
        self.forks.sort();
        Ok(())
    }

    fn streams(&mut self) -> Result<(), StoreError> {
        let streams = self.snapshot.read.open_table(STREAMS).map_err(failed)?;
        let chunks = self.snapshot.read.open_table(CHUNKS).map_err(failed)?;
        let garbage = self.snapshot.read.open_table(GARBAGE).map_err(failed)?;
        let mut rows = chunks.iter().map_err(failed)?;
        let mut next_row = || -> Result<ChunkRow, StoreError> {
            let row = rows.next().transpose().map_err(failed)?;
            Ok(row.map(|(key, place)| (key.value(), place.value().into())))
        };
        let mut next = next_row()?;
        for row in streams.iter().map_err(failed)? {
            let (id, row) = row.map_err(failed)?;
            let id = id.value();
            while let Some((key, place)) = next.filter(|(key, _)| key.0 < id) {
                self.unowned(&garbage, key, place)?;
                next = next_row()?;
            }
            let entry = match decode(row.value()) {
                Ok(entry) => Some(entry),
                Err(error) => {
                    self.stream_problem(id, error.to_string());
                    None
                }
            };
            self.findings.counted.streams += 1;
            let state = entry.as_ref().map(|entry| &entry.state);
            let name = entry.as_ref().map(|entry| &entry.name);
            if let Some(state) = state {
                self.state(id, state);
            }
            let mut stream = StreamChunks::new(StreamId(id), name, state);
            while let Some((key, place)) = next.filter(|(key, _)| key.0 == id) {
                self.place(key, place);
                stream.chunk(self.snapshot.segments(), key, place, self.findings)?;
                self.findings.pause(self.snapshot)?;
                next = next_row()?;
            }
            stream.finish(self.forks.read_of(StreamId(id)), self.findings);
            self.findings.pause(self.snapshot)?;
        }
        while let Some((key, place)) = next {
            self.unowned(&garbage, key, place)?;
            next = next_row()?;
        }
        Ok(())
    }

    fn state(&mut self, id: u64, state: &crate::rules::StreamState) {
        if state.id.0 != id {
            self.stream_problem(id, format!("its state is that of stream {}", state.id.0));
        }
        if state.earliest.offset > state.tail.offset || state.earliest.byte > state.tail.byte {
            self.stream_problem(id, "it begins behind its tail");
        }
        if id >= self.snapshot.facts.next_stream_id {
            self.stream_problem(id, "its id is still to be given away");
        }
    }

    /// A chunk of no stream: of a deleted one that is not cleared away yet.
    fn unowned(
        &mut self,
        garbage: &impl ReadableTable<u64, ()>,
        key: ChunkKey,
        place: Place,
    ) -> Result<(), StoreError> {
        self.place(key, place);
        if garbage.get(key.0).map_err(failed)?.is_none() {
            let problem = Problem::in_file(FILE, "a chunk of a stream that is not there");
            self.findings
                .problem(problem.of(StreamId(key.0), None).at(key.1));
        }
        Ok(())
    }

    /// Counts a chunk where it lies.
    fn place(&mut self, key: ChunkKey, place: Place) {
        *self.live.entry(place.segment).or_default() += place.bytes_in_file();
        let end = u64::from(place.position) + u64::from(place.length);
        let account = self.accounts.get(&place.segment);
        let what = match account {
            None => "is not in the accounts",
            Some((bytes, _)) if end > *bytes => "ends before the chunk does, by the accounts",
            Some(_) => return,
        };
        let what = format!("chunks-{:06}.seg {what}", place.segment);
        let problem = Problem::in_file(FILE, what).of(StreamId(key.0), None);
        self.findings.problem(problem.at(key.1));
    }

    fn names(&mut self) -> Result<(), StoreError> {
        let names = self.snapshot.read.open_table(NAMES).map_err(failed)?;
        let streams = self.snapshot.read.open_table(STREAMS).map_err(failed)?;
        for row in names.iter().map_err(failed)? {
            let (name, id) = row.map_err(failed)?;
            let (name, id) = (name.value().to_owned(), id.value());
            match streams.get(id).map_err(failed)? {
                None => self.stream_problem(id, format!("{name} is its name, and it is not there")),
                Some(row) => {
                    if decode(row.value()).is_ok_and(|entry| entry.name.as_str() != name) {
                        self.stream_problem(id, format!("{name} leads to it, and is not its name"));
                    }
                }
            }
            self.findings.pause(self.snapshot)?;
        }
        let (by_name, by_id) = (names.len().map_err(failed)?, streams.len().map_err(failed)?);
        if by_name != by_id {
            self.problem(format!("there are {by_name} names and {by_id} streams"));
        }
        Ok(())
    }

    fn producers(&mut self) -> Result<(), StoreError> {
        let producers = self.snapshot.read.open_table(PRODUCERS).map_err(failed)?;
        let streams = self.snapshot.read.open_table(STREAMS).map_err(failed)?;
        let garbage = self.snapshot.read.open_table(GARBAGE).map_err(failed)?;
        let mut owned = None;
        for row in producers.iter().map_err(failed)? {
            let (key, producer) = row.map_err(failed)?;
            let (id, name) = key.value();
            self.findings.counted.producers += 1;
            if let Err(error) = codec::decode_producer(producer.value()) {
                self.stream_problem(id, format!("its producer {name}: {error}"));
            }
            if owned != Some(id) {
                let known = streams.get(id).map_err(failed)?.is_some()
                    || garbage.get(id).map_err(failed)?.is_some();
                if !known {
                    self.stream_problem(id, "it has producers, and is not there");
                }
                owned = Some(id);
            }
            self.findings.pause(self.snapshot)?;
        }
        Ok(())
    }

    fn timers(&mut self) -> Result<(), StoreError> {
        let timers = self.snapshot.read.open_table(TIMERS).map_err(failed)?;
        let due = self.snapshot.read.open_table(DUE).map_err(failed)?;
        let streams = self.snapshot.read.open_table(STREAMS).map_err(failed)?;
        for row in due.iter().map_err(failed)? {
            let (id, at) = row.map_err(failed)?;
            let (id, at) = (id.value(), at.value());
            if timers.get((at, id)).map_err(failed)?.is_none() {
                self.stream_problem(id, "the clock does not look at it when it is due");
            }
            if streams.get(id).map_err(failed)?.is_none() {
                self.stream_problem(id, "it has a timer, and is not there");
            }
        }
        let (by_time, by_id) = (timers.len().map_err(failed)?, due.len().map_err(failed)?);
        if by_time != by_id {
            self.problem(format!("{by_time} timers are set for {by_id} streams"));
        }
        Ok(())
    }

    fn leftovers(&mut self) -> Result<(), StoreError> {
        let streams = self.snapshot.read.open_table(STREAMS).map_err(failed)?;
        for (table, alive, what) in [
            (GARBAGE, false, "it is there, and to be cleared away"),
            (UNTRIMMED, true, "it is to be trimmed, and not there"),
        ] {
            let table = self.snapshot.read.open_table(table).map_err(failed)?;
            for row in table.iter().map_err(failed)? {
                let id = row.map_err(failed)?.0.value();
                if streams.get(id).map_err(failed)?.is_some() != alive {
                    self.stream_problem(id, what);
                }
            }
        }
        Ok(())
    }

    /// What is alive and what is dead must be all that was written: no byte is claimed twice, and none is forgotten.
    fn close_accounts(&mut self) {
        for (number, (bytes, dead)) in std::mem::take(&mut self.accounts) {
            let live = self.live.get(&number).copied().unwrap_or(0);
            if live.checked_add(dead) != Some(bytes) {
                self.problem(format!(
                    "chunks-{number:06}.seg: {live} bytes are alive and {dead} dead, of {bytes}"
                ));
            }
        }
    }
}
