//! The write path without sockets: appends through the library handle, every confirm after fsync.
//!
//! `cargo bench --bench commit` prints, for 256-byte records on the disk that holds the temporary directory: a raw
//! append + fdatasync loop, a serial appender and its ratio to the raw loop, and pipelining writers over few and many
//! streams. Figures of one run belong together; compare ratios, not absolute times of different runs.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a report on figures far below 2^52, from fixed inputs"
)]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::rules::Command;
use streamkeeper::storage::Storage;
use streamkeeper::stream::{Completion, Reply, Sink, Stream, Submission};
use streamkeeper::types::{AppendOptions, CreateOptions, RecordBlock, StreamName};
use tokio::sync::Notify;

const RECORD_BYTES: usize = 256;
const SERIAL_APPENDS: usize = 2_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let raw = raw_sync_p50();
    println!("raw append + fdatasync      p50 {raw:>9.3?}");
    let serial = serial_p50().await;
    println!(
        "serial append, confirmed    p50 {serial:>9.3?}   {:.2} x raw",
        serial.as_secs_f64() / raw.as_secs_f64()
    );
    for (writers, streams) in [(1, 1), (4, 4), (4, 1_000), (4, 10_000)] {
        let rate = pipelined(writers, streams).await;
        println!("{writers} writers x 1024 in flight, {streams:>6} streams: {rate:>9.0} records/s");
    }
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

fn raw_sync_p50() -> Duration {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("a file");
    let record = [7u8; RECORD_BYTES];
    let one = |_| {
        let begun = Instant::now();
        file.write_all(&record).expect("written");
        file.sync_data().expect("synced");
        begun.elapsed()
    };
    median((0..SERIAL_APPENDS).map(one).collect())
}

async fn open(directory: &Path) -> Broker {
    Broker::open(BrokerOptions::in_directory(directory))
        .await
        .expect("the broker opens")
}

async fn serial_p50() -> Duration {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path()).await;
    let stream = StreamName::new("serial").expect("a name");
    broker
        .create(&stream, CreateOptions::default())
        .await
        .expect("created");
    let batch = RecordBlock::from_payloads([[7u8; RECORD_BYTES]]);
    let mut samples = Vec::with_capacity(SERIAL_APPENDS);
    for _ in 0..SERIAL_APPENDS {
        let begun = Instant::now();
        broker
            .append(&stream, batch.clone(), AppendOptions::default())
            .await
            .expect("confirmed");
        samples.push(begun.elapsed());
    }
    broker.close_all().await;
    median(samples)
}

/// Counts confirms and wakes its writer once per commit.
#[derive(Default)]
struct Confirms {
    count: AtomicU64,
    flushed: Notify,
}

impl Sink for Confirms {
    fn complete(&self, _token: u64, reply: Reply) {
        assert!(reply.is_ok(), "refused: {reply:?}");
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&self) {
        self.flushed.notify_one();
    }
}

async fn pipelined(writers: usize, streams: usize) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path()).await;
    let names: Vec<StreamName> = (0..streams)
        .map(|n| StreamName::new(&format!("stream-{n}")).expect("a name"))
        .collect();
    let handles: Vec<Arc<Stream>> = names
        .iter()
        .map(|name| broker.stream(name.as_str()).expect("a name"))
        .collect();
    for handle in &handles {
        let create = Command::create(CreateOptions::default());
        let submission = Submission {
            command: create,
            completion: Completion::Discard,
            light: false,
        };
        broker.try_submit(handle, submission).expect("room");
    }
    broker.kick();
    broker
        .append(
            &names[streams - 1],
            RecordBlock::from_payloads(["warm"]),
            AppendOptions::default(),
        )
        .await
        .expect("ok");
    let total_each = 2_000_000 / writers as u64;
    let begun = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let mine: Vec<_> = handles
                .iter()
                .skip(writer)
                .step_by(writers)
                .cloned()
                .collect();
            tokio::spawn(write(broker.clone(), mine, total_each))
        })
        .collect();
    for task in tasks {
        task.await.expect("the writer ends");
    }
    let rate = (total_each * writers as u64) as f64 / begun.elapsed().as_secs_f64();
    broker.close_all().await;
    rate
}

async fn write(broker: Broker, streams: Vec<Arc<Stream>>, total: u64) {
    let confirms = Arc::new(Confirms::default());
    let sink: Arc<dyn Sink> = Arc::<Confirms>::clone(&confirms);
    let batch = RecordBlock::from_payloads([[7u8; RECORD_BYTES]]);
    let mut sent = 0;
    while confirms.count.load(Ordering::Relaxed) < total {
        while sent < total && sent - confirms.count.load(Ordering::Relaxed) < 1024 {
            let stream = &streams[sent as usize % streams.len()];
            let command = Command::Append {
                batch: batch.clone(),
                options: AppendOptions::default(),
            };
            let completion = Completion::Sink {
                sink: Arc::clone(&sink),
                token: sent,
            };
            let mut submission = Submission {
                command,
                completion,
                light: false,
            };
            while let Err(back) = broker.try_submit(stream, submission) {
                submission = *back;
                broker.space(stream, submission.weight()).await;
            }
            sent += 1;
        }
        broker.kick();
        confirms.flushed.notified().await;
    }
}
