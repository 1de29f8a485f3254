//! One HTTP/1.1 connection: bytes out, answers in, in order.
//!
//! Reads only as much of an answer as tells where the next one begins. A status that is no success ends the run.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Buf as _, BytesMut};
use httparse::{EMPTY_HEADER, Header, Response, Status};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::cli::failure::{Code, Failure};

/// Headers that one answer may have.
const HEADERS_MAX: usize = 32;

const RECEIVE_BYTES: usize = 16 << 10;

/// A connection to send on.
#[derive(Debug)]
pub(super) struct Sender(OwnedWriteHalf);

/// A connection to take answers from.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: OwnedReadHalf,
    received: BytesMut,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
}

/// The head of an answer: its length, and of its body, unless that comes in chunks.
struct Head {
    status: u16,
    length: usize,
    body: Option<usize>,
}

impl Connection {
    pub(super) async fn open(address: &str) -> Result<Self, Failure> {
        let socket = TcpStream::connect(address)
            .await
            .map_err(|error| Failure::Other {
                message: format!("cannot connect to http://{address}: {error}"),
                code: Code::NoConnection,
            })?;
        socket.set_nodelay(true).map_err(lost)?;
        let (receiving, sending) = socket.into_split();
        Ok(Self {
            sender: Sender(sending),
            receiver: Receiver {
                socket: receiving,
                received: BytesMut::with_capacity(RECEIVE_BYTES),
            },
        })
    }

    pub(super) async fn send(&mut self, requests: &[u8]) -> Result<(), Failure> {
        self.sender.send(requests).await
    }

    /// Waits for the next answer.
    pub(super) async fn answer(&mut self) -> Result<(), Failure> {
        self.receiver.answer().await
    }
}

impl Sender {
    pub(super) async fn send(&mut self, requests: &[u8]) -> Result<(), Failure> {
        self.0.write_all(requests).await.map_err(lost)
    }
}

impl Receiver {
    /// Waits for the next answer.
    pub(super) async fn answer(&mut self) -> Result<(), Failure> {
        while !self.take_answer()? {
            self.receive().await?;
        }
        Ok(())
    }

    /// Takes an answer that is there already, if one is.
    pub(super) fn take_answer(&mut self) -> Result<bool, Failure> {
        let Some(head) = head(&self.received)? else {
            return Ok(false);
        };
        let rest = self.received.get(head.length..).unwrap_or_default();
        let Some(body) = head
            .body
            .map_or_else(|| chunks(rest), |length| Ok(Some(length)))?
        else {
            return Ok(false);
        };
        let length = head.length + body;
        if self.received.len() < length {
            return Ok(false);
        }
        let answer = self.received.split_to(length);
        succeeded(&head, answer.get(head.length..).unwrap_or_default())?;
        Ok(true)
    }

    /// Waits for the head of an answer whose body comes in chunks, without end; gives what came of the body.
    pub(super) async fn chunked(&mut self) -> Result<BytesMut, Failure> {
        loop {
            if let Some(head) = head(&self.received)? {
                self.received.advance(head.length);
                succeeded(&head, &self.received)?;
                if head.body.is_some() {
                    return Err(broken("an answer with a length, where events should come"));
                }
                return Ok(std::mem::take(&mut self.received));
            }
            self.receive().await?;
        }
    }

    /// Waits for more bytes of a body and hands them to `take`: none at the end of the connection. They lie on the stack, which
    /// is in the cache when the next of many connections has some; a buffer of its own would not be.
    pub(super) async fn more<T>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        poll_fn(|context| {
            let mut place = [MaybeUninit::uninit(); RECEIVE_BYTES];
            let mut received = ReadBuf::uninit(&mut place);
            let read = ready!(Pin::new(&mut self.socket).poll_read(context, &mut received));
            Poll::Ready(read.map_err(lost).and_then(|()| take(received.filled())))
        })
        .await
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        self.received.reserve(RECEIVE_BYTES);
        match self.socket.read_buf(&mut self.received).await {
            Ok(0) => Err(lost("the broker closed the connection")),
            Ok(_) => Ok(()),
            Err(error) => Err(lost(error)),
        }
    }
}

/// The head of the first answer in `bytes`, if it is whole.
fn head(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(broken)?;
    let (Status::Complete(length), Some(status)) = (parsed, response.code) else {
        return Ok(None);
    };
    Ok(Some(Head {
        status,
        length,
        body: body_length(status, response.headers)?,
    }))
}

fn body_length(status: u16, headers: &[Header<'_>]) -> Result<Option<usize>, Failure> {
    if status == 204 {
        return Ok(Some(0));
    }
    let named = |name: &str| {
        headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
    };
    match named("content-length") {
        Some(length) => {
            let digits = std::str::from_utf8(length.value).ok();
            let length = digits.and_then(|digits| digits.parse().ok());
            length
                .map(Some)
                .ok_or_else(|| broken("a length that is no number"))
        }
        None if named("transfer-encoding").is_some() => Ok(None),
        None => Ok(Some(0)),
    }
}

/// The length of a body in chunks, if it is whole.
fn chunks(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let mut length = 0;
    loop {
        let rest = bytes.get(length..).unwrap_or_default();
        let Status::Complete((line, chunk)) = httparse::parse_chunk_size(rest).map_err(broken)?
        else {
            return Ok(None);
        };
        let chunk = usize::try_from(chunk).map_err(broken)?;
        length = length
            .saturating_add(line)
            .saturating_add(chunk)
            .saturating_add("\r\n".len());
        if length > bytes.len() {
            return Ok(None);
        }
        if chunk == 0 {
            return Ok(Some(length));
        }
    }
}

fn succeeded(head: &Head, body: &[u8]) -> Result<(), Failure> {
    if (200..300).contains(&head.status) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(body);
    Err(Failure::Other {
        message: format!("the broker answered {}: {}", head.status, said.trim()),
        code: Code::Refused,
    })
}

fn lost(error: impl std::fmt::Display) -> Failure {
    Failure::Other {
        message: format!("the HTTP connection broke: {error}"),
        code: Code::Unavailable,
    }
}

fn broken(what: impl std::fmt::Display) -> Failure {
    Failure::io("reading an HTTP answer", what)
}
