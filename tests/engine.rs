//! The engine through the library handle: what is confirmed is there after a reopen, in order, once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::fanout::{Bell, EndReason, Step};
use streamkeeper::metrics::Metrics;
use streamkeeper::storage::{ReadLimits, Storage};
use streamkeeper::store::chunks::ChunkStore;
use streamkeeper::store::{Directory, Files};
use streamkeeper::types::{
    AppendOptions, CreateOptions, Error, Offset, RecordBlock, Refusal, Retention, Start,
    StorageKind, StreamName,
};
use tempfile::TempDir;

/// Only a bug takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

async fn open(directory: &Path) -> Broker {
    Broker::open(BrokerOptions::in_directory(directory))
        .await
        .expect("the broker opens")
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a valid name")
}

async fn append(broker: &Broker, stream: &StreamName, payload: &str) {
    let batch = RecordBlock::from_payloads([payload]);
    broker
        .append(stream, batch, AppendOptions::default())
        .await
        .expect("the append is confirmed");
}

async fn payloads(broker: &Broker, stream: &StreamName) -> Vec<String> {
    let mut payloads = Vec::new();
    let mut from = Start::Beginning;
    loop {
        let read = broker
            .read_messages(stream, from, ReadLimits::default())
            .await
            .expect("the read succeeds");
        payloads.extend(
            read.messages
                .iter()
                .map(|m| String::from_utf8_lossy(&m.payload).into_owned()),
        );
        from = Start::At(read.next.offset);
        if !read.has_more {
            return payloads;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_records_are_there_after_a_clean_reopen() {
    let directory = tempfile::tempdir().expect("a directory");
    let stream = name("orders");
    let broker = open(directory.path()).await;
    broker
        .create(&stream, CreateOptions::default())
        .await
        .expect("created");
    for n in 0..100 {
        append(&broker, &stream, &n.to_string()).await;
    }
    broker.close_all().await;
    drop(broker);
    let broker = open(directory.path()).await;
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&broker, &stream).await, expected);
    append(&broker, &stream, "100").await;
    assert_eq!(
        broker.current_offset(&stream).await.expect("there").offset,
        Offset(101)
    );
    broker.close_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_read_the_same_from_memory_and_from_the_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut options = BrokerOptions::in_directory(directory.path());
    options.fold_bytes = 64 << 10;
    options.hot_tail_bytes_max = 256 << 10;
    let broker = Broker::open(options).await.expect("opens");
    let streams: Vec<StreamName> = (0..5).map(|n| name(&format!("s{n}"))).collect();
    for stream in &streams {
        broker
            .create(stream, CreateOptions::default())
            .await
            .expect("created");
    }
    for round in 0..400 {
        for stream in &streams {
            append(&broker, stream, &format!("{round:0>700}")).await;
        }
    }
    let expected: Vec<String> = (0..400).map(|round| format!("{round:0>700}")).collect();
    for stream in &streams {
        assert_eq!(payloads(&broker, stream).await, expected);
    }
    broker.close_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_by_records_holds_at_once_and_after_a_reopen() {
    let directory = tempfile::tempdir().expect("a directory");
    let stream = name("limited");
    let broker = open(directory.path()).await;
    let retention = Retention {
        max_records: Some(3),
        ..Retention::default()
    };
    broker
        .create(
            &stream,
            CreateOptions {
                retention,
                ..CreateOptions::default()
            },
        )
        .await
        .expect("created");
    let batch = RecordBlock::from_payloads((0..10).map(|n| n.to_string()));
    broker
        .append(&stream, batch, AppendOptions::default())
        .await
        .expect("appended");
    assert_eq!(payloads(&broker, &stream).await, ["7", "8", "9"]);
    append(&broker, &stream, "10").await;
    assert_eq!(payloads(&broker, &stream).await, ["8", "9", "10"]);
    broker.close_all().await;
    drop(broker);
    let broker = open(directory.path()).await;
    assert_eq!(payloads(&broker, &stream).await, ["8", "9", "10"]);
    let refused = broker
        .read(&stream, Start::At(Offset(0)), ReadLimits::default())
        .await;
    assert_eq!(
        refused,
        Err(Error::Refused(Refusal::Trimmed {
            earliest: Offset(8)
        }))
    );
    broker.close_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_memory_takes_a_name_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path()).await;
    let stream = name("scratch");
    let memory = CreateOptions {
        storage: StorageKind::Memory,
        ..CreateOptions::default()
    };
    broker
        .create(&stream, memory.clone())
        .await
        .expect("created");
    append(&broker, &stream, "a").await;
    let other = broker.create(&stream, CreateOptions::default()).await;
    assert_eq!(other, Err(Error::Refused(Refusal::AlreadyExists)));
    assert!(
        broker
            .create(&stream, memory)
            .await
            .expect("exists")
            .existed
    );
    broker.delete(&stream).await.expect("deleted");
    assert!(
        !broker
            .create(&stream, CreateOptions::default())
            .await
            .expect("created")
            .existed
    );
    assert_eq!(payloads(&broker, &stream).await, Vec::<String>::new());
    broker.close_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_wakes_with_the_record() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path()).await;
    let stream = name("polled");
    broker
        .create(&stream, CreateOptions::default())
        .await
        .expect("created");
    let reader = {
        let (broker, stream) = (broker.clone(), stream.clone());
        let limits = ReadLimits {
            wait: Duration::from_secs(20),
            ..ReadLimits::default()
        };
        tokio::spawn(async move { broker.read(&stream, Start::Beginning, limits).await })
    };
    tokio::task::yield_now().await;
    append(&broker, &stream, "news").await;
    let data = reader
        .await
        .expect("the reader ends")
        .expect("the read succeeds");
    assert_eq!(data.bytes, "news", "it was not woken");
    broker.close_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_does_not_take_the_next_stream_of_the_name_for_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path()).await;
    let stream = name("reborn");
    let create = || broker.create(&stream, CreateOptions::default());
    create().await.expect("created");
    append(&broker, &stream, "old").await;
    let bell = std::sync::Arc::new(Bell::default());
    let mut cursor = broker
        .cursor(&stream, Start::Beginning, bell, 0)
        .await
        .expect("opened");
    assert!(matches!(cursor.poll(1024), Step::Runs(_)));
    broker.delete(&stream).await.expect("deleted");
    assert!(!cursor.is_at_end(), "deleted is not closed");
    create().await.expect("created again");
    append(&broker, &stream, "new").await;
    broker.close(&stream).await.expect("closed");
    assert!(
        !cursor.is_at_end(),
        "another stream is closed, not this one"
    );
    assert_eq!(cursor.tail(), cursor.next());
    let end = cursor.poll(1024);
    assert!(
        matches!(
            end,
            Step::End {
                reason: EndReason::Deleted,
                ..
            }
        ),
        "{end:?}"
    );
    broker.close_all().await;
}

/// A broker that folds soon, and removes little at a time.
fn slow_to_remove(directory: &Path) -> BrokerOptions {
    let mut options = BrokerOptions::in_directory(directory);
    options.fold_bytes = 1;
    options.removals_per_fold = 2;
    options
}

fn chunks_in(directory: &Path) -> ChunkStore {
    let files: Arc<dyn Files> = Arc::new(Directory::new(directory));
    ChunkStore::open(&files, 1 << 20, 1 << 20).expect("the store opens")
}

fn has_leftovers(directory: &Path) -> bool {
    chunks_in(directory).has_leftovers().expect("readable")
}

/// Deletes a stream and trims another, each of 20 rows, and ends the broker then.
async fn remove_and_close(directory: &Path, deleted: &StreamName, trimmed: &StreamName) {
    let opened = Broker::open(slow_to_remove(directory)).await;
    let broker = opened.expect("opens");
    let retention = Retention {
        max_records: Some(20),
        ..Retention::default()
    };
    let limited = CreateOptions {
        retention,
        ..CreateOptions::default()
    };
    for (stream, options) in [(deleted, CreateOptions::default()), (trimmed, limited)] {
        broker.create(stream, options).await.expect("created");
    }
    // Each record is more than a page and a fold of its own: a row.
    let record = "x".repeat(5_000);
    for _ in 0..20 {
        append(&broker, deleted, &record).await;
        append(&broker, trimmed, &record).await;
    }
    broker.delete(deleted).await.expect("deleted");
    let batch = RecordBlock::from_payloads(vec!["y"; 20]);
    broker
        .append(trimmed, batch, AppendOptions::default())
        .await
        .expect("appended");
    broker.close_all().await;
}

/// What a broker leaves that ended before it had removed all. Removing takes a second, and it ends at once; where the machine held the
/// end up for so long, it is done anew.
async fn leave_leftovers(deleted: &StreamName, trimmed: &StreamName) -> Option<TempDir> {
    for _ in 0..10 {
        let directory = tempfile::tempdir().expect("a directory");
        remove_and_close(directory.path(), deleted, trimmed).await;
        if has_leftovers(directory.path()) {
            return Some(directory);
        }
    }
    None
}

/// More rows than one fold removes: the rest goes by itself, also after a restart, without anything being written.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_deleted_and_trimmed_streams_are_all_removed_in_the_end() {
    let (deleted, trimmed) = (name("deleted"), name("trimmed"));
    let left = leave_leftovers(&deleted, &trimmed).await;
    let left = left.expect("all of it was done before the end");
    let directory = left.path();
    let deadline = std::time::Instant::now() + PATIENCE;
    while has_leftovers(directory) {
        let (metrics, exporter) = Metrics::new();
        let mut options = slow_to_remove(directory);
        options.metrics = metrics;
        let broker = Broker::open(options).await.expect("opens");
        while exporter.render().contains("streamkeeper_folds_total 0\n") {
            assert!(std::time::Instant::now() < deadline, "nothing is removed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        broker.close_all().await;
    }
    let store = chunks_in(directory);
    let load = |stream: &StreamName| store.load(stream.as_str()).expect("readable");
    assert_eq!(load(&deleted), None);
    let id = load(&trimmed).expect("still there").id;
    let runs = store.read(id, Offset(0), usize::MAX).expect("readable");
    let first = runs
        .first()
        .expect("the newest records")
        .header
        .first_offset;
    assert!((1..=20).contains(&first), "{first}");
}
