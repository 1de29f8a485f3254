//! A store on this machine: a journal and a redb file with their threads, or memory alone. Built from the parts of this folder.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::chunks::ChunkStore;
use super::committer::Committer;
use super::error::StoreError;
use super::facts::Facts;
use super::files::Files;
use super::folder::Folder;
use super::journal::Journal;
use super::recovery;
use super::reserve::Reserve;
use super::restored;
use super::shared::{Readiness, Shared};
use super::timers::{self, Timers};
use super::unfolded::Unfolded;
use crate::metrics::Metrics;
use crate::rules::RuleLimits;
use crate::stream::{QueueLimits, Registry, WriteQueues};
use crate::types::{Clock, StorageKind, StreamId, Timestamp};

const COMMITTER: &str = "committer";

/// Settings of a local store. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Where the files are; `None` keeps everything in memory.
    pub files: Option<Arc<dyn Files>>,
    /// Bounds that the rules check.
    pub rules: RuleLimits,
    /// Bounds of the write queues.
    pub queues: QueueLimits,
    /// About the most that one commit takes.
    pub commit_bytes_max: usize,
    /// The most that committed records take in memory until they are in the store; then appends wait.
    pub hot_tail_bytes_max: usize,
    /// How much is moved to the store at a time. At most a quarter of `hot_tail_bytes_max` is used.
    pub fold_bytes: usize,
    /// After how long less than that is moved too.
    pub fold_interval: Duration,
    /// Rows of deleted or trimmed streams that one fold removes at most; the next one goes on. At least 1.
    pub removals_per_fold: usize,
    /// How large a file of chunks gets before the next one is begun.
    pub segment_bytes: u64,
    /// Room on the disk that is kept for what makes room on a full one; 0 keeps none.
    pub reserve_bytes: u64,
    /// redb's page cache for the store.
    pub store_cache_bytes: usize,
    /// The most that streams in memory may hold together; then appends are refused. Only without a directory.
    pub memory_bytes_max: usize,
}

/// A running local store. Stops its threads when closed or dropped.
#[derive(Debug)]
pub struct LocalStore {
    pub(crate) shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
    folder: Mutex<Option<JoinHandle<()>>>,
    timers: AbortHandle,
}

impl LocalStore {
    /// Opens the store, replays its journal and starts its threads. Blocks on the disk; must be called within a tokio
    /// runtime, which runs the timers.
    pub fn open(
        mut options: LocalOptions,
        clock: Clock,
        metrics: Arc<Metrics>,
        readiness: watch::Sender<Readiness>,
    ) -> Result<Self, StoreError> {
        options.fold_bytes = options
            .fold_bytes
            .min(options.hot_tail_bytes_max / 4)
            .max(1);
        let open = |files| open_files(files, &options);
        let files = options.files.as_ref().map(open).transpose()?;
        let (chunks, mut journal, facts) = match files {
            Some((chunks, journal, facts)) => (Some(chunks), Some(journal), facts),
            None => (None, None, Facts::default()),
        };
        let shared = Arc::new(shared(options, clock, metrics, readiness, chunks, facts));
        let (next_id, newest) = match &mut journal {
            Some(journal) => {
                let recovered = recovery::replay(&shared, journal, facts)?;
                (recovered.next_stream_id, recovered.newest)
            }
            None => (StreamId(1), Timestamp::default()),
        };
        Self::start(shared, journal, next_id, newest)
    }

    fn start(
        shared: Arc<Shared>,
        journal: Option<Journal>,
        next_id: StreamId,
        newest: Timestamp,
    ) -> Result<Self, StoreError> {
        shared.measure_files();
        let mut committer = Committer::new(Arc::clone(&shared), journal, next_id, newest);
        committer.keep_room();
        let folder = Folder::new(Arc::clone(&shared));
        let spawn = |name: &'static str, body: Box<dyn FnOnce() + Send>| {
            let watch = PanicWatch {
                shared: Arc::clone(&shared),
                thread: name,
            };
            let failed = |source| StoreError::Directory {
                path: PathBuf::from(name),
                source,
            };
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    let _watch = watch;
                    body();
                })
                .map_err(failed)
        };
        let committer = spawn(COMMITTER, Box::new(move || committer.run()))?;
        shared.queues.set_committer(committer.thread().clone());
        let folder = match shared.chunks {
            Some(_) => Some(spawn("folder", Box::new(move || folder.run()))?),
            None => None,
        };
        let timers = tokio::spawn(timers::run(Arc::clone(&shared))).abort_handle();
        Ok(Self {
            shared,
            committer: Mutex::new(Some(committer)),
            folder: Mutex::new(folder),
            timers,
        })
    }

    /// Answers everything queued, folds what is committed, and closes the files. Blocks.
    pub fn close(&self) {
        self.signal();
        // Both locks are held to the end: a second caller returns when the first has closed the files.
        let mut committer = self.committer.lock();
        let mut folder = self.folder.lock();
        join(COMMITTER, committer.take());
        join("folder", folder.take());
        if let Some(chunks) = &self.shared.chunks {
            chunks.close();
        }
    }

    fn signal(&self) {
        self.timers.abort();
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.queues.kick();
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        self.signal();
    }
}

/// Makes a panic of the store's threads a fault: whoever waits for that thread would wait for ever.
struct PanicWatch {
    shared: Arc<Shared>,
    thread: &'static str,
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let thread = self.thread;
        self.shared.fault(&StoreError::Panicked { thread });
        if thread == COMMITTER {
            self.shared.queues.close();
        }
    }
}

fn open_files(
    files: &Arc<dyn Files>,
    options: &LocalOptions,
) -> Result<(ChunkStore, Journal, Facts), StoreError> {
    let failed = |source| StoreError::Directory {
        path: files.place().to_owned(),
        source,
    };
    files.prepare().map_err(failed)?;
    restored::refuse_unfinished(&**files)?;
    let chunks = ChunkStore::open(files, options.store_cache_bytes, options.segment_bytes)?;
    let journal = Journal::open(&**files)?;
    files.sync().map_err(failed)?;
    let facts = chunks.facts()?;
    Ok((chunks, journal, facts))
}

fn join(name: &str, thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!(thread = name, "a thread of the store panicked");
    }
}

fn shared(
    options: LocalOptions,
    clock: Clock,
    metrics: Arc<Metrics>,
    readiness: watch::Sender<Readiness>,
    chunks: Option<ChunkStore>,
    facts: Facts,
) -> Shared {
    let storage = match chunks {
        Some(_) => StorageKind::Durable,
        None => StorageKind::Memory,
    };
    Shared {
        queues: WriteQueues::new(options.queues),
        registry: Registry::new(storage),
        reserve: Reserve::new(options.files.clone(), options.reserve_bytes),
        given_back: AtomicU64::new(0),
        options,
        clock,
        metrics,
        chunks,
        unfolded: Mutex::new(Unfolded::default()),
        unfolded_changed: Condvar::new(),
        watermark: AtomicU64::new(facts.watermark),
        released: AtomicU64::new(facts.watermark),
        memory_bytes: AtomicUsize::new(0),
        timers: Timers::default(),
        stopping: AtomicBool::new(false),
        readiness,
        feed: OnceLock::new(),
        failed_read_told: Mutex::new(None),
    }
}
