//! The idempotent producer: batches and pipelines by itself, and stores every record once.
//!
//! `window` keeps the batches, `core` talks to the connection task, `receipt` tells the application; this file is the
//! application's handle. Each batch carries the producer's id, epoch and a sequence number, so the server recognises
//! one that is sent again after a lost connection. Order of the calls is the order in the stream.

mod core;
mod receipt;
mod window;

use std::sync::Arc;

use streamkeeper_protocol::Str;
use tokio::sync::SemaphorePermit;

pub(crate) use self::core::Core;
use self::core::{Push, Settings};
pub use self::receipt::{Receipt, Stored};
use crate::client::{Client, Handle};
use crate::error::Error;
use crate::reconnect::random_bits;

/// Settings of a [`Producer`]; made by [`crate::Client::producer`].
#[derive(Debug)]
#[must_use]
pub struct ProducerBuilder {
    handle: Arc<Handle>,
    stream: Str,
    id: Option<Str>,
    epoch: u64,
    batch_bytes_max: usize,
    batches_max: usize,
}

impl ProducerBuilder {
    pub(crate) fn new(handle: Arc<Handle>, stream: Str) -> Self {
        Self {
            handle,
            stream,
            id: None,
            epoch: 0,
            batch_bytes_max: 256 << 10,
            batches_max: 16,
        }
    }

    /// Who produces (default: a random id, which protects against repetition as long as this program runs; a stream
    /// remembers a bounded number of ids, so programs that start often should have one of their own).
    ///
    /// With an id of its own, a program that starts again must raise [`ProducerBuilder::epoch`] each time: from
    /// then on the server refuses what an older start may still be sending.
    pub fn id(mut self, id: impl Into<Str>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Which start of the program this is (default 0): a number that rises with every start and is never used twice
    /// with the same id. Keep it where the program keeps its state, or use a generation its supervisor hands out.
    ///
    /// A forgotten rise is noticed: the first batch is answered as a duplicate, which ends the producer with
    /// [`Error::EpochReused`] instead of dropping records in silence.
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    /// The most encoded bytes in one batch (default 256 KiB; the server's frame limit caps it). A longer record makes
    /// a batch of its own.
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.batch_bytes_max = bytes.max(1);
        self
    }

    /// The most batches sent and not confirmed (default 16); one more collects records meanwhile. What all producers of the client
    /// hold together has a limit too: [`crate::ClientBuilder::producer_bytes_max`].
    pub fn batches_max(mut self, batches: usize) -> Self {
        self.batches_max = batches.max(1);
        self
    }

    /// Opens the producer, after a look at the stream.
    ///
    /// # Errors
    /// As [`crate::Client::stat`]: above all `NOT_FOUND`, because appending creates no stream.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn open(self) -> Result<Producer, Error> {
        let link = Arc::clone(&self.handle.link);
        let client = Client {
            handle: Arc::clone(&self.handle),
        };
        let status = client.stat(self.stream.clone()).await?;
        let info = client.server().await?;
        let id = self
            .id
            .unwrap_or_else(|| format!("anonymous-{:016x}", random_bits()).into());
        let core = Arc::new(Core::new(
            self.handle.producer_key(),
            Settings {
                stream: self.stream,
                id,
                epoch: self.epoch,
                batch_bytes_max: self.batch_bytes_max,
                batches_max: self.batches_max,
                one_to_one: !is_json(&status.content_type),
            },
        ));
        link.register_producer(Arc::clone(&core));
        let producer = Producer {
            core,
            handle: self.handle,
        };
        producer.core.attach(&link, &info);
        // Closed between the two lines above, nobody would ever tell it.
        link.check_open()?;
        Ok(producer)
    }
}

/// Whether a stream of this content type is in JSON mode.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Appends records to one stream, each exactly once, in order. See [`crate::Client::producer`].
///
/// [`Producer::send`] collects records while earlier batches are in flight; nothing waits for a timer, and a lone
/// record leaves at once. Lost connections are survived by sending again, without duplicate or gap. A refusal for
/// good (the stream is closed or deleted, `PRODUCER_FENCED` by a newer epoch) ends the producer: every later
/// call returns that error.
///
/// Dropping it sends what was accepted as long as the client lives, but nobody learns of failures:
/// prefer [`Producer::close`].
#[derive(Debug)]
pub struct Producer {
    core: Arc<Core>,
    handle: Arc<Handle>,
}

impl Producer {
    /// Accepts a record, and returns a receipt that resolves when it is durable. Waits only while the window is full, or the
    /// client's producers hold all they may ([`crate::ClientBuilder::producer_bytes_max`]).
    ///
    /// # Errors
    /// [`Error::TooLarge`] (the producer goes on), or what ended the producer.
    ///
    /// # Cancel safety
    /// Safe: dropped before it returns, the record was not accepted.
    pub async fn send(&self, payload: impl AsRef<[u8]>) -> Result<Receipt, Error> {
        let (payload, link) = (payload.as_ref(), &*self.handle.link);
        if let Some(receipt) = self.try_send(payload)? {
            return Ok(receipt);
        }
        let mut room = None;
        loop {
            let changed = self.core.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.core.push(link, payload, room.take())? {
                Push::Accepted(receipt) => return Ok(receipt),
                Push::WindowFull => changed.await,
                Push::RoomWanted(cost) => room = self.room(cost).await?,
            }
        }
    }

    /// Waits for room in what the client's producers share, in its place in the line; or until this one holds nothing, and may go
    /// on without.
    async fn room(&self, cost: u32) -> Result<Option<SemaphorePermit<'_>>, Error> {
        let room = self.handle.link.producing.acquire_many(cost);
        tokio::pin!(room);
        loop {
            let changed = self.core.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.core.is_idle()? {
                return Ok(None);
            }
            tokio::select! {
                biased;
                permit = &mut room => return Ok(permit.ok()),
                () = changed => {}
            }
        }
    }

    /// Accepts a record if there is room for it now.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub fn try_send(&self, payload: &[u8]) -> Result<Option<Receipt>, Error> {
        Ok(match self.core.push(&self.handle.link, payload, None)? {
            Push::Accepted(receipt) => Some(receipt),
            Push::WindowFull | Push::RoomWanted(_) => None,
        })
    }

    /// Waits until every record accepted so far is durable.
    ///
    /// # Errors
    /// What ended the producer.
    ///
    /// # Cancel safety
    /// Safe: sending goes on.
    pub async fn flush(&self) -> Result<(), Error> {
        loop {
            let changed = self.core.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.core.is_idle()? {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Flushes and ends the producer. The stream stays open.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    ///
    /// # Cancel safety
    /// Dropped early, it is as if the producer had been dropped.
    pub async fn close(self) -> Result<(), Error> {
        self.flush().await
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.core.abandon(&self.handle.link);
    }
}
