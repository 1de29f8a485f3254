//! HTTP/1.1 for tests: requests pipelined on one connection, answers in their order.
//!
//! Small on purpose, and ignorant of the crate: what goes over the wire is what the test says. A connection that breaks
//! is an answer too ([`Lost`]); bytes that are no HTTP fail the test.

use std::fmt::{Display, Write as _};
use std::io;
use std::sync::Arc;

use httparse::{EMPTY_HEADER, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc, oneshot};

/// The connection broke before the answer was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl<E: std::error::Error> From<E> for Lost {
    fn from(_: E) -> Self {
        Self
    }
}

/// A request to be.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    target: String,
    headers: String,
    body: Vec<u8>,
}

impl Request {
    /// A request for a stream, with the query after its name if there is one.
    pub fn new(method: &'static str, stream: &str) -> Self {
        Self {
            method,
            target: format!("/v1/stream/{stream}"),
            headers: String::new(),
            body: Vec::new(),
        }
    }

    pub fn header(mut self, name: &str, value: impl Display) -> Self {
        write!(self.headers, "{name}: {value}\r\n").expect("a string takes text");
        self
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", content_type)
    }

    fn bytes(&self, host: &str) -> Vec<u8> {
        let Self {
            method,
            target,
            headers,
            body,
        } = self;
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; its name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Resolves to the answer; an error if the connection is lost before.
pub type Ticket = oneshot::Receiver<Answer>;

/// A connection. Its clones share it.
#[derive(Clone, Debug)]
pub struct Http {
    host: String,
    sending: Arc<Mutex<Sending>>,
}

#[derive(Debug)]
struct Sending {
    socket: OwnedWriteHalf,
    awaited: mpsc::UnboundedSender<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    to_head: bool,
    answer: oneshot::Sender<Answer>,
}

impl Http {
    pub async fn connect(address: &str) -> io::Result<Self> {
        let (mut incoming, socket) = Incoming::connect(address).await?;
        let (awaited, mut next) = mpsc::unbounded_channel::<Awaited>();
        tokio::spawn(async move {
            while let Some(Awaited { to_head, answer }) = next.recv().await {
                let Ok(got) = incoming.answer(to_head).await else {
                    // With the receiver all awaited answers are dropped, which tells that they are lost.
                    return;
                };
                // Whoever asked may have lost interest.
                answer.send(got).ok();
            }
        });
        Ok(Self {
            host: address.to_owned(),
            sending: Arc::new(Mutex::new(Sending { socket, awaited })),
        })
    }

    /// Sends a request without waiting for answers to earlier ones.
    pub async fn send(&self, request: &Request) -> Result<Ticket, Lost> {
        let bytes = request.bytes(&self.host);
        let (answer, ticket) = oneshot::channel();
        let to_head = request.method == "HEAD";
        let mut sending = self.sending.lock().await;
        let awaited = Awaited { to_head, answer };
        sending.awaited.send(awaited)?;
        sending.socket.write_all(&bytes).await?;
        Ok(ticket)
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&self, request: &Request) -> Result<Answer, Lost> {
        Ok(self.send(request).await?.await?)
    }
}

/// What comes in on a connection.
#[derive(Debug)]
pub struct Incoming {
    socket: OwnedReadHalf,
    received: Vec<u8>,
}

impl Incoming {
    pub async fn connect(address: &str) -> io::Result<(Self, OwnedWriteHalf)> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (socket, sending) = socket.into_split();
        let received = Vec::new();
        Ok((Self { socket, received }, sending))
    }

    async fn answer(&mut self, to_head: bool) -> Result<Answer, Lost> {
        let mut answer = self.head().await?;
        if to_head || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().expect("a length is a number");
            answer.body = self.take(length).await?;
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk().await? {
                answer.body.extend(chunk);
            }
        }
        Ok(answer)
    }

    /// The next answer without its body.
    pub async fn head(&mut self) -> Result<Answer, Lost> {
        loop {
            let mut headers = [EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            let parsed = head.parse(&self.received).expect("answers are HTTP");
            if let (Status::Complete(length), Some(status)) = (parsed, head.code) {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let named = head.headers.iter();
                let headers = named
                    .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
                    .collect();
                self.received.drain(..length);
                let body = Vec::new();
                return Ok(Answer {
                    status,
                    headers,
                    body,
                });
            }
            self.receive().await?;
        }
    }

    /// The next chunk of a body; nothing after the last.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Lost> {
        loop {
            let parsed = httparse::parse_chunk_size(&self.received).expect("bodies are chunked");
            if let Status::Complete((line, length)) = parsed {
                self.received.drain(..line);
                let length = usize::try_from(length).expect("chunks are small");
                let chunk = self.take(length).await?;
                self.take("\r\n".len()).await?;
                return Ok((length > 0).then_some(chunk));
            }
            self.receive().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, Lost> {
        while self.received.len() < length {
            self.receive().await?;
        }
        Ok(self.received.drain(..length).collect())
    }

    async fn receive(&mut self) -> Result<(), Lost> {
        match self.socket.read_buf(&mut self.received).await {
            Ok(0) | Err(_) => Err(Lost),
            Ok(_) => Ok(()),
        }
    }
}
