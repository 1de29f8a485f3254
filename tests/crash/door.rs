//! The way into the broker that a writer takes in one round: TCP or HTTP. What comes back is told in the same words.
//!
//! Either way appends go over one connection without waiting for each other, and their answers come in order. Over HTTP
//! an append is a POST, whose body is one record.

use streamkeeper_client::{AppendOptions, Client, CreateOptions, Error, ErrorCode};

use crate::found::fail;
use crate::history::Batch;
use crate::http::{self, Answer, Http, Request};
use crate::owned::{Settings, seq_text};

const OCTETS: &str = "application/octet-stream";

/// See the module.
#[derive(Clone, Debug)]
pub enum Door {
    Tcp(Client),
    Http(Http),
}

/// Why something was not done.
#[derive(Debug)]
pub enum No {
    /// The connection is lost, and with it the answer.
    Lost,
    /// The stream is closed, with this tail.
    Closed(u64),
    /// The seq did not grow.
    SeqConflict,
    /// Refused for another reason.
    Refused(String),
}

/// An append that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    pub tail: u64,
    pub duplicate: bool,
    pub closed: bool,
}

/// An append under way.
#[derive(Debug)]
pub enum Ticket {
    Tcp(streamkeeper_client::Ticket),
    Http(http::Ticket, IsStamped),
}

/// Whether an append was of a producer: then an answer without news is one to a duplicate.
#[derive(Clone, Copy, Debug)]
pub struct IsStamped(bool);

impl Door {
    /// The most records that go into one append.
    pub fn records_max(&self) -> usize {
        match self {
            Self::Tcp(_) => 12,
            Self::Http(_) => 1,
        }
    }

    /// Creates a stream; answers whether it existed, and its tail.
    pub async fn create(&self, stream: &str, settings: Settings) -> Result<(bool, u64), No> {
        let Settings {
            max_records,
            max_bytes,
            ttl,
        } = settings;
        match self {
            Self::Tcp(client) => {
                let mut options = CreateOptions::new();
                if let Some(max) = max_records {
                    options = options.max_records(max);
                }
                if let Some(max) = max_bytes {
                    options = options.max_bytes(max);
                }
                if let Some(ttl) = ttl {
                    options = options.ttl(ttl);
                }
                let created = client.create(stream, options).await?;
                Ok((created.existed, created.tail))
            }
            Self::Http(http) => {
                let mut put = Request::new("PUT", stream);
                if let Some(max) = max_records {
                    put = put.header("Stream-Retention-Max-Records", max);
                }
                if let Some(max) = max_bytes {
                    put = put.header("Stream-Retention-Max-Bytes", max);
                }
                if let Some(ttl) = ttl {
                    put = put.header("Stream-TTL", ttl.as_secs());
                }
                let answer = accepted(http.ask(&put).await?)?;
                Ok((answer.status == 200, tail(&answer)))
            }
        }
    }

    /// Closes a stream; answers its tail.
    pub async fn close(&self, stream: &str) -> Result<u64, No> {
        match self {
            Self::Tcp(client) => Ok(client.close_stream(stream).await?),
            Self::Http(http) => {
                let close = Request::new("POST", stream).header("Stream-Closed", "true");
                Ok(tail(&accepted(http.ask(&close).await?)?))
            }
        }
    }

    pub async fn delete(&self, stream: &str) -> Result<(), No> {
        match self {
            Self::Tcp(client) => Ok(client.delete(stream).await?),
            Self::Http(http) => {
                let delete = Request::new("DELETE", stream);
                accepted(http.ask(&delete).await?).map(drop)
            }
        }
    }

    /// Sends an append.
    pub async fn append(&self, stream: &str, batch: &Batch) -> Result<Ticket, No> {
        match self {
            Self::Tcp(client) => {
                let mut options = AppendOptions::new();
                if let Some(seq) = batch.seq {
                    options = options.seq(seq_text(seq));
                }
                if let Some((epoch, seq)) = batch.stamp {
                    options = options.producer("producer", epoch, seq);
                }
                if batch.close {
                    options = options.close_after();
                }
                let payloads = batch.records.iter().map(|record| record.payload());
                let sent = client.append_batch_pipelined(stream, payloads, options);
                Ok(Ticket::Tcp(sent.await?))
            }
            Self::Http(http) => {
                let sent = http.send(&post(stream, batch)).await?;
                Ok(Ticket::Http(sent, IsStamped(batch.stamp.is_some())))
            }
        }
    }
}

/// The request that appends a batch of one record.
fn post(stream: &str, batch: &Batch) -> Request {
    let [record] = batch.records[..] else {
        fail(&format!("{stream}: {batch:?} does not fit into a POST"))
    };
    let mut post = Request::new("POST", stream).body(OCTETS, record.payload());
    if let Some(seq) = batch.seq {
        let seq = seq_text(seq);
        post = post.header("Stream-Seq", String::from_utf8_lossy(&seq));
    }
    if let Some((epoch, seq)) = batch.stamp {
        post = post.header("Producer-Id", "producer");
        post = post
            .header("Producer-Epoch", epoch)
            .header("Producer-Seq", seq);
    }
    if batch.close {
        post = post.header("Stream-Closed", "true");
    }
    post
}

impl Ticket {
    pub async fn outcome(self) -> Result<Confirmed, No> {
        match self {
            Self::Tcp(ticket) => {
                let appended = ticket.await?;
                Ok(Confirmed {
                    tail: appended.tail,
                    duplicate: appended.duplicate,
                    closed: appended.closed,
                })
            }
            Self::Http(ticket, IsStamped(is_stamped)) => {
                let answer = accepted(ticket.await.map_err(http::Lost::from)?)?;
                Ok(Confirmed {
                    tail: tail(&answer),
                    duplicate: is_stamped && answer.status == 204,
                    closed: is_closed(&answer),
                })
            }
        }
    }
}

fn accepted(answer: Answer) -> Result<Answer, No> {
    match answer.status {
        200..300 => Ok(answer),
        409 if is_closed(&answer) => Err(No::Closed(tail(&answer))),
        409 if String::from_utf8_lossy(&answer.body).contains("SEQ_CONFLICT") => {
            Err(No::SeqConflict)
        }
        _ => Err(No::Refused(format!("{answer:?}"))),
    }
}

fn is_closed(answer: &Answer) -> bool {
    answer.header("stream-closed") == Some("true")
}

/// The record part of the offset that an answer names.
fn tail(answer: &Answer) -> u64 {
    let next = answer.header("stream-next-offset");
    let record = next.and_then(|next| next.split('_').next()?.parse().ok());
    record.unwrap_or_else(|| fail(&format!("{answer:?} names no offset")))
}

impl From<http::Lost> for No {
    fn from(http::Lost: http::Lost) -> Self {
        Self::Lost
    }
}

impl From<Error> for No {
    fn from(error: Error) -> Self {
        let Some(refusal) = error.refusal() else {
            return Self::Lost;
        };
        match (refusal.code, refusal.tail) {
            (Some(ErrorCode::SeqConflict), _) => Self::SeqConflict,
            (Some(ErrorCode::StreamClosed), Some(tail)) => Self::Closed(tail),
            _ => Self::Refused(error.to_string()),
        }
    }
}
