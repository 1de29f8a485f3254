//! Settings of a broker, with defaults that suit a sidecar.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::rules::RuleLimits;
use crate::store::{Directory, Files, LocalOptions, Readiness, StoreError};
use crate::stream::QueueLimits;
use crate::types::{Clock, StorageKind};

const MIB: usize = 1 << 20;

/// See the module. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Where the files are.
    pub files: Arc<dyn Files>,
    /// Which backend keeps a stream whose creator does not say.
    pub default_storage: StorageKind,
    /// Bounds that the rules check.
    pub rules: RuleLimits,
    /// Bounds of the write queues.
    pub queues: QueueLimits,
    /// About the most that one commit takes.
    pub commit_bytes_max: usize,
    /// The most that committed records take in memory until they are in the store; then appends wait.
    pub hot_tail_bytes_max: usize,
    /// How much is moved to the store at a time.
    pub fold_bytes: usize,
    /// After how long less than that is moved too.
    pub fold_interval: Duration,
    /// Rows of deleted or trimmed streams that one fold removes at most; the next one goes on.
    pub removals_per_fold: usize,
    /// How large a file of chunks gets before the next one is begun.
    pub segment_bytes: u64,
    /// Room on the disk that is kept for what makes room on a full one; 0 keeps none.
    pub reserve_bytes: u64,
    /// Page cache of the store.
    pub store_cache_bytes: usize,
    /// The most that streams in memory may hold together.
    pub memory_streams_bytes_max: usize,
    /// Where the time comes from.
    pub clock: Clock,
    /// Where events are counted.
    pub metrics: Arc<Metrics>,
    /// Told of every change of readiness.
    pub readiness: watch::Sender<Readiness>,
}

impl BrokerOptions {
    /// The defaults, with files in `directory` (made if it is not there).
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            files: Arc::new(Directory::new(directory)),
            default_storage: StorageKind::default(),
            rules: RuleLimits::default(),
            queues: QueueLimits {
                total_bytes_max: 8 * MIB,
                stream_bytes_max: 2 * MIB,
            },
            commit_bytes_max: MIB / 2,
            hot_tail_bytes_max: 48 * MIB,
            fold_bytes: 12 * MIB,
            fold_interval: Duration::from_secs(5),
            removals_per_fold: 1024,
            segment_bytes: 64 << 20,
            reserve_bytes: 2 << 20,
            store_cache_bytes: 16 * MIB,
            memory_streams_bytes_max: 64 * MIB,
            clock: Clock::System,
            metrics: Metrics::disabled(),
            readiness: watch::Sender::new(Readiness::Starting {
                reason: "opening the store".to_owned(),
            }),
        }
    }

    pub(super) fn durable(&self) -> LocalOptions {
        LocalOptions {
            files: Some(Arc::clone(&self.files)),
            ..self.memory()
        }
    }

    pub(super) fn memory(&self) -> LocalOptions {
        LocalOptions {
            files: None,
            rules: self.rules,
            queues: self.queues,
            commit_bytes_max: self.commit_bytes_max,
            hot_tail_bytes_max: self.hot_tail_bytes_max,
            fold_bytes: self.fold_bytes,
            fold_interval: self.fold_interval,
            removals_per_fold: self.removals_per_fold.max(1),
            segment_bytes: self.segment_bytes,
            reserve_bytes: self.reserve_bytes,
            store_cache_bytes: self.store_cache_bytes,
            memory_bytes_max: self.memory_streams_bytes_max,
        }
    }
}

/// Why a broker could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store says no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Opening panicked: a bug, or a mangled file that redb does not survive.
    #[error("opening the store panicked: {0}")]
    Panicked(tokio::task::JoinError),
}
