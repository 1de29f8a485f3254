//! A stream with one writer: what it is, what its writer does next, and what a crash must have left of it.

use std::time::Duration;

use bytes::Bytes;
use streamkeeper_client::Client;

use crate::found::{Found, fail, find};
use crate::history::{Batch, Delivered, History, Op, Summary};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// Each append has a seq.
    Seq,
    /// Each append has the stamp of an idempotent producer.
    Stamped,
    /// Deleted and created again all the time.
    Churning,
    /// Closed after a while; another one takes its place.
    Closing,
    MaxRecords,
    MaxBytes,
    Ttl,
}

/// All of them.
pub const KINDS: [Kind; 8] = [
    Kind::Plain,
    Kind::Seq,
    Kind::Stamped,
    Kind::Churning,
    Kind::Closing,
    Kind::MaxRecords,
    Kind::MaxBytes,
    Kind::Ttl,
];

/// How a stream is created.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    pub max_records: Option<u64>,
    pub max_bytes: Option<u64>,
    pub ttl: Option<Duration>,
}

const TTL: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug)]
pub struct Owned {
    pub number: u16,
    pub kind: Kind,
    pub name: String,
    pub history: History,
    pub lives: u32,
    pub counter: u32,
    pub next_seq: u64,
    pub stamp: (u64, u64),
    /// Appends of the last round to be sent again, and whether each survived.
    pub again: Vec<(Batch, bool)>,
    pub earliest: u64,
}

impl Owned {
    pub fn new(number: u16, kind: Kind) -> Self {
        Self {
            number,
            kind,
            name: format!("{kind:?}-{number}"),
            history: History::default(),
            lives: 0,
            counter: 0,
            next_seq: 1,
            stamp: (0, 0),
            again: Vec::new(),
            earliest: 0,
        }
    }

    /// Whether its life is over for good.
    pub fn is_retired(&self) -> bool {
        self.kind == Kind::Closing && self.history.state.closed
    }

    pub fn settings(&self) -> Settings {
        let settings = Settings::default();
        match self.kind {
            Kind::MaxRecords => Settings {
                max_records: Some(100 + u64::from(self.number)),
                ..settings
            },
            Kind::MaxBytes => Settings {
                max_bytes: Some(20_000),
                ..settings
            },
            Kind::Ttl => Settings {
                ttl: Some(TTL),
                ..settings
            },
            _ => settings,
        }
    }

    /// Whether everything to be sent again fits into appends of so many records.
    pub fn can_resume_with(&self, records_max: usize) -> bool {
        let mut again = self.again.iter();
        again.all(|(batch, _)| batch.records.len() <= records_max)
    }

    /// Compares what is there with the history, and with what subscribers were given.
    pub async fn check(&mut self, client: &Client, delivered: &[Delivered]) {
        let found = find(client, &self.name).await;
        let summary = found.as_ref().map(|found| Summary {
            life: found.records.first().map(|record| record.tag.life),
            tail: found.status.tail,
            closed: found.status.closed,
        });
        let settled = self.history.settle(summary, delivered);
        let fates = settled.unwrap_or_else(|why| fail(&format!("{}: {why}", self.name)));
        if let Some(found) = &found {
            self.check_records(found);
            self.check_status(found);
            for given in delivered {
                self.check_given(found, given);
            }
        }
        self.resume(fates);
    }

    fn check_records(&self, found: &Found) {
        let name = &self.name;
        let known = self.history.records.iter().skip(usize_of(found.first));
        let mut offset = found.first;
        for (there, known) in found.records.iter().zip(known) {
            assert_eq!(
                there, known,
                "{name}@{offset}: not what was confirmed there"
            );
            offset += 1;
        }
        assert_eq!(offset, found.tail(), "{name}: more than was ever sent");
        assert_eq!(
            offset,
            self.history.records.len() as u64,
            "{name}: less than confirmed"
        );
    }

    fn check_status(&mut self, found: &Found) {
        let (name, status) = (&self.name, &found.status);
        let last_seq = self.history.last_seq.map(seq_text);
        assert_eq!(status.last_seq, last_seq, "{name}: the last seq");
        assert_eq!(
            status.ttl,
            (self.kind == Kind::Ttl).then_some(TTL),
            "{name}: the ttl"
        );
        let tail = status.tail;
        let earliest = match status.max_records {
            Some(max) => tail.saturating_sub(max),
            None if self.kind == Kind::MaxBytes => status.earliest,
            None => 0,
        };
        assert_eq!(
            status.earliest, earliest,
            "{name}: the earliest of {tail} records"
        );
        if let Some(max) = status.max_bytes {
            let records = self
                .history
                .records
                .iter()
                .skip(usize_of(earliest.saturating_sub(1)));
            let one_more: u64 = records.map(|record| u64::from(record.length)).sum();
            assert!(
                earliest == 0 || one_more > max,
                "{name}: trimmed for no reason"
            );
        }
        assert!(
            status.earliest >= self.earliest,
            "{name}: trimmed records are back"
        );
        self.earliest = status.earliest;
    }

    /// Everything a subscriber was given of the present incarnation is there, as it was given.
    fn check_given(&self, found: &Found, given: &Delivered) {
        if given.life() != Some(self.history.state.life) {
            return;
        }
        for (offset, record) in (given.first..).zip(&given.records) {
            let there = found.at(offset);
            assert!(
                there == Some(record) || offset < found.first,
                "{}@{offset}: delivered {record:?}, there is {there:?}",
                self.name
            );
        }
    }

    /// Prepares the next round: a producer sends again what was not confirmed, others go on.
    fn resume(&mut self, fates: Vec<(Op, bool)>) {
        self.again.clear();
        if !self.history.state.exists {
            return;
        }
        // Of the present incarnation, from the last create on.
        let begun = fates
            .iter()
            .rposition(|(op, kept)| *kept && matches!(op, Op::Create { .. }));
        let rest = fates.into_iter().skip(begun.map_or(0, |at| at + 1));
        for (op, kept) in rest {
            let Op::Append(batch) = op else { break };
            self.again.push((batch, kept));
        }
        let last = self.again.last().map(|(batch, _)| batch);
        let last_seq = last.and_then(|batch| batch.seq).max(self.history.last_seq);
        let last_stamp = last
            .and_then(|batch| batch.stamp)
            .or(self.history.last_stamp);
        self.next_seq = last_seq.map_or(1, |seq| seq + 1);
        self.stamp = last_stamp.map_or((self.stamp.0, 0), |(epoch, seq)| (epoch, seq + 1));
        if !matches!(self.kind, Kind::Seq | Kind::Stamped) {
            self.again.clear();
        }
    }
}

/// How a seq goes over the wire.
pub fn seq_text(seq: u64) -> Bytes {
    Bytes::from(format!("{seq:012}"))
}

/// An index from an offset.
pub fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
