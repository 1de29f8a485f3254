//! Data directories as brokers leave them, and the program run on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use streamkeeper::broker::{Broker, BrokerOptions, PutRequest};
use streamkeeper::storage::{ReadLimits, Storage};
use streamkeeper::store::chunks::ChunkStore;
use streamkeeper::store::{Directory, Files};
use streamkeeper::types::{
    AppendOptions, CreateOptions, ForkRequest, Offset, ProducerStamp, RecordBlock, Retention,
    Start, Str, StreamName,
};
use tempfile::TempDir;

/// How long anything may take; far more than it does.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const SEGMENT_BYTES: u64 = 256 << 10;
pub(crate) const RECORD_BYTES: usize = 4 << 10;

/// The program, without any setting from the environment of the test.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamkeeper"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STREAMKEEPER_") {
            command.env_remove(name);
        }
    }
    command
}

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        let text = String::from_utf8_lossy(&self.stdout);
        assert_eq!(self.code, Some(code), "{text}\n{}", self.stderr);
        self
    }

    /// Stdout as JSON objects, one a line.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.stdout);
        let parse = |line: &str| serde_json::from_str(line).expect("a JSON object a line");
        text.lines().map(parse).collect()
    }
}

/// Runs a tool on a directory.
pub(crate) fn on(directory: &Path, arguments: &[&str]) -> Ran {
    let (tool, rest) = arguments.split_first().expect("a tool");
    let mut command = program();
    command.arg(tool).arg("--data").arg(directory).args(rest);
    Ran::from(command.output().expect("the program runs"))
}

pub(crate) fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a valid name")
}

/// Small segments and folds, so that there are many of each.
pub(crate) fn options(directory: &Path) -> BrokerOptions {
    let mut options = BrokerOptions::in_directory(directory);
    options.segment_bytes = SEGMENT_BYTES;
    options.fold_bytes = 64 << 10;
    options
}

/// Bytes that say which record of which stream they are.
pub(crate) fn payload(stream: &str, offset: u64) -> Vec<u8> {
    let mark = format!("{stream}#{offset};");
    mark.bytes().cycle().take(RECORD_BYTES).collect()
}

pub(crate) async fn create(broker: &Broker, stream: &str, max_records: Option<u64>) {
    let options = CreateOptions {
        retention: Retention {
            max_records,
            ..Retention::default()
        },
        ..CreateOptions::default()
    };
    let created = broker.create(&name(stream), options).await;
    assert!(created.is_ok(), "{created:?}");
}

pub(crate) async fn append(broker: &Broker, stream: &str, offset: u64) {
    let options = AppendOptions {
        producer: Some(ProducerStamp {
            id: Str::from("writer"),
            epoch: 0,
            seq: offset,
        }),
        expected_tail: Some(Offset(offset)),
        ..AppendOptions::default()
    };
    let batch = RecordBlock::from_payloads([payload(stream, offset)]);
    let appended = broker.append(&name(stream), batch, options).await;
    assert!(appended.is_ok(), "{appended:?}");
}

pub(crate) async fn fork(broker: &Broker, fork: &str, source: &str) {
    let request = PutRequest {
        fork: Some(ForkRequest {
            source: name(source),
            offset: None,
            sub_offset: 0,
        }),
        ..PutRequest::default()
    };
    let put = broker.put(&name(fork), request).await;
    assert!(put.is_ok(), "{put:?}");
}

/// All that a stream shows: its earliest offset, and its records.
pub(crate) async fn read(broker: &Broker, stream: &str) -> (u64, Vec<Vec<u8>>) {
    let stream = name(stream);
    let (mut from, mut first, mut records) = (Start::Beginning, None, Vec::new());
    loop {
        let page = broker.read_messages(&stream, from, ReadLimits::default());
        let page = page.await.expect("it is readable");
        for message in &page.messages {
            first.get_or_insert(message.position.offset.0);
            records.push(message.payload.to_vec());
        }
        from = Start::At(page.next.offset);
        if !page.has_more {
            return (first.unwrap_or(page.next.offset.0), records);
        }
    }
}

/// A directory as a broker leaves it that was killed: most is in the store, the last appends are in the journal only.
pub(crate) struct Killed {
    pub(crate) directory: TempDir,
}

impl Killed {
    /// With streams of all sorts: plain, trimmed, closed, deleted, forked, and a source that was deleted under its fork.
    pub(crate) async fn new() -> Self {
        let served = tempfile::tempdir().expect("a temporary directory can be made");
        let broker = Broker::open(options(served.path()))
            .await
            .expect("it opens");
        for (stream, max_records) in [
            ("plain", None),
            ("trimmed", Some(20)),
            ("closed", None),
            ("deleted", None),
            ("source", None),
            ("retired", None),
        ] {
            create(&broker, stream, max_records).await;
            for offset in 0..60 {
                append(&broker, stream, offset).await;
            }
        }
        fork(&broker, "fork", "source").await;
        fork(&broker, "orphan", "retired").await;
        append(&broker, "source", 60).await;
        broker.close(&name("closed")).await.expect("closed");
        broker.delete(&name("deleted")).await.expect("deleted");
        broker.delete(&name("retired")).await.expect("retired");
        broker.close_all().await;
        settle(served.path()).await;

        let mut late = options(served.path());
        late.fold_bytes = 64 << 20;
        late.fold_interval = Duration::from_secs(3600);
        let broker = Broker::open(late).await.expect("it opens again");
        for stream in ["plain", "trimmed"] {
            for offset in 60..80 {
                append(&broker, stream, offset).await;
            }
        }
        create(&broker, "late", None).await;
        append(&broker, "late", 0).await;
        append(&broker, "plain", 80).await;
        let directory = copy(served.path());
        broker.close_all().await;
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// Lets a broker clear away what it still has to, so that the next one has no reason to fold before its time.
async fn settle(directory: &Path) {
    let deadline = Instant::now() + DEADLINE;
    let files: Arc<dyn Files> = Arc::new(Directory::new(directory));
    loop {
        let store = ChunkStore::open(&files, 1 << 20, SEGMENT_BYTES).expect("it opens");
        let leftovers = store.has_leftovers().expect("readable");
        drop(store);
        if !leftovers {
            return;
        }
        assert!(Instant::now() < deadline, "it is never cleared away");
        let broker = Broker::open(options(directory)).await.expect("it opens");
        tokio::time::sleep(Duration::from_millis(200)).await;
        broker.close_all().await;
    }
}

/// A copy of the files as they are.
pub(crate) fn copy(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory can be made");
    for (name, bytes) in files(directory) {
        fs::write(copy.path().join(name), bytes).expect("written");
    }
    copy
}

/// The files of a directory, by name.
pub(crate) fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let entry = entry.expect("readable");
            let bytes = fs::read(entry.path()).expect("readable");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// Flips a bit wherever `pattern` is in the file; says how often that is.
pub(crate) fn flip_in(file: &Path, pattern: &[u8]) -> usize {
    let mut bytes = fs::read(file).expect("readable");
    let mut found = 0;
    let mut at = 0;
    while let Some(next) = bytes
        .get(at..)
        .and_then(|rest| rest.windows(pattern.len()).position(|part| part == pattern))
    {
        at += next;
        *bytes.get_mut(at).expect("within") ^= 0x10;
        at += pattern.len();
        found += 1;
    }
    fs::write(file, bytes).expect("written");
    found
}

/// The segment files of a directory.
pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    paths.filter(segment).collect()
}

/// A client for HTTP that is not ours.
pub(crate) fn http_client() -> reqwest::Client {
    // For the whole process, if nobody was first.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let client = reqwest::Client::builder().no_proxy().build();
    client.expect("an HTTP client")
}
