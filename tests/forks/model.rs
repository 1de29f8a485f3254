//! Random histories of streams and forks, against a model in which every stream holds its own copy of everything.
//!
//! The engine shares records between streams, keeps deleted sources for their forks, trims what it shows and keeps what it
//! shares; the model copies. Whatever the history, both must read the same: at the end of every step that says so, and
//! after each reopen, which replays the journal or finds all of it folded.

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper::broker::{Broker, BrokerOptions, PutRequest};
use streamkeeper::storage::{ReadLimits, Storage};
use streamkeeper::types::{
    AppendOptions, Error, ForkRequest, Offset, Position, RecordBlock, Refusal, Retention, Start,
    StorageKind, Str, StreamName,
};

use super::name;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A small generator: a history is told by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound as u64).expect("below the bound")
    }
}

#[derive(Clone, Debug, Default)]
struct Mirror {
    records: Vec<Vec<u8>>,
    earliest: usize,
    max_records: Option<usize>,
    source: Option<&'static str>,
    forks: usize,
    deleted: bool,
}

impl Mirror {
    fn position(&self, offset: usize) -> Position {
        let bytes: usize = self.records.iter().take(offset).map(Vec::len).sum();
        Position {
            offset: Offset(offset as u64),
            byte: bytes as u64,
        }
    }

    fn trim(&mut self) {
        if let Some(max) = self.max_records {
            self.earliest = self.earliest.max(self.records.len().saturating_sub(max));
        }
    }
}

struct Run {
    seed: u64,
    random: Random,
    directory: tempfile::TempDir,
    storage: StorageKind,
    fold_bytes: usize,
    broker: Broker,
    model: BTreeMap<&'static str, Mirror>,
    written: u32,
}

async fn open(directory: &std::path::Path, fold_bytes: usize) -> Broker {
    let mut options = BrokerOptions::in_directory(directory);
    options.fold_bytes = fold_bytes;
    // What is folded, and when, is the history's to say.
    options.fold_interval = Duration::from_secs(3_600);
    Broker::open(options).await.expect("the broker opens")
}

impl Run {
    async fn new(seed: u64, storage: StorageKind, fold_bytes: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let broker = open(directory.path(), fold_bytes).await;
        Self {
            seed,
            random: Random(seed),
            directory,
            storage,
            fold_bytes,
            broker,
            model: BTreeMap::new(),
            written: 0,
        }
    }

    fn any(&mut self) -> &'static str {
        let index = self.random.below(NAMES.len());
        NAMES.get(index).expect("an index below the length")
    }

    async fn step(&mut self) {
        match self.random.below(17) {
            0 | 1 => self.create().await,
            2..=4 => self.fork().await,
            5..=9 => self.append().await,
            10..=13 => self.delete().await,
            14 => self.reopen().await,
            15 => self.crash().await,
            _ => self.compare().await,
        }
    }

    async fn create(&mut self) {
        let stream = self.any();
        let max_records = (self.random.below(2) == 0).then(|| 1 + self.random.below(4));
        let request = PutRequest {
            content_type: Some(Str::from("text/plain")),
            storage: Some(self.storage),
            retention: Retention {
                max_records: max_records.map(|max| max as u64),
                ..Retention::default()
            },
            ..PutRequest::default()
        };
        let put = self.broker.put(&name(stream), request).await;
        if self.model.contains_key(stream) {
            return;
        }
        assert_eq!(
            put.map(|put| put.created.existed),
            Ok(false),
            "seed {}: {stream}",
            self.seed
        );
        let copy = Mirror {
            max_records,
            ..Mirror::default()
        };
        self.model.insert(stream, copy);
    }

    async fn fork(&mut self) {
        let (fork, source) = (self.any(), self.any());
        let Some(copy) = self.model.get(source).cloned() else {
            return;
        };
        let kept = copy.records.len() - copy.earliest;
        let at = copy.earliest + self.random.below(kept + 1);
        let next = copy.records.get(at).cloned().unwrap_or_default();
        let sub = if next.is_empty() {
            0
        } else {
            self.random.below(next.len() + 1)
        };
        let request = PutRequest {
            fork: Some(ForkRequest {
                source: name(source),
                offset: Some(copy.position(at)),
                sub_offset: sub as u64,
            }),
            ..PutRequest::default()
        };
        let put = self.broker.put(&name(fork), request).await;
        if self.model.contains_key(fork) {
            return;
        }
        if copy.deleted {
            assert_eq!(
                put.map(drop),
                Err(Error::Refused(Refusal::SourceGone)),
                "seed {}",
                self.seed
            );
            return;
        }
        let made = put.map(|put| put.created.existed);
        let what = format!("seed {}: {fork} off {source} at {at}+{sub}", self.seed);
        assert_eq!(made, Ok(false), "{what}");
        let mut records = copy.records.iter().take(at).cloned().collect::<Vec<_>>();
        if sub > 0 {
            records.push(next.into_iter().take(sub).collect());
        }
        let forked = Mirror {
            records,
            earliest: copy.earliest,
            source: Some(source),
            ..Mirror::default()
        };
        self.model.insert(fork, forked);
        if let Some(copy) = self.model.get_mut(source) {
            copy.forks += 1;
        }
    }

    async fn append(&mut self) {
        let stream = self.any();
        let count = 1 + self.random.below(3);
        let payloads: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                self.written += 1;
                // Now and then large enough for a chunk of its own.
                let large = 5_000 * usize::from(self.random.below(3) == 0);
                let padding = "x".repeat(large + self.random.below(40));
                format!("{}:{padding}", self.written).into_bytes()
            })
            .collect();
        let batch = RecordBlock::from_payloads(&payloads);
        let appended = self
            .broker
            .append(&name(stream), batch, AppendOptions::default())
            .await;
        match self.model.get_mut(stream) {
            Some(copy) if !copy.deleted => {
                copy.records.extend(payloads);
                copy.trim();
                let tail = copy.position(copy.records.len());
                assert_eq!(
                    appended.map(|a| a.tail),
                    Ok(tail),
                    "seed {}: {stream}",
                    self.seed
                );
            }
            Some(_) => assert_eq!(appended, Err(Error::Refused(Refusal::Gone))),
            None => assert_eq!(appended, Err(Error::Refused(Refusal::NotFound))),
        }
    }

    async fn delete(&mut self) {
        let stream = self.any();
        let deleted = self.broker.delete(&name(stream)).await;
        match self.model.get_mut(stream) {
            None => assert_eq!(deleted, Err(Error::Refused(Refusal::NotFound))),
            Some(copy) if copy.deleted => assert_eq!(deleted, Err(Error::Refused(Refusal::Gone))),
            Some(copy) => {
                deleted.expect("deleted");
                copy.deleted = true;
                self.collect(stream);
            }
        }
    }

    /// Drops a deleted stream without forks, and what it was the last fork of.
    fn collect(&mut self, stream: &'static str) {
        let mut next = Some(stream);
        while let Some(stream) = next.take() {
            let dead = |copy: &Mirror| copy.deleted && copy.forks == 0;
            if !self.model.get(stream).is_some_and(dead) {
                return;
            }
            next = self.model.remove(stream).and_then(|copy| copy.source);
            if let Some(copy) = next.and_then(|source| self.model.get_mut(source)) {
                copy.forks -= 1;
            }
        }
    }

    async fn reopen(&mut self) {
        if self.storage == StorageKind::Memory {
            return;
        }
        self.broker.close_all().await;
        self.broker = open(self.directory.path(), self.fold_bytes).await;
        self.compare().await;
    }

    /// Goes on with a copy of the files as they are: what was confirmed is replayed from the journal, not folded.
    async fn crash(&mut self) {
        if self.storage == StorageKind::Memory || self.fold_bytes == 1 {
            return;
        }
        let copy = tempfile::tempdir().expect("a temporary directory can be made");
        for file in std::fs::read_dir(self.directory.path()).expect("the data directory") {
            let file = file.expect("an entry of it");
            std::fs::copy(file.path(), copy.path().join(file.file_name())).expect("copied");
        }
        self.broker = open(copy.path(), self.fold_bytes).await;
        self.directory = copy;
        self.compare().await;
    }

    async fn compare(&self) {
        for stream in NAMES {
            let read = self.read(&name(stream)).await;
            let expected = match self.model.get(stream) {
                None => Err(Error::Refused(Refusal::NotFound)),
                Some(copy) if copy.deleted => Err(Error::Refused(Refusal::Gone)),
                Some(copy) => Ok((copy.earliest..copy.records.len())
                    .zip(copy.records.iter().skip(copy.earliest).cloned())
                    .map(|(offset, record)| (copy.position(offset), record))
                    .collect()),
            };
            assert_eq!(read, expected, "seed {}: {stream}", self.seed);
        }
    }

    async fn read(&self, stream: &StreamName) -> Result<Vec<(Position, Vec<u8>)>, Error> {
        let mut records = Vec::new();
        let mut from = Start::Beginning;
        loop {
            let limits = ReadLimits {
                max_bytes: 100,
                ..ReadLimits::default()
            };
            let read = self.broker.read_messages(stream, from, limits).await?;
            let payloads = read.messages.into_iter();
            records.extend(payloads.map(|message| (message.position, message.payload.to_vec())));
            if !read.has_more {
                return Ok(records);
            }
            from = Start::At(read.next.offset);
        }
    }
}

async fn histories(seeds: std::ops::Range<u64>, storage: StorageKind, fold_bytes: usize) {
    for seed in seeds {
        let mut run = Run::new(seed, storage, fold_bytes).await;
        for _ in 0..150 {
            run.step().await;
        }
        run.compare().await;
        run.reopen().await;
        run.broker.close_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_of_durable_streams_read_as_copies_would() {
    histories(0..25, StorageKind::Durable, 8 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_of_folded_streams_read_as_copies_would() {
    histories(100..125, StorageKind::Durable, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_of_streams_in_memory_read_as_copies_would() {
    histories(200..240, StorageKind::Memory, 8 << 20).await;
}
