//! The broker as a library: one handle over the backends, which both network faces and embedding programs use.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use streamkeeper::broker::{Broker, BrokerOptions};
//! use streamkeeper::storage::{ReadLimits, Storage};
//! use streamkeeper::types::{AppendOptions, CreateOptions, RecordBlock, Start, StreamName};
//!
//! let broker = Broker::open(BrokerOptions::in_directory("./streamkeeper-data")).await?;
//! let orders = StreamName::new("orders")?;
//! broker.create(&orders, CreateOptions::default()).await?;
//! broker.append(&orders, RecordBlock::from_payloads(["first"]), AppendOptions::default()).await?; // on disk now
//! let read = broker.read_messages(&orders, Start::Beginning, ReadLimits::default()).await?;
//! assert_eq!(read.messages[0].payload, "first");
//! broker.close_all().await;
//! # Ok(())
//! # }
//! ```
//!
//! Two local stores stand behind it: `durable` (files in the data directory) and `memory`. A name lives in one of them; the router
//! finds it. Faces that pipeline use [`Broker::try_submit`]: no future per append.

mod forking;
mod listing;
mod options;
mod put;
mod reading;
mod tools;

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

pub use listing::{Listed, Listing};
pub use options::{BrokerOptions, OpenError};
pub use put::{Put, PutRequest};
pub use reading::Runs;
pub(crate) use reading::verified;

use crate::fanout::{Bell, Cursor, StreamChanges, Watcher};
use crate::metrics::Metrics;
use crate::rules::{Answer, Command};
use crate::storage::{ReadLimits, Storage};
use crate::store::{LocalStore, Readiness};
use crate::stream::{Completion, Feed, LIGHT_QUEUE_BYTES, Stream, Submission, Weight};
use crate::types::{
    AppendOptions, Appended, Closed, CreateOptions, Created, Data, Error, Fault, Messages,
    Metadata, NameError, Position, RecordBlock, Refusal, Start, StorageKind, StreamName,
};

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    durable: Arc<LocalStore>,
    memory: Arc<LocalStore>,
    readiness: watch::Sender<Readiness>,
    metrics: Arc<Metrics>,
    default_storage: StorageKind,
    record_bytes_max: u64,
}

impl Broker {
    /// Opens the stores and replays what must be. Must be called within a tokio runtime.
    pub async fn open(options: BrokerOptions) -> Result<Self, OpenError> {
        let readiness = options.readiness.clone();
        let metrics = Arc::clone(&options.metrics);
        let default_storage = options.default_storage;
        let record_bytes_max = options.rules.record_bytes_max;
        let handle = tokio::runtime::Handle::current();
        let opened = tokio::task::spawn_blocking(move || {
            let _runtime = handle.enter();
            let clock = options.clock.clone();
            let metrics = Arc::clone(&options.metrics);
            let durable = LocalStore::open(
                options.durable(),
                clock.clone(),
                Arc::clone(&metrics),
                options.readiness.clone(),
            )?;
            let memory =
                LocalStore::open(options.memory(), clock, metrics, options.readiness.clone())?;
            Ok::<_, crate::store::StoreError>((durable, memory))
        });
        let (durable, memory) = opened.await.map_err(OpenError::Panicked)??;
        // Only from starting: the folder is at work already, and a fault of its sticks.
        readiness.send_if_modified(|state| {
            let starting = matches!(state, Readiness::Starting { .. });
            if starting {
                *state = Readiness::Ready;
            }
            starting
        });
        let inner = Inner {
            durable: Arc::new(durable),
            memory: Arc::new(memory),
            readiness,
            metrics,
            default_storage,
            record_bytes_max,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether the broker serves.
    pub fn readiness(&self) -> Readiness {
        self.inner.readiness.borrow().clone()
    }

    /// Which backend keeps a stream whose creator does not say.
    pub fn default_storage(&self) -> StorageKind {
        self.inner.default_storage
    }

    /// Sees to it that `feed` is told of every stream that changes from now on. The first feed stays.
    pub fn set_feed(&self, feed: &Arc<dyn Feed>) {
        for store in [&self.inner.durable, &self.inner.memory] {
            if store.shared.feed.set(Arc::clone(feed)).is_err() {
                tracing::warn!("the broker has a feed already; the new one is told nothing");
            }
        }
    }

    /// The metric handles the broker counts with.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// The handle of a name; the stream itself need not exist. Commands to it are applied in the order they are submitted.
    pub fn stream(&self, name: &str) -> Result<Arc<Stream>, NameError> {
        let memory = &self.inner.memory.shared.registry;
        match memory.get(name).filter(|stream| stream.is_claimed()) {
            Some(stream) => Ok(stream),
            None => self.inner.durable.shared.registry.get_or_create(name),
        }
    }

    /// As [`Broker::stream`], for a create that asks for `storage`. Refused if the name lives in the other backend.
    pub fn stream_to_create(&self, name: &str, storage: StorageKind) -> Result<Arc<Stream>, Error> {
        let (wanted, other) = match storage {
            StorageKind::Durable => (&self.inner.durable, &self.inner.memory),
            StorageKind::Memory => (&self.inner.memory, &self.inner.durable),
        };
        let taken = match (storage, other.shared.registry.get(name)) {
            (StorageKind::Durable, None) => false,
            (StorageKind::Memory, None) => {
                let stream = other.shared.registry.get_or_create(name)?;
                Self::is_taken(other, &stream)?
            }
            (_, Some(stream)) => Self::is_taken(other, &stream)?,
        };
        if taken {
            return Err(Refusal::AlreadyExists.into());
        }
        Ok(wanted.shared.registry.get_or_create(name)?)
    }

    /// Whether a stream exists or is about to. Looks at the disk only for names not in memory.
    fn is_taken(store: &LocalStore, stream: &Stream) -> Result<bool, Error> {
        store
            .shared
            .ensure_loaded(stream)
            .map_err(|error| crate::fanout::read_fault(&error))?;
        Ok(stream.is_claimed())
    }

    /// Puts a command on its stream's write queue, or gives it back if the queue is full: wait for [`Broker::space`]
    /// then. Call [`Broker::kick`] after a series. While the broker does not take the command, the completion is told so at once.
    pub fn try_submit(
        &self,
        stream: &Arc<Stream>,
        submission: Submission,
    ) -> Result<(), Box<Submission>> {
        if let Some(fault) = self.refused(stream, &submission.command) {
            submission.completion.tell(Err(Error::Fault(fault)));
            return Ok(());
        }
        self.store(stream)
            .shared
            .queues
            .try_push(stream, submission)
    }

    fn refused(&self, stream: &Stream, command: &Command) -> Option<Fault> {
        match (&*self.inner.readiness.borrow(), stream.storage()) {
            // What is kept in memory needs no room on the disk.
            (Readiness::Full { .. }, StorageKind::Memory) => None,
            // What makes room is let through.
            (Readiness::Full { .. }, _) if command.only_removes() => None,
            (readiness, _) => readiness.refusal(),
        }
    }

    /// Waits until the write queue of `stream` has room for a command that weighs so much. Cancel safe.
    pub async fn space(&self, stream: &Arc<Stream>, weight: Weight) {
        let queues = &self.store(stream).shared.queues;
        queues.kick();
        queues.space(stream, weight).await;
    }

    /// Tells the committers that something was queued.
    pub fn kick(&self) {
        self.inner.durable.shared.queues.kick();
        if !self.inner.memory.shared.registry.is_empty() {
            self.inner.memory.shared.queues.kick();
        }
    }

    /// Refuses writes from now on. Reads go on.
    pub fn begin_drain(&self) {
        self.inner.readiness.send_if_modified(|state| {
            let serving = matches!(state, Readiness::Ready | Readiness::Full { .. });
            if serving {
                *state = Readiness::Draining;
            }
            serving
        });
    }

    /// Refuses new writes, answers those that are queued, moves everything to the store and closes the files.
    pub async fn close_all(&self) {
        self.begin_drain();
        let inner = Arc::clone(&self.inner);
        let closing = tokio::task::spawn_blocking(move || {
            inner.durable.close();
            inner.memory.close();
        });
        if closing.await.is_err() {
            tracing::error!("closing the stores panicked");
        }
    }

    /// A position in `stream` that tells `watcher` with `token` of changes while it is idle at the tail.
    pub async fn cursor(
        &self,
        stream: &StreamName,
        from: Start,
        watcher: Arc<dyn Watcher>,
        token: u64,
    ) -> Result<Cursor, Error> {
        let stream = self.stream(stream.as_str())?;
        let store = Arc::clone(self.store(&stream));
        Cursor::open(store, stream, from, watcher, token).await
    }

    fn store(&self, stream: &Stream) -> &Arc<LocalStore> {
        match stream.storage() {
            StorageKind::Durable => &self.inner.durable,
            StorageKind::Memory => &self.inner.memory,
        }
    }

    async fn submit(&self, stream: Arc<Stream>, command: Command) -> Result<Answer, Error> {
        let (sender, receiver) = oneshot::channel();
        // Somebody waits for this one before the next.
        let light = command.queued_bytes() <= LIGHT_QUEUE_BYTES;
        let mut submission = Submission {
            command,
            completion: Completion::Once(sender),
            light,
        };
        while let Err(back) = self.try_submit(&stream, submission) {
            submission = *back;
            self.space(&stream, submission.weight()).await;
        }
        self.store(&stream).shared.queues.kick();
        let gone = |_| Error::Fault(Fault::Draining);
        receiver.await.map_err(gone)?
    }
}

/// The answer that belongs to a command; any other is a bug of the rules, reported instead of panicking.
macro_rules! answer {
    ($answer:expr, $kind:path) => {
        match $answer {
            $kind(answer) => Ok(answer),
            other => Err(Error::Fault(Fault::StoreFaulted {
                reason: format!("unexpected answer {other:?}"),
            })),
        }
    };
}

impl Storage for Broker {
    type Changes = StreamChanges;

    async fn create(&self, stream: &StreamName, options: CreateOptions) -> Result<Created, Error> {
        let handle = self.stream_to_create(stream.as_str(), options.storage)?;
        answer!(
            self.submit(handle, Command::create(options)).await?,
            Answer::Created
        )
    }

    async fn append(
        &self,
        stream: &StreamName,
        batch: RecordBlock,
        options: AppendOptions,
    ) -> Result<Appended, Error> {
        let handle = self.stream(stream.as_str())?;
        answer!(
            self.submit(handle, Command::Append { batch, options })
                .await?,
            Answer::Appended
        )
    }

    async fn close(&self, stream: &StreamName) -> Result<Closed, Error> {
        let handle = self.stream(stream.as_str())?;
        answer!(self.submit(handle, Command::Close).await?, Answer::Closed)
    }

    async fn delete(&self, stream: &StreamName) -> Result<(), Error> {
        let handle = self.stream(stream.as_str())?;
        self.submit(handle, Command::Delete).await.map(drop)
    }

    async fn current_offset(&self, stream: &StreamName) -> Result<Position, Error> {
        self.view(stream).await.map(|view| view.tail)
    }

    async fn get_metadata(&self, stream: &StreamName) -> Result<Metadata, Error> {
        self.view(stream).await.map(|view| view.metadata())
    }

    async fn read(
        &self,
        stream: &StreamName,
        from: Start,
        limits: ReadLimits,
    ) -> Result<Data, Error> {
        let json = crate::rules::is_json(self.view(stream).await?.options.content_type.as_bytes());
        self.read_runs(stream, from, limits).await?.into_data(json)
    }

    async fn read_messages(
        &self,
        stream: &StreamName,
        from: Start,
        limits: ReadLimits,
    ) -> Result<Messages, Error> {
        self.read_runs(stream, from, limits).await?.into_messages()
    }

    fn subscribe(
        &self,
        stream: &StreamName,
    ) -> impl Future<Output = Result<StreamChanges, Error>> + Send {
        let bell = Arc::new(Bell::default());
        let watcher: Arc<dyn Watcher> = Arc::<Bell>::clone(&bell);
        async move {
            let cursor = self.cursor(stream, Start::Now, watcher, 0).await?;
            Ok(StreamChanges::new(cursor, bell))
        }
    }
}
