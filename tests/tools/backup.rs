//! `streamkeeper backup` and `restore` on directories without a broker, and on a store that changes under the backup.

use std::fs;
use std::io::{self, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use redb::ReadableTable as _;
use streamkeeper::broker::Broker;
use streamkeeper::metrics::Metrics;
use streamkeeper::storage::Storage;
use tempfile::tempdir;

use crate::support::{
    DEADLINE, Killed, Ran, append, create, files, name, on, options, program, read, segments,
};

const STREAMS: [&str; 6] = ["plain", "trimmed", "closed", "fork", "orphan", "late"];

/// The backup of a directory.
fn backed_up(killed: &Killed) -> Vec<u8> {
    on(killed.path(), &["backup"]).ends_with(0).stdout
}

/// Runs `restore` with this on stdin.
fn restore(directory: &std::path::Path, backup: &[u8]) -> Ran {
    let mut command = program();
    command.arg("restore").arg("--data").arg(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // What is refused need not be read to its end.
    stdin.write_all(backup).ok();
    drop(stdin);
    Ran::from(child.wait_with_output().expect("it ends"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_broker_left_is_the_same_after_backup_and_restore() {
    let killed = Killed::new().await;
    let before = files(killed.path());
    let backup = backed_up(&killed);
    assert!(files(killed.path()) == before, "a backup writes nothing");
    let elsewhere = tempdir().expect("a temporary directory");
    restore(elsewhere.path(), &backup).ends_with(0);
    on(elsewhere.path(), &["check"]).ends_with(0);

    let original = Broker::open(options(killed.path())).await.expect("opens");
    let restored = Broker::open(options(elsewhere.path()))
        .await
        .expect("opens");
    for stream in STREAMS {
        assert_eq!(read(&original, stream).await, read(&restored, stream).await);
        let describe = |broker: &Broker| {
            let broker = broker.clone();
            async move { broker.get_metadata(&name(stream)).await }
        };
        assert_eq!(describe(&original).await, describe(&restored).await);
    }
    for gone in ["deleted", "retired"] {
        assert!(restored.get_metadata(&name(gone)).await.is_err(), "{gone}");
    }
    // Producers go on where they were.
    append(&restored, "plain", 81).await;
    append(&restored, "trimmed", 80).await;
    restored.close_all().await;
    original.close_all().await;
    on(elsewhere.path(), &["check"]).ends_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_cut_off_or_damaged_is_refused_and_leaves_nothing_that_a_broker_opens() {
    let killed = Killed::new().await;
    let good = backed_up(&killed);
    let mut flipped = good.clone();
    *flipped.get_mut(good.len() / 2).expect("within") ^= 1;
    let cut = good.get(..good.len() - 1).expect("shorter");
    let half = good.get(..good.len() / 2).expect("shorter");
    for (bad, why) in [
        (&flipped[..], "checksum"),
        (cut, "cut off"),
        (half, "cut off"),
    ] {
        let directory = tempdir().expect("a temporary directory");
        let refused = restore(directory.path(), bad).ends_with(6);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        let refused = Broker::open(options(directory.path())).await.map(drop);
        let refused = refused.expect_err("half a backup").to_string();
        assert!(refused.contains("restore again"), "{refused}");
        on(directory.path(), &["check"]).ends_with(2);
        restore(directory.path(), &good).ends_with(6);
    }
    let empty = tempdir().expect("a temporary directory");
    restore(empty.path(), b"not a backup").ends_with(6);
    assert_eq!(files(empty.path()), Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_anything_in_it_is_not_restored_to() {
    let killed = Killed::new().await;
    let backup = backed_up(&killed);
    let before = files(killed.path());
    let refused = restore(killed.path(), &backup).ends_with(6);
    assert!(refused.stderr.contains("not empty"), "{}", refused.stderr);
    assert!(files(killed.path()) == before, "nothing has changed");
    let directory = tempdir().expect("a temporary directory");
    fs::write(directory.path().join("notes.txt"), "mine").expect("written");
    restore(directory.path(), &backup).ends_with(6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_not_backed_up() {
    let killed = Killed::new().await;
    for file in segments(killed.path()) {
        crate::support::flip_in(&file, b"plain#33;plain#33;");
    }
    let target = killed.file("backup");
    let target = target.to_str().expect("text");
    let refused = on(killed.path(), &["backup", "--output", target]).ends_with(2);
    assert!(
        refused.stderr.contains("stream 1 at offset"),
        "{}",
        refused.stderr
    );
    assert!(
        !killed.file("backup").exists(),
        "no file passes for a backup"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_producer_is_not_backed_up() {
    let killed = Killed::new().await;
    let store = redb::Database::open(killed.file("store.redb")).expect("it opens");
    let write = store.begin_write().expect("it begins");
    {
        let producers = redb::TableDefinition::<(u64, &str), &[u8]>::new("producers");
        let mut producers = write.open_table(producers).expect("it is there");
        let key = (1, "writer");
        let mut row = producers
            .get(key)
            .expect("read")
            .expect("there")
            .value()
            .to_vec();
        *row.get_mut(9).expect("within") ^= 1;
        producers.insert(key, &row[..]).expect("inserted");
    }
    write.commit().expect("written");
    drop(store);
    let refused = on(killed.path(), &["backup"]).ends_with(2);
    assert!(refused.stderr.contains("checksum"), "{}", refused.stderr);
}

/// Everything that is in the store goes away while the backup waits to be written: it is in the backup all the same.
#[tokio::test(flavor = "multi_thread")]
async fn segments_stay_until_the_backup_that_needs_them_is_written() {
    let directory = tempdir().expect("a temporary directory");
    let (metrics, exporter) = Metrics::new();
    let mut small = options(directory.path());
    small.fold_interval = Duration::from_millis(10);
    small.metrics = metrics;
    let broker = Broker::open(small).await.expect("opens");
    for stream in ["one", "two"] {
        create(&broker, stream, None).await;
        for offset in 0..200 {
            append(&broker, stream, offset).await;
        }
    }
    let folded = segment_bytes(&exporter.render());
    let expected = [read(&broker, "one").await, read(&broker, "two").await];

    let (begun, begins) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let copied = broker.clone();
    let copying = tokio::task::spawn_blocking(move || {
        let mut to = Held {
            bytes: Vec::new(),
            begun: Some(begun),
            may_go_on,
        };
        copied.back_up(&mut to).expect("a backup");
        to.bytes
    });
    tokio::task::spawn_blocking(move || begins.recv_timeout(DEADLINE))
        .await
        .expect("it ends")
        .expect("the backup begins");
    broker.delete(&name("one")).await.expect("deleted");
    broker.delete(&name("two")).await.expect("deleted");
    create(&broker, "three", None).await;
    let deadline = Instant::now() + DEADLINE;
    let mut offset = 0;
    while segment_bytes(&exporter.render()) > folded / 2 {
        assert!(
            Instant::now() < deadline,
            "the segments are not cleared away"
        );
        append(&broker, "three", offset).await;
        offset += 1;
    }
    let held = segments(directory.path()).len();
    go_on.send(()).expect("the backup waits");
    let backup = copying.await.expect("it ends");
    assert!(
        segments(directory.path()).len() < held,
        "they go with the backup"
    );
    broker.close_all().await;
    on(directory.path(), &["check"]).ends_with(0);

    let elsewhere = tempdir().expect("a temporary directory");
    restore(elsewhere.path(), &backup).ends_with(0);
    on(elsewhere.path(), &["check"]).ends_with(0);
    let restored = Broker::open(options(elsewhere.path()))
        .await
        .expect("opens");
    let found = [read(&restored, "one").await, read(&restored, "two").await];
    assert!(found == expected, "as they were when the backup began");
    assert!(restored.get_metadata(&name("three")).await.is_err());
    restored.close_all().await;
}

fn segment_bytes(metrics: &str) -> u64 {
    let line = metrics.lines().find(|line| {
        line.starts_with("streamkeeper_store_file_bytes") && line.contains("segments")
    });
    let value = line.and_then(|line| line.rsplit(' ').next());
    let value: Option<f64> = value.and_then(|value| value.parse().ok());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size of files"
    )]
    value.map_or(0, |bytes| bytes as u64)
}

/// Takes nothing until it may.
struct Held {
    bytes: Vec<u8>,
    begun: Option<std::sync::mpsc::Sender<()>>,
    may_go_on: std::sync::mpsc::Receiver<()>,
}

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(begun) = self.begun.take() {
            begun.send(()).map_err(io::Error::other)?;
            self.may_go_on
                .recv_timeout(DEADLINE)
                .map_err(io::Error::other)?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
