//! What the committer, the folder, the timers and the readers of one local store share.
//!
//! Nothing here decides anything: it is the meeting place. Each field says who writes it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::chunks::{self, ChunkStore};
use super::error::StoreError;
use super::journal;
use super::local::LocalOptions;
use super::reserve::Reserve;
use super::timers::Timers;
use super::unfolded::Unfolded;
use crate::metrics::Metrics;
use crate::rules::StreamState;
use crate::stream::{Feed, Registry, Resident, Stream, WriteQueues};
use crate::types::{Clock, Fault, Offset, StreamName, Timestamp};

/// Between two lines of the log about failed reads.
const FAILED_READ_TOLD: Duration = Duration::from_secs(1);

/// Whether the store serves, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Opening files or replaying the journal.
    Starting {
        /// What it is at.
        reason: String,
    },
    /// Serving.
    Ready,
    /// Shutting down: reads go on, writes are refused.
    Draining,
    /// There is no room on the disk: reads go on, writes are refused until there is.
    Full {
        /// What there is no room for.
        reason: String,
    },
    /// A commit failed: reads go on, writes are refused until restarted.
    Faulted {
        /// What failed first.
        reason: String,
    },
}

impl Readiness {
    /// The fault that a write meets in this state.
    pub fn refusal(&self) -> Option<Fault> {
        match self {
            Self::Ready => None,
            Self::Starting { reason } => Some(Fault::Starting {
                reason: reason.clone(),
            }),
            Self::Draining => Some(Fault::Draining),
            Self::Full { reason } => Some(Fault::StoreFull {
                reason: reason.clone(),
            }),
            Self::Faulted { reason } => Some(Fault::StoreFaulted {
                reason: reason.clone(),
            }),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub options: LocalOptions,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub queues: WriteQueues,
    pub registry: Registry,
    /// `None` for a store that keeps everything in memory.
    pub chunks: Option<ChunkStore>,
    pub unfolded: Mutex<Unfolded>,
    pub unfolded_changed: Condvar,
    /// Kept for removals. Spent by committer and folder, made again by the committer.
    pub reserve: Reserve,
    /// Rows up to here have given back their room in the journal, while writes are refused for lack of room. Written by the committer.
    pub given_back: AtomicU64,
    /// Rows up to here are in the store. Written by the folder.
    pub watermark: AtomicU64,
    /// Rows up to here are no longer in memory. Written by the folder.
    pub released: AtomicU64,
    /// Run bytes in memory, of a store without files. Written by the committer.
    pub memory_bytes: AtomicUsize,
    pub timers: Timers,
    /// The committer shall answer what is queued and end.
    pub stopping: AtomicBool,
    pub readiness: watch::Sender<Readiness>,
    /// Told of every stream that a commit changed.
    pub feed: OnceLock<Arc<dyn Feed>>,
    /// When the log was last told of a failed read. Written by readers.
    pub failed_read_told: Mutex<Option<Instant>>,
}

impl Shared {
    /// The first failure sticks: writes are refused from here on.
    pub fn fault(&self, error: &StoreError) {
        let reason = error.to_string();
        let first = self.readiness.send_if_modified(|state| {
            let fresh = !matches!(state, Readiness::Faulted { .. });
            if fresh {
                *state = Readiness::Faulted {
                    reason: reason.clone(),
                };
            }
            fresh
        });
        if first {
            tracing::error!(error = %reason, "the store failed; writes are refused until a restart");
        }
        // Under the lock, so that a committer about to wait for room cannot miss it.
        let unfolded = self.unfolded.lock();
        self.unfolded_changed.notify_all();
        drop(unfolded);
        // What it left for the folder is refused now.
        self.queues.kick();
    }

    /// Writes are refused until [`Shared::has_room`].
    pub fn is_full(&self, reason: &str) {
        let first = self.readiness.send_if_modified(|state| {
            let serving = matches!(state, Readiness::Ready | Readiness::Starting { .. });
            if serving {
                *state = Readiness::Full {
                    reason: reason.to_owned(),
                };
            }
            serving
        });
        if first {
            tracing::error!(
                reason,
                "the disk is full; writes are refused until there is room"
            );
        }
    }

    /// Writes are taken again.
    pub fn has_room(&self) {
        let full = self.readiness.send_if_modified(|state| {
            let full = matches!(state, Readiness::Full { .. });
            if full {
                *state = Readiness::Ready;
            }
            full
        });
        if full {
            tracing::info!("there is room on the disk again; writes are taken");
        }
    }

    /// The sticky fault, if there is one.
    pub fn faulted(&self) -> Option<Fault> {
        match &*self.readiness.borrow() {
            Readiness::Faulted { reason } => Some(Fault::StoreFaulted {
                reason: reason.clone(),
            }),
            _ => None,
        }
    }

    /// Brings what the store knows of `stream` into memory, if nobody has. Reads the disk.
    pub fn ensure_loaded(&self, stream: &Stream) -> Result<(), StoreError> {
        if stream.is_loaded() {
            return Ok(());
        }
        let mut resident = stream.state.lock();
        self.load_into(stream, &mut resident)
    }

    /// As [`Shared::ensure_loaded`], for a caller that holds the state.
    pub fn load_into(&self, stream: &Stream, resident: &mut Resident) -> Result<(), StoreError> {
        if matches!(resident, Resident::Loaded(_)) {
            return Ok(());
        }
        let state = match &self.chunks {
            Some(chunks) => chunks.load(stream.name().as_str())?,
            None => None,
        };
        if let Some(until) = state.as_ref().and_then(unseen_reads) {
            stream.note_read(until);
        }
        stream.set_loaded(resident, state);
        Ok(())
    }

    /// Tells metrics and log that a reader of `stream` met `fault` at `offset`. The log at most once a second, whoever tries again.
    pub fn failed_read(&self, stream: &StreamName, offset: Offset, fault: &Fault) {
        if self.is_stopping() {
            return;
        }
        self.metrics.failed_reads.increment(1);
        let now = Instant::now();
        let mut told = self.failed_read_told.lock();
        if told.is_none_or(|at| now >= at + FAILED_READ_TOLD) {
            tracing::error!(%stream, %offset, %fault, "a stream cannot be read");
            *told = Some(now);
        }
    }

    /// Lets go of a handle whose name turned out to be no stream.
    pub fn discard(&self, stream: &Arc<Stream>) {
        let released = self.released.load(Ordering::Acquire);
        self.registry.discard(stream, released);
    }

    /// Tells the metrics how large the files are. A file that cannot be looked at keeps its last figure.
    pub fn measure_files(&self) {
        let Some(files) = &self.options.files else {
            return;
        };
        if let Ok(bytes) = files.length(journal::FILE) {
            self.metrics.journal_file_bytes.set(bytes);
        }
        if let Ok(bytes) = files.length(chunks::FILE) {
            self.metrics.store_file_bytes.set(bytes);
        }
        if let Some(Ok(bytes)) = self.chunks.as_ref().map(ChunkStore::segment_bytes) {
            self.metrics.segment_file_bytes.set(bytes);
        }
    }

    /// Nothing will be committed any more: the folder folds what there is, and ends.
    pub fn stop_folder(&self) {
        self.unfolded.lock().stop = true;
        self.unfolded_changed.notify_all();
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Reads slide a ttl in memory and are written down only every so often: until when a stream may have been read that is
/// loaded. Kept apart from what is written down, or the doubts of many loads would add up.
fn unseen_reads(state: &StreamState) -> Option<Timestamp> {
    touch_interval(&state.options.expiry).map(|slack| state.touched_at.after(slack))
}

/// How far a sliding ttl may move by reads before that is written down: an eighth of it, at most ten seconds.
pub(crate) fn touch_interval(expiry: &crate::types::Expiry) -> Option<Duration> {
    match expiry {
        crate::types::Expiry::Ttl(seconds) => {
            Some((Duration::from_secs(*seconds) / 8).min(Duration::from_secs(10)))
        }
        _ => None,
    }
}
