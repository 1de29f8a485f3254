//! A scripted server.
//!
//! [`Server`] listens on a loopback port; [`Peer`] is one accepted connection, on which a test reads commands and sends
//! events. Every wait has a deadline, so a missing frame fails the test instead of hanging it.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use streamkeeper_client::{Client, ClientBuilder, Dial, Dialing, Reconnect, Transport};
use streamkeeper_protocol::command::{Append, Read, Storage, Subscribe};
use streamkeeper_protocol::event::{
    Confirm, ConfirmEntry, Connected, Deliver, Info, Records, Status, Subscribed,
};
use streamkeeper_protocol::limits::{FRAME_BYTES_MAX, Limits, VERSION};
use streamkeeper_protocol::{Command, Event, RecordBlock, Run, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

/// How long a test waits for anything before it fails. Paused clocks skip it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Awaits `future`, or fails the test.
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future)
        .await
        .expect("this should have happened by now")
}

/// A listening server.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    pub async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Accepts a connection, without a word.
    pub async fn accept_silent(&self) -> Peer {
        let (socket, _) = soon(self.listener.accept()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Peer::new(socket)
    }

    /// Accepts a connection and shakes hands.
    pub async fn accept(&self) -> Peer {
        let mut peer = self.accept_silent().await;
        peer.shake_hands().await;
        peer
    }
}

/// A client with quick reconnects and its server side.
pub async fn connected() -> (Server, Client, Peer) {
    connected_with(|builder| builder).await
}

/// As [`connected`], with settings of the test.
pub async fn connected_with(
    settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> (Server, Client, Peer) {
    let server = Server::start().await;
    let address = server.address();
    let builder = settings(Client::builder().reconnect(quickly()));
    let (client, peer) = tokio::join!(builder.connect(&address), server.accept());
    (server, client.unwrap(), peer)
}

/// Reconnects after a millisecond, for ever.
pub fn quickly() -> Reconnect {
    Reconnect::default()
        .base(Duration::from_millis(1))
        .max(Duration::from_millis(5))
}

/// What a server says first.
pub fn info() -> Info {
    Info {
        server_id: "scripted".into(),
        server_version: "0.0.0".into(),
        version_min: VERSION,
        version_max: VERSION,
        heartbeat_ms: 0,
        auth_required: false,
        limits: Limits::default(),
        features: None,
    }
}

/// The server's end of one connection.
pub struct Peer {
    socket: Box<dyn Transport>,
    received: BytesMut,
}

impl Peer {
    pub fn new(socket: impl Transport + 'static) -> Self {
        Self {
            socket: Box::new(socket),
            received: BytesMut::new(),
        }
    }

    pub async fn shake_hands(&mut self) {
        self.shake_hands_as(info()).await;
    }

    pub async fn shake_hands_as(&mut self, info: Info) {
        self.send(0, &Event::Info(info)).await;
        let (_, connect) = self.command().await;
        assert!(matches!(connect, Command::Connect(_)), "{connect:?}");
        self.send(
            0,
            &Event::Connected(Connected {
                session: 1,
                version: VERSION,
            }),
        )
        .await;
    }

    /// The next command and its correlation id.
    pub async fn command(&mut self) -> (u32, Command) {
        soon(self.try_command()).await.expect("the client hung up")
    }

    /// The next command, or `None` at the end of the connection.
    pub async fn try_command(&mut self) -> Option<(u32, Command)> {
        loop {
            if let Some(frame) = frame::split(&mut self.received, FRAME_BYTES_MAX).unwrap() {
                return Some((frame.header.correlation, Command::decode(&frame).unwrap()));
            }
            match self.socket.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub async fn append(&mut self) -> (u32, Append) {
        match self.command().await {
            (correlation, Command::Append(append)) => (correlation, append),
            other => panic!("instead of an APPEND: {other:?}"),
        }
    }

    pub async fn read(&mut self) -> (u32, Read) {
        match self.command().await {
            (correlation, Command::Read(read)) => (correlation, read),
            other => panic!("instead of a READ: {other:?}"),
        }
    }

    pub async fn subscribe(&mut self) -> (u32, Subscribe) {
        match self.command().await {
            (correlation, Command::Subscribe(subscribe)) => (correlation, subscribe),
            other => panic!("instead of a SUBSCRIBE: {other:?}"),
        }
    }

    /// Reads a SUBSCRIBE and accepts it from `next` on.
    pub async fn accept_subscribe(&mut self, next: u64) -> Subscribe {
        let (correlation, subscribe) = self.subscribe().await;
        let subscription = subscribe.subscription;
        let reply = Subscribed {
            subscription,
            next,
            tail: next,
        };
        self.send(correlation, &Event::Subscribed(reply)).await;
        subscribe
    }

    /// Reads a STAT and answers with a stream whose numbers count up.
    pub async fn answer_stat(&mut self, content_type: &str) {
        let (correlation, command) = self.command().await;
        assert!(matches!(command, Command::Stat(_)), "{command:?}");
        let status = Status {
            content_type: content_type.into(),
            created_at: 1,
            closed: true,
            storage: Storage::Durable,
            earliest: 2,
            earliest_byte: 3,
            tail: 4,
            tail_byte: 5,
            ttl_seconds: Some(6),
            expires_at: None,
            max_age_ms: Some(7),
            max_records: None,
            max_bytes: Some(8),
            last_seq: Some("s".into()),
            last_append_at: Some(9),
        };
        self.send(correlation, &Event::Status(status)).await;
    }

    pub async fn send(&mut self, correlation: u32, event: &Event) {
        let mut bytes = BytesMut::new();
        event.encode(correlation, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.socket.write_all(bytes)).await.unwrap();
        soon(self.socket.flush()).await.unwrap();
    }

    /// Confirms appends, in one frame: correlation ids and tails.
    pub async fn confirm(&mut self, entries: &[(u32, u64)]) {
        let entries = entries
            .iter()
            .map(|(correlation, tail)| entry(*correlation, *tail));
        self.send(
            0,
            &Event::Confirm(Confirm {
                entries: entries.collect(),
            }),
        )
        .await;
    }

    /// Delivers payloads as one run from `first` on.
    pub async fn deliver(&mut self, subscription: u32, first: u64, payloads: &[&str]) {
        let runs = runs(first, payloads);
        self.send(0, &Event::Deliver(Deliver { subscription, runs }))
            .await;
    }
}

/// An entry of a CONFIRM without flags.
pub fn entry(correlation: u32, tail: u64) -> ConfirmEntry {
    ConfirmEntry {
        correlation,
        duplicate: false,
        closed: false,
        tail,
    }
}

/// One encoded run.
pub fn runs(first: u64, payloads: &[&str]) -> Bytes {
    let mut bytes = BytesMut::new();
    Run::new(
        &RecordBlock::from_payloads(payloads),
        first,
        first * 10,
        1_000,
    )
    .encode(&mut bytes);
    bytes.freeze()
}

/// A RECORDS reply.
pub fn records(first: u64, payloads: &[&str]) -> Records {
    let next = first + payloads.len() as u64;
    let runs = runs(first, payloads);
    Records {
        more: false,
        closed: false,
        next,
        next_byte: 0,
        tail: next,
        runs,
    }
}

/// The payloads of an APPEND.
pub fn payloads(append: &Append) -> Vec<Bytes> {
    let block = RecordBlock::parse(append.records.clone(), append.count, &Limits::default());
    block.unwrap().payloads().collect()
}

/// Connects clients to in-memory pipes; the test gets the other ends.
#[derive(Debug)]
pub struct Pipes {
    made: mpsc::UnboundedSender<DuplexStream>,
    buffer_bytes: usize,
}

/// The other ends of [`Pipes`].
pub struct PipeEnds {
    made: Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
}

/// Pipes that hold `buffer_bytes` in each direction.
pub fn pipes(buffer_bytes: usize) -> (Pipes, PipeEnds) {
    let (made, ends) = mpsc::unbounded_channel();
    (
        Pipes { made, buffer_bytes },
        PipeEnds {
            made: Mutex::new(ends),
        },
    )
}

impl PipeEnds {
    pub async fn accept_silent(&self) -> Peer {
        Peer::new(
            soon(async { self.made.lock().await.recv().await })
                .await
                .unwrap(),
        )
    }
}

impl Dial for Pipes {
    fn name(&self) -> String {
        "pipe".to_owned()
    }

    fn dial(&self) -> Dialing<'_> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(self.buffer_bytes);
            self.made
                .send(theirs)
                .map_err(|_gone| std::io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(ours) as Box<dyn Transport>)
        })
    }
}
