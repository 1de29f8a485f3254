//! The storage contract: nine operations that every backend obeys to the letter.
//!
//! [`Storage`] is the contract as a trait; [`contract`] is the suite that holds any implementation to it.
//! The rules themselves are pure and live in [`crate::rules`]: a backend keeps state and bytes, asks `decide`
//! what a command does, and makes the effects durable before it answers.

use std::future::Future;
use std::time::Duration;

use crate::types::{
    AppendOptions, Appended, Closed, CreateOptions, Created, Data, Error, Messages, Metadata,
    Position, RecordBlock, Start, StreamName,
};

pub mod contract;

/// How much a read may answer, and whether it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// At most about this many bytes, but at least one record if there is one.
    pub max_bytes: usize,
    /// At most this many records; at least 1.
    pub max_records: u32,
    /// How long to wait for data at the tail of an open stream; zero answers at once.
    pub wait: Duration,
}

impl ReadLimits {
    /// How long a live read waits unless told otherwise.
    pub const LIVE_WAIT: Duration = Duration::from_secs(30);

    /// The defaults, but at the tail of an open stream wait for data, up to [`ReadLimits::LIVE_WAIT`].
    #[must_use]
    pub fn live() -> Self {
        Self::default().timeout(Self::LIVE_WAIT)
    }

    /// Waits up to `timeout` for data instead.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self {
            wait: timeout,
            ..self
        }
    }
}

impl Default for ReadLimits {
    /// 1 MiB, any number of records, no waiting.
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_records: u32::MAX,
            wait: Duration::ZERO,
        }
    }
}

/// What a subscriber of a stream is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// Records were appended; the durable tail is here now.
    Appended(Position),
    /// The stream is closed; its final tail is here.
    Closed(Position),
    /// The stream is gone. The last notification.
    Deleted,
}

/// A subscription to the changes of one stream.
///
/// Changes are coalesced: a slow caller is told the newest state, never an older one, and costs no memory.
pub trait Changes: Send {
    /// The next change since the last call; the first call answers changes since the subscription began.
    /// After [`Notification::Deleted`] it answers that again.
    ///
    /// Cancel safe.
    fn next(&mut self) -> impl Future<Output = Notification> + Send;
}

/// A keeper of streams.
///
/// Every answer is given only after what it says is as durable as the backend gets, and no reader or subscriber
/// sees a record before that.
pub trait Storage: Send + Sync + 'static {
    /// The subscription that [`Storage::subscribe`] gives.
    type Changes: Changes;

    /// Creates a stream, or confirms that it exists with the same configuration.
    ///
    /// Refusals: `AlreadyExists` (other configuration), `InvalidOption`.
    fn create(
        &self,
        stream: &StreamName,
        options: CreateOptions,
    ) -> impl Future<Output = Result<Created, Error>> + Send;

    /// Appends a batch, whole or not at all; an empty batch is allowed only with `options.close`.
    ///
    /// Refusals, in the order they are checked: `NotFound`, `StreamClosed` (but a producer's duplicate is confirmed even on
    /// a closed stream), then of a producer `ProducerFenced`, `ProducerEpochStart`, `ProducerGap`, `TooManyProducers`;
    /// `ContentTypeMismatch`, `TailMismatch`, `SeqConflict`, `EmptyBatch`, `InvalidJson`.
    fn append(
        &self,
        stream: &StreamName,
        batch: RecordBlock,
        options: AppendOptions,
    ) -> impl Future<Output = Result<Appended, Error>> + Send;

    /// Closes the stream for ever. Idempotent. Refusals: `NotFound`.
    fn close(&self, stream: &StreamName) -> impl Future<Output = Result<Closed, Error>> + Send;

    /// Deletes the stream and all its data. Refusals: `NotFound`.
    fn delete(&self, stream: &StreamName) -> impl Future<Output = Result<(), Error>> + Send;

    /// The durable tail. Refusals: `NotFound`.
    fn current_offset(
        &self,
        stream: &StreamName,
    ) -> impl Future<Output = Result<Position, Error>> + Send;

    /// What is known of the stream. Refusals: `NotFound`.
    fn get_metadata(
        &self,
        stream: &StreamName,
    ) -> impl Future<Output = Result<Metadata, Error>> + Send;

    /// Reads payloads joined. May answer less than the limits allow; `has_more` then says so. Refusals: `NotFound`, `Trimmed`, `PastTail`.
    fn read(
        &self,
        stream: &StreamName,
        from: Start,
        limits: ReadLimits,
    ) -> impl Future<Output = Result<Data, Error>> + Send;

    /// Reads records one by one. Refusals: as [`Storage::read`].
    fn read_messages(
        &self,
        stream: &StreamName,
        from: Start,
        limits: ReadLimits,
    ) -> impl Future<Output = Result<Messages, Error>> + Send;

    /// Notifications of appends, close and delete from now on. Refusals: `NotFound`.
    fn subscribe(
        &self,
        stream: &StreamName,
    ) -> impl Future<Output = Result<Self::Changes, Error>> + Send;
}
