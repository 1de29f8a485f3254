//! A data directory that asks a question whenever its journal is read: so it is known what was answered at each moment of a replay.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redb::StorageBackend;
use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::storage::Storage;
use streamkeeper::store::journal::FILE;
use streamkeeper::store::{Directory, Files};
use streamkeeper::types::{AppendOptions, CreateOptions, RecordBlock, StreamName};
use tempfile::TempDir;

type Answers = Arc<Mutex<Vec<String>>>;

/// See the module.
#[derive(Clone)]
pub(crate) struct Asking {
    directory: Directory,
    ask: Arc<dyn Fn() -> String + Send + Sync>,
    answers: Answers,
}

impl Asking {
    /// Answers are kept unless they are the same as the one before.
    pub(crate) fn over(
        directory: &Path,
        ask: impl Fn() -> String + Send + Sync + 'static,
    ) -> (Self, Answers) {
        let asking = Self {
            directory: Directory::new(directory),
            ask: Arc::new(ask),
            answers: Answers::default(),
        };
        let answers = Arc::clone(&asking.answers);
        (asking, answers)
    }

    fn ask(&self) {
        let answer = (self.ask)();
        let mut answers = self.answers.lock();
        if answers.last() != Some(&answer) {
            answers.push(answer);
        }
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

/// How far a replay is by an answer, and of how much.
pub(crate) fn progress(answer: &str) -> Option<(u64, u64)> {
    let progress = answer.strip_prefix("starting: replaying the journal (")?;
    let (done, total) = progress.strip_suffix(" MiB)")?.split_once(" of ")?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

/// What a broker leaves that was killed with so much in its journal.
pub(crate) async fn unfolded(bytes: usize) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let mut options = BrokerOptions::in_directory(directory.path());
    options.fold_interval = Duration::from_secs(3600);
    let broker = Broker::open(options).await.expect("it opens");
    let stream = StreamName::new("a").expect("a valid name");
    let created = broker.create(&stream, CreateOptions::default()).await;
    created.expect("created");
    let record = vec![7; 32 << 10];
    for _ in 0..bytes / record.len() {
        let batch = RecordBlock::from_payloads([&record]);
        let options = AppendOptions::default();
        let appended = broker.append(&stream, batch, options).await;
        appended.expect("confirmed");
    }
    let copy = tempfile::tempdir().expect("a directory");
    for file in std::fs::read_dir(directory.path()).expect("the data directory") {
        let file = file.expect("an entry of it");
        std::fs::copy(file.path(), copy.path().join(file.file_name())).expect("copied");
    }
    broker.close_all().await;
    copy
}

impl Files for Asking {
    fn place(&self) -> &Path {
        self.directory.place()
    }

    fn prepare(&self) -> io::Result<()> {
        self.directory.prepare()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let file = self.directory.create(name)?;
        if name != FILE {
            return Ok(file);
        }
        let asking = self.clone();
        Ok(Box::new(Journal { file, asking }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.directory.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.directory.names()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.directory.length(name)
    }
}

#[derive(Debug)]
struct Journal {
    file: Box<dyn StorageBackend>,
    asking: Asking,
}

impl StorageBackend for Journal {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.asking.ask();
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}
