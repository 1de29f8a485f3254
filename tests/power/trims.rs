//! Retention goes on over chunks that are damaged: what lies there is trimmed once all of it is surely due, and nothing else is.
//!
//! Each record is a chunk and a segment of its own; the first ones are damaged, one or several in a row. Until they are due readers
//! are told; then the stream begins behind them, and all that it holds is read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use streamkeeper::broker::Broker;
use streamkeeper::storage::{ReadLimits, Storage};
use streamkeeper::store::Files as _;
use streamkeeper::types::{
    AppendOptions, Clock, CreateOptions, Error, Fault, ManualClock, RecordBlock, Retention, Start,
};

use crate::disk::{Contents, Disk};
use crate::found::name;
use crate::history::{BEGIN, Setup};
use crate::random::Random;
use crate::run::runtime;

const STREAM: &str = "a";

/// More than chunks are filled up to: each record is one.
const RECORD_BYTES: u64 = 70_000;

/// Records before any is damaged, and how long lies between them.
const RECORDS: u64 = 6;
const STEP: Duration = Duration::from_secs(10);

/// The limit, as many records, as bytes, or as the time between.
const KEPT: u64 = 8;

/// How many chunks are damaged.
const DAMAGED: [u64; 3] = [1, 2, RECORDS];

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_trim_by_records_goes_over_damaged_chunks() {
    let retention = Retention {
        max_records: Some(KEPT),
        ..Retention::default()
    };
    for damaged in DAMAGED {
        trims(&retention, damaged, damaged);
    }
}

#[test]
fn a_trim_by_bytes_goes_over_damaged_chunks() {
    let retention = Retention {
        max_bytes: Some(KEPT * RECORD_BYTES),
        ..Retention::default()
    };
    for damaged in DAMAGED {
        trims(&retention, damaged, damaged + 1);
    }
}

#[test]
fn a_trim_by_age_goes_over_damaged_chunks() {
    let retention = Retention {
        // A record is this old when so many are behind it, and the time for another has passed.
        max_age: Some(STEP * u32::try_from(KEPT + 1).expect("a small number")),
        ..Retention::default()
    };
    for damaged in DAMAGED {
        trims(&retention, damaged, damaged + 1);
    }
}

struct Subject {
    setup: Setup,
    disk: Disk,
    clock: Clock,
    hand: std::sync::Arc<ManualClock>,
    broker: Broker,
    appended: u64,
}

/// Damages so many chunks, and expects them to go once as many records as `surely` are due: by bytes and by age it takes one that can
/// be read to know.
fn trims(retention: &Retention, damaged: u64, surely: u64) {
    runtime().block_on(async {
        let mut subject = Subject::new(*retention).await;
        for _ in 0..RECORDS {
            subject.append().await;
        }
        subject.damage(damaged).await;
        subject.tells().await;
        for _ in 0..=KEPT {
            subject.append().await;
            let due = subject.appended.saturating_sub(KEPT);
            let passed = due >= surely;
            subject.begins_at(if passed { due } else { 0 }).await;
            if passed {
                subject.holds_from(due).await;
            } else {
                subject.tells().await;
            }
        }
        // Folded, and after another start, it is the same.
        subject.again(|_| {}).await;
        subject.append().await;
        subject.begins_at(subject.appended - KEPT).await;
        subject.holds_from(subject.appended - KEPT).await;
        subject.disk.kill();
        subject.broker.close_all().await;
    });
}

fn payload(number: u64) -> Bytes {
    let length = usize::try_from(RECORD_BYTES).expect("a small number");
    Bytes::from(vec![u8::try_from(number).expect("a small number"); length])
}

impl Subject {
    async fn new(retention: Retention) -> Self {
        let setup = Setup::of(&mut Random::new(0)).a_segment_for_each_fold();
        let disk = Disk::new(Contents::new());
        let (clock, hand) = Clock::manual(BEGIN);
        let broker = setup.open(&disk, clock.clone()).await.expect("it opens");
        let options = CreateOptions {
            retention,
            ..CreateOptions::default()
        };
        let created = broker.create(&name(STREAM), options).await;
        created.expect("created");
        Self {
            setup,
            disk,
            clock,
            hand,
            broker,
            appended: 0,
        }
    }

    /// A record, and the time until the next.
    async fn append(&mut self) {
        let batch = RecordBlock::from_payloads([payload(self.appended)]);
        let (stream, options) = (name(STREAM), AppendOptions::default());
        let appended = self.broker.append(&stream, batch, options).await;
        appended.expect("appended");
        self.appended += 1;
        self.folded().await;
        self.hand.advance(STEP);
    }

    /// Waits until each record has a segment.
    async fn folded(&self) {
        let segments = || {
            let names = self.disk.names().expect("the disk works").into_iter();
            names.filter(|name| name.starts_with("chunks")).count() as u64
        };
        self.until("folded", async || segments() >= self.appended.min(RECORDS))
            .await;
    }

    /// Opens a broker anew on what `change` leaves of the files.
    async fn again(&mut self, change: impl FnOnce(&mut Contents)) {
        self.broker.close_all().await;
        self.disk.kill();
        let mut contents = self.disk.contents();
        change(&mut contents);
        self.disk = Disk::new(contents);
        let opened = self.setup.open(&self.disk, self.clock.clone()).await;
        self.broker = opened.expect("it opens");
    }

    async fn damage(&mut self, chunks: u64) {
        self.again(|contents| {
            for number in 1..=chunks {
                let name = format!("chunks-{number:06}.seg");
                let segment = contents.get_mut(&*name).expect("it was folded");
                segment.flip(segment.length() / 2, 3);
            }
        })
        .await;
    }

    /// Whoever reads from the beginning is told.
    async fn tells(&self) {
        let read = self
            .broker
            .read_messages(&name(STREAM), Start::Beginning, ReadLimits::default())
            .await;
        let told = matches!(read, Err(Error::Fault(Fault::Corrupt { .. })));
        assert!(told, "{read:?}");
    }

    async fn begins_at(&self, earliest: u64) {
        let now = async || {
            let metadata = self.broker.get_metadata(&name(STREAM)).await;
            metadata.expect("it is there").earliest
        };
        self.until(&format!("it begins at {earliest}"), async || {
            now().await.offset.0 == earliest
        })
        .await;
        assert_eq!(now().await.byte, earliest * RECORD_BYTES);
    }

    async fn holds_from(&self, earliest: u64) {
        let mut from = Start::Beginning;
        for number in earliest..self.appended {
            let limits = ReadLimits {
                max_records: 1,
                ..ReadLimits::default()
            };
            let read = self.broker.read_messages(&name(STREAM), from, limits).await;
            let read = read.expect("what is not trimmed is read");
            let [message] = &read.messages[..] else {
                panic!("one record at a time: {read:?}");
            };
            assert_eq!(message.position.offset.0, number);
            assert!(message.payload == payload(number), "another record");
            from = Start::At(read.next.offset);
        }
    }

    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await {
            let now = self.broker.get_metadata(&name(STREAM)).await;
            assert!(Instant::now() < deadline, "never {what}: {now:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
