//! Appends: one record or a batch, awaited or pipelined.
//!
//! The hot path. A single record is encoded straight into the outbox: no allocation of its own, no task and no timer.
//! An append is never repeated by itself, because the client cannot know whether the first one counted; a
//! [`crate::Producer`] can.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use streamkeeper_protocol::command::{Append, Producer};
use streamkeeper_protocol::record::RECORD_HEADER_BYTES;
use streamkeeper_protocol::{RecordBlock, RecordBlockBuilder, Str};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::error::{Doubt, Error, Part};
use crate::link::{Link, Pending};
use crate::options::AppendOptions;
use crate::types::Appended;

/// From this size on a record is encoded before the link is locked, so that nobody waits for its checksum.
const ENCODE_AHEAD_BYTES_MIN: usize = 4 * 1024;

/// The most an APPEND frame holds besides its names and records: header, lengths, numbers.
const APPEND_BYTES: usize = 64;

/// A pipelined append's answer, to be awaited whenever it suits.
///
/// Resolves to [`Error::Unconfirmed`] if the connection is lost first. Dropping it drops the answer, not the append.
#[derive(Debug)]
#[must_use = "an append may be refused: await the ticket, or drop it explicitly"]
pub struct Ticket {
    answer: oneshot::Receiver<Result<Appended, Error>>,
}

impl Future for Ticket {
    type Output = Result<Appended, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| {
            // A waiter dropped without an answer met a reply that broke the protocol; its connection is lost.
            answer.unwrap_or(Err(Error::Unconfirmed {
                request: "append",
                doubt: Doubt::ConnectionLost,
            }))
        })
    }
}

impl Client {
    /// Appends one record and waits until it is durable.
    ///
    /// # Errors
    /// [`Error::Refused`]: `NOT_FOUND`, `STREAM_CLOSED`, `DRAINING` (nothing was stored: retry); [`Error::Unconfirmed`] if the connection was lost or no
    /// answer came: the record may or may not be stored; [`Error::TooLarge`].
    ///
    /// # Cancel safety
    /// Dropped early, the record may or may not be appended.
    pub async fn append(
        &self,
        stream: impl Into<Str>,
        payload: impl AsRef<[u8]>,
    ) -> Result<Appended, Error> {
        self.confirmed(self.append_pipelined(stream, payload)).await
    }

    /// Appends records as one batch, all or none, and waits until they are durable.
    ///
    /// # Errors
    /// As [`Client::append`], and what the options can cause: `SEQ_CONFLICT`, `PRODUCER_*`, `TAIL_MISMATCH`;
    /// `EMPTY_BATCH` if there is no record and the stream is not to be closed.
    ///
    /// # Cancel safety
    /// Dropped early, the batch may or may not be appended.
    pub async fn append_batch<I>(
        &self,
        stream: impl Into<Str>,
        payloads: I,
        options: AppendOptions,
    ) -> Result<Appended, Error>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        self.confirmed(self.append_batch_pipelined(stream, payloads, options))
            .await
    }

    /// Appends one record and returns once it is on its way; the ticket resolves when it is durable.
    ///
    /// Waits only for room ([`crate::ClientBuilder::in_flight_bytes_max`]) or a connection. Records of one task are
    /// stored in the order of the calls.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Disconnected`] after the request timeout without a connection, or what ended
    /// the client; nothing was sent then.
    ///
    /// # Cancel safety
    /// Safe: dropped before it returns, nothing was sent.
    pub async fn append_pipelined(
        &self,
        stream: impl Into<Str>,
        payload: impl AsRef<[u8]>,
    ) -> Result<Ticket, Error> {
        let (waiter, answer) = oneshot::channel();
        self.link()
            .append_record(stream.into(), payload.as_ref(), Pending::Append(waiter))
            .await?;
        Ok(Ticket { answer })
    }

    /// Appends records as one batch and returns once it is on its way; see [`Client::append_pipelined`].
    ///
    /// # Errors
    /// As [`Client::append_pipelined`].
    ///
    /// # Cancel safety
    /// Safe: dropped before it returns, nothing was sent.
    pub async fn append_batch_pipelined<I>(
        &self,
        stream: impl Into<Str>,
        payloads: I,
        options: AppendOptions,
    ) -> Result<Ticket, Error>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        let records = self.link().block(payloads)?;
        let append = Append {
            stream: stream.into(),
            seq: options.seq,
            producer: options
                .producer
                .map(|(id, epoch, seq)| Producer { id, epoch, seq }),
            expected_tail: options.expected_tail,
            close_after: options.close_after,
            no_confirm: false,
            count: records.count(),
            records: records.into_bytes(),
        };
        let (waiter, answer) = oneshot::channel();
        self.link()
            .append_block(&append, Pending::Append(waiter))
            .await?;
        Ok(Ticket { answer })
    }

    /// Sends, then waits for the confirm, all within the request timeout.
    async fn confirmed(
        &self,
        sending: impl Future<Output = Result<Ticket, Error>>,
    ) -> Result<Appended, Error> {
        let waited = self.link().config.request_timeout;
        let deadline = Instant::now() + waited;
        let ticket = match timeout_at(deadline, sending).await {
            Ok(sent) => sent?,
            Err(_elapsed) => return Err(Error::TimedOut { waited }),
        };
        match timeout_at(deadline, ticket).await {
            Ok(confirmed) => confirmed,
            Err(_elapsed) => Err(Error::Unconfirmed {
                request: "append",
                doubt: Doubt::TimedOut,
            }),
        }
    }
}

impl Link {
    /// Sends one record as an append of its own.
    pub(crate) async fn append_record(
        &self,
        stream: Str,
        payload: &[u8],
        pending: Pending,
    ) -> Result<(), Error> {
        check(Part::Record, payload.len(), self.record_bytes_max())?;
        let mut append = Append {
            stream,
            count: 1,
            ..Append::default()
        };
        if payload.len() >= ENCODE_AHEAD_BYTES_MIN {
            append.records = RecordBlock::from_payloads([payload]).into_bytes();
            return self.append_block(&append, pending).await;
        }
        let bytes =
            APPEND_BYTES + append.stream.as_bytes().len() + RECORD_HEADER_BYTES + payload.len();
        check(Part::Frame, bytes, self.frame_bytes_max())?;
        self.send(bytes, None, pending, |outbox, correlation| {
            outbox.append_record(&append, payload, correlation);
        })
        .await
    }

    /// Sends an append with its encoded records.
    async fn append_block(&self, append: &Append, pending: Pending) -> Result<(), Error> {
        check(Part::Batch, append.count as usize, self.batch_records_max())?;
        let bytes = APPEND_BYTES
            + append.stream.as_bytes().len()
            + append.seq.as_ref().map_or(0, Bytes::len)
            + append
                .producer
                .as_ref()
                .map_or(0, |producer| producer.id.as_bytes().len())
            + append.records.len();
        check(Part::Frame, bytes, self.frame_bytes_max())?;
        self.send(bytes, None, pending, |outbox, correlation| {
            outbox.append(append, correlation);
        })
        .await
    }

    /// Encodes payloads, each within the server's limit.
    fn block<I>(&self, payloads: I) -> Result<RecordBlock, Error>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        let limit = self.record_bytes_max();
        let mut block = RecordBlockBuilder::new();
        for payload in payloads {
            let payload = payload.as_ref();
            check(Part::Record, payload.len(), limit)?;
            block.push(payload);
        }
        Ok(block.finish())
    }
}

/// Compares a size with the server's limit.
fn check(what: Part, have: usize, limit: u32) -> Result<(), Error> {
    if have <= limit as usize {
        return Ok(());
    }
    Err(Error::TooLarge {
        what,
        have: have as u64,
        limit: limit.into(),
    })
}
