//! A broker with a server on a free loopback port, and a peer made of frames.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::metrics::{Exporter, Metrics};
use streamkeeper::server::{Drained, ListenAddress, Server, ServerOptions};
use streamkeeper_protocol::command::{Append, Connect, Create, Start, Subscribe};
use streamkeeper_protocol::event::{ConfirmEntry, Deliver, End, ErrorEvent};
use streamkeeper_protocol::{Command, ErrorCode, Event, RecordBlock, frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Only a bug takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running broker. Dropping it leaves its tasks to the test's runtime.
pub struct Fixture {
    pub tcp: String,
    pub unix: PathBuf,
    exporter: Exporter,
    shutdown: CancellationToken,
    running: JoinHandle<Drained>,
    _directory: tempfile::TempDir,
}

impl Fixture {
    pub async fn start() -> Self {
        Self::start_with(|_, _| {}).await
    }

    pub async fn start_with(set: impl FnOnce(&mut BrokerOptions, &mut ServerOptions)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let unix = directory.path().join("keeper.sock");
        let mut broker_options = BrokerOptions::in_directory(directory.path().join("data"));
        let (metrics, exporter) = Metrics::new();
        broker_options.metrics = metrics;
        let mut options = ServerOptions {
            listen: vec![
                ListenAddress::Tcp(String::from("127.0.0.1:0")),
                ListenAddress::Unix(unix.clone()),
            ],
            ..ServerOptions::default()
        };
        set(&mut broker_options, &mut options);
        let broker = Broker::open(broker_options).await.expect("opened");
        let server = Server::bind(options).await.expect("bound");
        let tcp = server
            .local_addresses()
            .next()
            .expect("an address")
            .to_string();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(broker, shutdown.clone()));
        Self {
            tcp,
            unix,
            exporter,
            shutdown,
            running,
            _directory: directory,
        }
    }

    /// The value of a counter or gauge, by its name in a scrape without the product's, with its label if it has one.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.exporter.render();
        let value = text.lines().find_map(|line| {
            let (named, value) = line.strip_prefix("streamkeeper_")?.split_once(' ')?;
            (named == name).then_some(value)
        });
        let value = value.unwrap_or_else(|| panic!("no {name} in {text}"));
        value.parse().expect("a whole number")
    }

    /// A socket that has not said anything.
    pub async fn raw(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(&self.tcp).await.expect("a connection"))
    }

    /// A socket of the other kind that has not said anything.
    pub async fn raw_unix(&self) -> Client<UnixStream> {
        Client::new(UnixStream::connect(&self.unix).await.expect("a connection"))
    }

    /// A peer past CONNECT.
    pub async fn client(&self) -> Client<TcpStream> {
        let mut client = self.raw().await;
        client.shake_hands().await;
        client
    }

    /// Lets the server drain and says how that went.
    pub async fn stop(self) -> Drained {
        self.shutdown.cancel();
        within(self.running)
            .await
            .expect("the server does not panic")
    }

    /// Starts the shutdown without waiting for its end.
    pub fn begin_stop(&self) {
        self.shutdown.cancel();
    }
}

/// The outcome of `future`, which only a bug keeps waiting.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("in time")
}

/// A peer made of frames.
pub struct Client<S> {
    pub stream: S,
    received: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            received: BytesMut::new(),
        }
    }

    pub async fn shake_hands(&mut self) {
        assert!(matches!(self.next().await, (0, Event::Info(_))));
        self.send(1, &connect(1, None)).await;
        assert!(matches!(self.next().await, (1, Event::Connected(_))));
    }

    pub async fn send(&mut self, correlation: u32, command: &Command) {
        self.send_bytes(&encoded(correlation, command)).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes))
            .await
            .expect("the server reads");
    }

    /// The next event; `None` once the server has closed the connection, however it did.
    pub async fn next_or_end(&mut self) -> Option<(u32, Event)> {
        loop {
            if let Some(frame) = frame::split(&mut self.received, u32::MAX).expect("a frame") {
                let event = Event::decode(&frame).expect("an event");
                return Some((frame.header.correlation, event));
            }
            match within(self.stream.read_buf(&mut self.received)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub async fn next(&mut self) -> (u32, Event) {
        self.next_or_end().await.expect("the connection is open")
    }

    /// Expects a fatal ERR with `code` and the end of the connection after it.
    pub async fn expect_fatal(&mut self, code: ErrorCode) {
        let err = loop {
            match self.next().await {
                (_, Event::Err(err)) => break err,
                (_, Event::Info(_) | Event::Connected(_) | Event::Ping) => {}
                other => panic!("not an ERR: {other:?}"),
            }
        };
        assert_eq!(
            (err.error_code(), err.fatal),
            (Some(code), true),
            "{}",
            err.message
        );
        self.expect_end().await;
    }

    pub async fn expect_end(&mut self) {
        assert_eq!(self.next_or_end().await, None);
    }

    pub async fn next_err(&mut self) -> (u32, ErrorEvent) {
        match self.next().await {
            (correlation, Event::Err(err)) => (correlation, err),
            other => panic!("not an ERR: {other:?}"),
        }
    }

    pub async fn create(&mut self, stream: &str) {
        self.send(90, &create(stream)).await;
        assert!(matches!(self.next().await, (90, Event::Created(_))));
    }

    /// Appends and awaits the confirm. Says the tail.
    pub async fn append(&mut self, stream: &str, payloads: &[&[u8]]) -> u64 {
        self.send(92, &append(stream, payloads)).await;
        self.confirms(1).await.last().expect("one entry").tail
    }

    /// Entries of the next CONFIRMs, until there are `count`.
    pub async fn confirms(&mut self, count: usize) -> Vec<ConfirmEntry> {
        let mut entries = Vec::new();
        while entries.len() < count {
            match self.next().await {
                (0, Event::Confirm(confirm)) => entries.extend(confirm.entries),
                // A short heartbeat under test, on a busy machine.
                (correlation, Event::Ping) => self.send(correlation, &Command::Pong).await,
                other => panic!("not CONFIRM: {other:?}"),
            }
        }
        entries
    }

    pub async fn subscribe(&mut self, subscription: u32, stream: &str, start: Start, credit: u64) {
        self.send(91, &subscribe(subscription, stream, start, credit))
            .await;
        assert!(matches!(self.next().await, (91, Event::Subscribed(_))));
    }

    pub async fn deliver(&mut self) -> Deliver {
        match self.next().await {
            (0, Event::Deliver(deliver)) => deliver,
            other => panic!("not DELIVER: {other:?}"),
        }
    }

    pub async fn end(&mut self) -> End {
        match self.next().await {
            (_, Event::End(end)) => end,
            other => panic!("not END: {other:?}"),
        }
    }

    /// One PING and its PONG: the connection works.
    pub async fn expect_alive(&mut self) {
        self.send(77, &Command::Ping).await;
        loop {
            match self.next().await {
                (77, Event::Pong) => return,
                (_, Event::Ping) => {}
                other => panic!("not PONG: {other:?}"),
            }
        }
    }
}

pub fn encoded(correlation: u32, command: &Command) -> BytesMut {
    let mut bytes = BytesMut::new();
    command.encode(correlation, &mut bytes);
    bytes
}

pub fn connect(version: u16, token: Option<&'static [u8]>) -> Command {
    Command::Connect(Connect {
        version,
        name: "peer".into(),
        library: "frames".into(),
        library_version: "0".into(),
        token: token.map(Bytes::from_static),
    })
}

pub fn create(stream: &str) -> Command {
    Command::Create(create_options(stream))
}

pub fn create_options(stream: &str) -> Create {
    Create {
        stream: stream.into(),
        content_type: None,
        ttl_seconds: None,
        expires_at: None,
        max_age_ms: None,
        max_records: None,
        max_bytes: None,
        storage: None,
    }
}

pub fn append(stream: &str, payloads: &[&[u8]]) -> Command {
    let block = RecordBlock::from_payloads(payloads);
    Command::Append(Append {
        stream: stream.into(),
        seq: None,
        producer: None,
        expected_tail: None,
        close_after: false,
        no_confirm: false,
        count: block.count(),
        records: block.into_bytes(),
    })
}

pub fn subscribe(subscription: u32, stream: &str, start: Start, credit: u64) -> Command {
    Command::Subscribe(Subscribe {
        subscription,
        stream: stream.into(),
        start,
        credit,
    })
}

/// Offset and payload of every record, each checked against its checksum.
pub fn records(deliver: &Deliver) -> Vec<(u64, Bytes)> {
    let runs = deliver.runs().map(|run| run.expect("a run"));
    let records = runs.flat_map(|run| run.records_verified().collect::<Vec<_>>());
    records
        .map(|record| record.expect("a record"))
        .map(|it| (it.offset, it.payload))
        .collect()
}
