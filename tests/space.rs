//! Disk space comes back while the broker runs: segments of which little is alive are emptied and removed, and nobody notices.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::storage::{ReadLimits, Storage};
use streamkeeper::types::{
    AppendOptions, CreateOptions, RecordBlock, Retention, Start, StreamName,
};
use tokio::task::JoinHandle;

const KIB: usize = 1 << 10;
const SEGMENT_BYTES: u64 = 256 << 10;
const RECORD_BYTES: usize = 8 * KIB;

/// A smaller redb file is left as it is.
const SMALL_STORE_BYTES: u64 = 4 << 20;

async fn open(directory: &Path) -> Broker {
    let mut options = BrokerOptions::in_directory(directory);
    options.segment_bytes = SEGMENT_BYTES;
    options.fold_bytes = 64 * KIB;
    options.fold_interval = Duration::from_millis(10);
    Broker::open(options).await.expect("the broker opens")
}

fn name(index: usize) -> StreamName {
    StreamName::new(&format!("stream/{index}")).expect("a valid name")
}

/// Of a stream of which nothing but the name takes room.
fn long(index: usize) -> StreamName {
    StreamName::new(&format!("{}/{index}", "long".repeat(40))).expect("a valid name")
}

fn record(stream: usize, offset: usize) -> Bytes {
    let fill = u8::try_from((stream * 31 + offset) % 251).expect("below 251");
    Bytes::from(vec![fill; RECORD_BYTES])
}

async fn append(broker: &Broker, stream: usize, offset: usize) {
    let batch = RecordBlock::from_payloads([record(stream, offset)]);
    let appended = broker
        .append(&name(stream), batch, AppendOptions::default())
        .await;
    assert!(appended.is_ok(), "{appended:?}");
}

/// Reads the whole stream: its records end with `end`, and none is missing.
async fn check(broker: &Broker, stream: usize, end: usize) -> usize {
    let name = name(stream);
    let (mut from, mut next) = (Start::Beginning, None);
    let mut first = end;
    loop {
        let read = broker.read_messages(&name, from, ReadLimits::default());
        let read = read.await.expect("it is readable");
        for message in &read.messages {
            let offset = usize::try_from(message.position.offset.0).expect("small");
            let expected = *next.get_or_insert(offset);
            assert_eq!(offset, expected, "stream {stream}: a gap");
            assert_eq!(message.payload, record(stream, offset), "stream {stream}");
            first = first.min(offset);
            next = Some(offset + 1);
        }
        from = Start::At(read.next.offset);
        if !read.has_more {
            assert_eq!(next, Some(end), "stream {stream}");
            return end - first;
        }
    }
}

/// Bytes of all files whose names end like this.
fn file_bytes(directory: &Path, end: &str) -> u64 {
    let files = std::fs::read_dir(directory).expect("the data directory");
    let files = files.filter_map(Result::ok);
    files
        .filter(|file| file.file_name().to_string_lossy().ends_with(end))
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

fn segment_bytes(directory: &Path) -> u64 {
    file_bytes(directory, ".seg")
}

/// Longer than a broker takes on a machine that has much else to do: it rests a hundred times as long as a look for room took.
const PATIENCE: Duration = Duration::from_secs(180);

async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Twice what is alive, and what is being written.
fn bound(live_records: usize) -> u64 {
    let live = live_records * (RECORD_BYTES + 100);
    2 * u64::try_from(live).expect("small") + 3 * SEGMENT_BYTES
}

async fn shrinks_to(directory: &Path, bytes: u64) {
    let what = format!("segments of {bytes} bytes");
    wait_until(&what, || segment_bytes(directory) <= bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_space_of_deleted_streams_comes_back_and_the_others_stay_whole() {
    const STREAMS: usize = 20;
    const RECORDS: usize = 40;
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path()).await;
    for stream in 0..STREAMS {
        let created = broker.create(&name(stream), CreateOptions::default()).await;
        assert!(created.is_ok(), "{created:?}");
    }
    // Side by side, so that each segment holds some of each.
    for offset in 0..RECORDS {
        for stream in 0..STREAMS {
            append(&broker, stream, offset).await;
        }
    }
    let all = STREAMS * RECORDS * RECORD_BYTES;
    let all = u64::try_from(all).expect("small");
    wait_until("all is folded", || segment_bytes(directory.path()) >= all).await;
    let others = Others::begin(&broker, RECORDS);
    for stream in 2..STREAMS {
        broker.delete(&name(stream)).await.expect("deleted");
    }
    wait_until("most came back", || {
        segment_bytes(directory.path()) <= bound(RECORDS + others.end())
    })
    .await;
    let end = others.end_all().await;
    shrinks_to(directory.path(), bound(RECORDS + end)).await;
    let ends = [end, RECORDS];
    for (stream, end) in ends.into_iter().enumerate() {
        assert_eq!(check(&broker, stream, end).await, end);
    }
    broker.close_all().await;
    drop(broker);
    let broker = open(directory.path()).await;
    for (stream, end) in ends.into_iter().enumerate() {
        assert_eq!(check(&broker, stream, end).await, end);
    }
    broker.close_all().await;
}

/// At most so many records are appended beside a removal, so that they are less than what is removed,
const MORE: usize = 40;

/// with so much time between them.
const BETWEEN: Duration = Duration::from_millis(10);

/// Somebody who appends to the first stream, and somebody who reads the second one again and again, until they are told to stop: neither
/// meets an error.
struct Others {
    stopped: Arc<AtomicBool>,
    /// Where the first stream ends.
    end: Arc<AtomicUsize>,
    appending: JoinHandle<usize>,
    reading: JoinHandle<usize>,
}

impl Others {
    /// Beside streams of `records` records each.
    fn begin(broker: &Broker, records: usize) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let end = Arc::new(AtomicUsize::new(records));
        let (stop, writer, tail) = (Arc::clone(&stopped), broker.clone(), Arc::clone(&end));
        let appending = tokio::spawn(async move {
            let mut appended = 0;
            while !stop.load(Ordering::Acquire) && appended < MORE {
                append(&writer, 0, records + appended).await;
                appended += 1;
                tail.store(records + appended, Ordering::Release);
                tokio::time::sleep(BETWEEN).await;
            }
            appended
        });
        let (stop, reader) = (Arc::clone(&stopped), broker.clone());
        let reading = tokio::spawn(async move {
            let mut times = 0;
            while !stop.load(Ordering::Acquire) {
                assert_eq!(check(&reader, 1, records).await, records);
                times += 1;
            }
            times
        });
        Self {
            stopped,
            end,
            appending,
            reading,
        }
    }

    fn end(&self) -> usize {
        self.end.load(Ordering::Acquire)
    }

    /// Where the first stream ends at last.
    async fn end_all(self) -> usize {
        self.stopped.store(true, Ordering::Release);
        let appended = self.appending.await.expect("every append is confirmed");
        let times = self.reading.await.expect("every record is read");
        assert!(appended > 0 && times > 0, "{appended} and {times} times");
        self.end.load(Ordering::Acquire)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_room_of_many_deleted_streams_comes_back_in_redbs_file_too() {
    const STREAMS: usize = 30_000;
    const KEPT: usize = STREAMS / 10;
    let directory = tempfile::tempdir().expect("a directory");
    let store_bytes = || file_bytes(directory.path(), "store.redb");
    let broker = open(directory.path()).await;
    let created = broker.create(&name(0), CreateOptions::default()).await;
    assert!(created.is_ok(), "{created:?}");
    append(&broker, 0, 0).await;
    let create = |index| {
        let broker = broker.clone();
        async move {
            let name = long(index);
            let created = broker.create(&name, CreateOptions::default()).await;
            assert!(created.is_ok(), "{created:?}");
        }
    };
    join_all((0..STREAMS).map(create)).await;
    wait_until("most is folded", || store_bytes() >= 2 * SMALL_STORE_BYTES).await;

    let delete = |index| {
        let broker = broker.clone();
        async move { broker.delete(&long(index)).await.expect("deleted") }
    };
    join_all((KEPT..STREAMS).map(delete)).await;
    wait_until("most came back", || store_bytes() < SMALL_STORE_BYTES).await;
    append(&broker, 0, 1).await;
    assert_eq!(check(&broker, 0, 2).await, 2);
    broker.close_all().await;
    drop(broker);
    let broker = open(directory.path()).await;
    assert_eq!(check(&broker, 0, 2).await, 2);
    let listed = broker.list("long", None, STREAMS).await.expect("a list");
    assert_eq!(listed.streams.len(), KEPT);
    broker.close_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steady_appends_under_retention_keep_the_files_within_twice_what_is_kept() {
    const STREAMS: usize = 4;
    const KEPT: usize = 30;
    const RECORDS: usize = 600;
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path()).await;
    let options = CreateOptions {
        retention: Retention {
            max_records: Some(KEPT as u64),
            ..Retention::default()
        },
        ..CreateOptions::default()
    };
    for stream in 0..STREAMS {
        let created = broker.create(&name(stream), options.clone()).await;
        assert!(created.is_ok(), "{created:?}");
    }
    for offset in 0..RECORDS {
        for stream in 0..STREAMS {
            append(&broker, stream, offset).await;
        }
        if offset % 100 == 99 {
            shrinks_to(directory.path(), bound(STREAMS * KEPT)).await;
        }
    }
    for stream in 0..STREAMS {
        assert_eq!(check(&broker, stream, RECORDS).await, KEPT);
    }
    broker.close_all().await;
}
