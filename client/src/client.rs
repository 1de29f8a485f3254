//! [`Client`]: the requests, one method each.
//!
//! A method builds its command, sends it through the [`Link`] and interprets the answer. What is safe to repeat is
//! repeated when the connection is lost underneath it; what is not fails with [`Error::Unconfirmed`]. Every awaited
//! request ends within the request timeout. Appends, which have their own path, are in `append`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use streamkeeper_protocol::command::{Close, Create, Delete, List, Read, Stat};
use streamkeeper_protocol::{Command, ErrorCode, Event, Str};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::builder::ClientBuilder;
use crate::error::{Doubt, Error};
use crate::link::{Answer, Link, Pending, kind};
use crate::listing::Listing;
use crate::options::{CreateOptions, ReadOptions, SubscribeOptions};
use crate::producer::ProducerBuilder;
use crate::subscription::Subscription;
use crate::types::{Created, ListPage, Page, ServerInfo, StreamEntry, StreamStatus};

/// A connection to a server that survives the connection's loss. Cloning is cheap and shares it.
///
/// The last clone (with every producer, subscription and pipeline made from it) closes the connection when dropped,
/// without waiting for answers; [`Client::close`] waits.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) handle: Arc<Handle>,
}

/// What keeps the connection task running: it ends when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) link: Arc<Link>,
    subscriptions: AtomicU32,
    producers: AtomicU64,
}

impl Handle {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            subscriptions: AtomicU32::new(1),
            producers: AtomicU64::new(0),
        }
    }

    /// An id no subscription of this client has had.
    pub(crate) fn subscription_id(&self) -> u32 {
        self.subscriptions.fetch_add(1, Ordering::Relaxed)
    }

    /// A key no producer of this client has had.
    pub(crate) fn producer_key(&self) -> u64 {
        self.producers.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.shutdown.notify_one();
    }
}

/// What happens to a request whose connection is lost before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// Sent again: doing it twice is as good as once.
    Safe,
    /// Not sent again: [`Error::Unconfirmed`] names it so.
    Unsafe(&'static str),
}

impl Client {
    /// Connects with the default settings to `HOST:PORT` or `unix:PATH`.
    ///
    /// Makes one attempt: the reconnect policy is for connections that were established.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::Connect`], [`Error::Version`], [`Error::TokenMissing`], [`Error::Refused`].
    ///
    /// # Panics
    /// Outside a tokio runtime with time and I/O enabled.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        Self::builder().connect(address).await
    }

    /// Settings to change before connecting.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// What the server said when the present connection was made; waits for one while reconnecting.
    ///
    /// # Errors
    /// [`Error::Disconnected`] after the request timeout, or what ended the client.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn server(&self) -> Result<Arc<ServerInfo>, Error> {
        let deadline = Instant::now() + self.link().config.request_timeout;
        self.link().connected(deadline).await
    }

    /// Creates a stream. If it exists with the same configuration, that is success too ([`Created::existed`]).
    ///
    /// # Errors
    /// [`Error::Refused`]: `ALREADY_EXISTS` with another configuration, `INVALID_NAME`, `INVALID_OPTIONS`.
    ///
    /// # Cancel safety
    /// Dropped early, the stream may or may not be created; calling again is safe.
    pub async fn create(
        &self,
        stream: impl Into<Str>,
        options: CreateOptions,
    ) -> Result<Created, Error> {
        let command = Command::Create(Create {
            stream: stream.into(),
            content_type: options.content_type,
            ttl_seconds: options.ttl.map(|ttl| ttl.as_secs()),
            expires_at: options.expires_at,
            max_age_ms: options.max_age.map(millis),
            max_records: options.max_records,
            max_bytes: options.max_bytes,
            storage: options.storage,
        });
        match self.request(command, Repeat::Safe, Duration::ZERO).await? {
            Event::Created(created) => Ok(Created {
                existed: created.exists,
                tail: created.tail,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Closes a stream for ever and returns its tail. Closing a closed stream is success.
    ///
    /// # Errors
    /// [`Error::Refused`]: `NOT_FOUND`.
    ///
    /// # Cancel safety
    /// Dropped early, the stream may or may not be closed; calling again is safe.
    pub async fn close_stream(&self, stream: impl Into<Str>) -> Result<u64, Error> {
        let command = Command::Close(Close {
            stream: stream.into(),
        });
        match self.request(command, Repeat::Safe, Duration::ZERO).await? {
            Event::Closed(closed) => Ok(closed.tail),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes a stream and all its records.
    ///
    /// # Errors
    /// [`Error::Refused`]: `NOT_FOUND`; [`Error::Unconfirmed`] if the connection was lost meanwhile (a repetition
    /// could not tell its own success from a stream that never was).
    ///
    /// # Cancel safety
    /// Dropped early, the stream may or may not be deleted.
    pub async fn delete(&self, stream: impl Into<Str>) -> Result<(), Error> {
        let command = Command::Delete(Delete {
            stream: stream.into(),
        });
        match self
            .request(command, Repeat::Unsafe("delete"), Duration::ZERO)
            .await?
        {
            Event::Deleted => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Everything the server knows of a stream.
    ///
    /// # Errors
    /// [`Error::Refused`]: `NOT_FOUND`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn stat(&self, stream: impl Into<Str>) -> Result<StreamStatus, Error> {
        let command = Command::Stat(Stat {
            stream: stream.into(),
        });
        match self.request(command, Repeat::Safe, Duration::ZERO).await? {
            Event::Status(status) => Ok(status.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// One page of the streams whose names begin with `prefix`, after `after` (`""`: from the first), at most
    /// `limit` of them.
    ///
    /// # Errors
    /// As any request.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn list_page(
        &self,
        prefix: impl Into<Str>,
        after: impl Into<Str>,
        limit: u32,
    ) -> Result<ListPage, Error> {
        let command = Command::List(List {
            prefix: prefix.into(),
            after: after.into(),
            limit,
        });
        match self.request(command, Repeat::Safe, Duration::ZERO).await? {
            Event::Listed(listed) => Ok(ListPage {
                streams: listed.streams.into_iter().map(StreamEntry::from).collect(),
                more: listed.more,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// All streams whose names begin with `prefix` (`""`: all), fetched page by page as they are asked for.
    pub fn list(&self, prefix: impl Into<Str>) -> Listing {
        Listing::new(self.clone(), prefix.into())
    }

    /// Reads records.
    ///
    /// # Errors
    /// [`Error::Refused`]: `NOT_FOUND`, `OFFSET_TRIMMED` (with `earliest`), `OFFSET_PAST_TAIL` (with `tail`);
    /// [`Error::Corrupt`] for a damaged record.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn read(&self, stream: impl Into<Str>, options: ReadOptions) -> Result<Page, Error> {
        let stream = stream.into();
        let command = Command::Read(Read {
            stream: stream.clone(),
            start: options.from,
            max_bytes: options.max_bytes,
            max_records: options.max_records,
            wait_ms: u32::try_from(options.wait.as_millis()).unwrap_or(u32::MAX),
        });
        match self.request(command, Repeat::Safe, options.wait).await? {
            Event::Records(records) => Page::from_wire(&stream, &records),
            other => Err(unexpected(&other)),
        }
    }

    /// Follows a stream: records are pushed as they become durable.
    ///
    /// # Errors
    /// [`Error::Refused`]: `NOT_FOUND`, `OFFSET_TRIMMED`, `OFFSET_PAST_TAIL`, `TOO_MANY_SUBSCRIPTIONS`.
    ///
    /// # Cancel safety
    /// Safe: dropped early, the subscription is taken back.
    pub async fn subscribe(
        &self,
        stream: impl Into<Str>,
        options: SubscribeOptions,
    ) -> Result<Subscription, Error> {
        Subscription::open(Arc::clone(&self.handle), stream.into(), options).await
    }

    /// An idempotent, batching, pipelining producer for one stream.
    pub fn producer(&self, stream: impl Into<Str>) -> ProducerBuilder {
        ProducerBuilder::new(Arc::clone(&self.handle), stream.into())
    }

    /// Waits until everything in flight has its outcome, then closes the connection for every clone.
    ///
    /// Producers have their own [`flush`](crate::Producer::flush); close them first. Waits at most the request timeout.
    ///
    /// # Cancel safety
    /// Dropped early, the client stays open.
    pub async fn close(self) {
        let link = self.link();
        // Too late or not, the outcome is the same: closed.
        drop(tokio::time::timeout(link.config.request_timeout, link.settled()).await);
        link.shutdown.notify_one();
        link.ended().await;
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.handle.link
    }

    /// Sends a command and waits for its reply, `wait` longer than the request timeout.
    async fn request(
        &self,
        command: Command,
        repeat: Repeat,
        wait: Duration,
    ) -> Result<Event, Error> {
        let waited = self.link().config.request_timeout.saturating_add(wait);
        let deadline = Instant::now() + waited;
        loop {
            let mut sent = false;
            let answer = timeout_at(deadline, self.ask(&command, deadline, &mut sent)).await;
            match (answer, repeat) {
                (Ok(Ok(Answer::Reply(event))), _) => return Ok(event),
                // The server began nothing: repeating is safe, and waits for the next connection.
                (Ok(Ok(Answer::Refused(refusal))), _)
                    if refusal.code == Some(ErrorCode::Draining) => {}
                (Ok(Ok(Answer::Refused(refusal))), _) => return Err(refusal.into()),
                (Ok(Ok(Answer::Lost)), Repeat::Safe) => {}
                (Ok(Ok(Answer::Lost)), Repeat::Unsafe(request)) => {
                    return Err(Error::Unconfirmed {
                        request,
                        doubt: Doubt::ConnectionLost,
                    });
                }
                (Ok(Err(error)), _) => return Err(error),
                (Err(_elapsed), Repeat::Unsafe(request)) if sent => {
                    return Err(Error::Unconfirmed {
                        request,
                        doubt: Doubt::TimedOut,
                    });
                }
                (Err(_elapsed), _) => return Err(Error::TimedOut { waited }),
            }
        }
    }

    /// Sends a command once and waits for what becomes of it.
    async fn ask(
        &self,
        command: &Command,
        deadline: Instant,
        sent: &mut bool,
    ) -> Result<Answer, Error> {
        let (waiter, answer) = oneshot::channel();
        let pending = Pending::Request(waiter);
        self.link()
            .send(
                REQUEST_BYTES,
                Some(deadline),
                pending,
                |outbox, correlation| {
                    outbox.command(command, correlation);
                },
            )
            .await?;
        *sent = true;
        // A waiter dropped without an answer met a reply that broke the protocol; its connection is lost.
        Ok(answer.await.unwrap_or(Answer::Lost))
    }
}

/// What a request that carries no records is taken to hold of the room: a name, some numbers.
const REQUEST_BYTES: usize = 256;

/// The error for a reply of the wrong kind.
fn unexpected(event: &Event) -> Error {
    Error::Protocol {
        detail: format!("{} in answer to another request", kind(event)),
    }
}

/// Whole milliseconds, saturating.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
