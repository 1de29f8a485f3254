//! A scripted peer against a session and a real broker, without sockets.
//!
//! [`Peer`] feeds commands as encoded frames and reads events back from the write buffer, so both directions go through
//! the codec. Waiting is for the outbox's wake, with a deadline that only a bug reaches.

mod handshake;
mod requests;
mod subscriptions;

use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use streamkeeper_protocol::command::{
    Append, Close, Connect, Create, Credit, Delete, List, Producer, Read, Start, Stat, Subscribe,
    Unsubscribe,
};
use streamkeeper_protocol::event::{Confirm, ConfirmEntry, Deliver, End, EndReason, ErrorEvent};
use streamkeeper_protocol::limits::Limits;
use streamkeeper_protocol::{RecordBlock, Run, frame};

use super::*;
use crate::broker::BrokerOptions;

struct Peer {
    session: Session,
    out: WriteBuffer,
    received: BytesMut,
    _directory: tempfile::TempDir,
}

impl Peer {
    async fn greeted(options: SessionOptions) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let broker = Broker::open(BrokerOptions::in_directory(directory.path())).await;
        let context = SessionContext {
            broker: broker.expect("opened"),
            options,
        };
        let session = Session::new(1, Arc::new(context));
        let mut peer = Self {
            session,
            out: WriteBuffer::default(),
            received: BytesMut::new(),
            _directory: directory,
        };
        peer.session.greet(&mut peer.out);
        let (_, Event::Info(_)) = peer.next().await else {
            panic!("not INFO")
        };
        peer
    }

    async fn connected() -> Self {
        Self::connected_with(SessionOptions::default()).await
    }

    async fn connected_with(options: SessionOptions) -> Self {
        let mut peer = Self::greeted(options).await;
        peer.send(1, &connect(1, None)).expect("accepted");
        let (1, Event::Connected(_)) = peer.next().await else {
            panic!("not CONNECTED")
        };
        peer
    }

    fn send(&mut self, correlation: u32, command: &Command) -> Result<(), Failure> {
        let mut bytes = BytesMut::new();
        command.encode(correlation, &mut bytes);
        let frame = frame::split(&mut bytes, u32::MAX)
            .expect("a frame")
            .expect("whole");
        let received = self.session.receive(&frame, &mut self.out);
        self.session.kick();
        received
    }

    fn ask(&mut self, correlation: u32, command: &Command) {
        self.send(correlation, command).expect("not fatal");
    }

    /// The next event that is there now.
    fn poll(&mut self) -> Option<(u32, Event)> {
        self.session.settle(&mut self.out);
        let mut slices = [std::io::IoSlice::new(&[]); SLICES_MAX];
        let slices = self.out.slices(&mut slices);
        for slice in slices {
            self.received.extend_from_slice(slice);
        }
        let written = slices.iter().map(|slice| slice.len()).sum();
        self.out.advance(written);
        let frame = frame::split(&mut self.received, u32::MAX).expect("a frame")?;
        Some((
            frame.header.correlation,
            Event::decode(&frame).expect("an event"),
        ))
    }

    async fn next(&mut self) -> (u32, Event) {
        let next = std::future::poll_fn(|cx| {
            self.session.outbox().register(cx.waker());
            self.poll().map_or(Poll::Pending, Poll::Ready)
        });
        tokio::time::timeout(Duration::from_secs(10), next)
            .await
            .expect("an event in time")
    }

    async fn next_err(&mut self) -> (u32, ErrorEvent) {
        match self.next().await {
            (correlation, Event::Err(err)) => (correlation, err),
            other => panic!("not an ERR: {other:?}"),
        }
    }

    /// Entries of the next CONFIRMs, until there are `count`.
    async fn confirms(&mut self, count: usize) -> Vec<ConfirmEntry> {
        let mut entries = Vec::new();
        while entries.len() < count {
            let (0, Event::Confirm(Confirm { entries: some })) = self.next().await else {
                panic!("not CONFIRM")
            };
            entries.extend(some);
        }
        entries
    }

    async fn create(&mut self, stream: &str) {
        self.ask(90, &create(stream));
        let (90, Event::Created(_)) = self.next().await else {
            panic!("not CREATED")
        };
    }

    async fn subscribe(&mut self, subscription: u32, stream: &str, start: Start, credit: u64) {
        self.ask(91, &subscribe(subscription, stream, start, credit));
        let (91, Event::Subscribed(_)) = self.next().await else {
            panic!("not SUBSCRIBED")
        };
    }

    async fn deliver(&mut self) -> Deliver {
        match self.next().await {
            (0, Event::Deliver(deliver)) => deliver,
            other => panic!("not DELIVER: {other:?}"),
        }
    }

    async fn end(&mut self) -> (u32, End) {
        match self.next().await {
            (correlation, Event::End(end)) => (correlation, end),
            other => panic!("not END: {other:?}"),
        }
    }
}

fn connect(version: u16, token: Option<&'static [u8]>) -> Command {
    Command::Connect(Connect {
        version,
        name: "peer".into(),
        library: "script".into(),
        library_version: "0".into(),
        token: token.map(Bytes::from_static),
    })
}

fn create(stream: &str) -> Command {
    Command::Create(Create {
        stream: stream.into(),
        content_type: None,
        ttl_seconds: None,
        expires_at: None,
        max_age_ms: None,
        max_records: None,
        max_bytes: None,
        storage: None,
    })
}

fn append(stream: &str, payloads: &[&str]) -> Append {
    let block = RecordBlock::from_payloads(payloads);
    Append {
        stream: stream.into(),
        seq: None,
        producer: None,
        expected_tail: None,
        close_after: false,
        no_confirm: false,
        count: block.count(),
        records: block.into_bytes(),
    }
}

fn subscribe(subscription: u32, stream: &str, start: Start, credit: u64) -> Command {
    Command::Subscribe(Subscribe {
        subscription,
        stream: stream.into(),
        start,
        credit,
    })
}

fn read(stream: &str, wait_ms: u32) -> Command {
    let (stream, start) = (stream.into(), Start::Beginning);
    Command::Read(Read {
        stream,
        start,
        max_bytes: 0,
        max_records: 0,
        wait_ms,
    })
}

fn payloads(
    runs: impl Iterator<Item = Result<Run, streamkeeper_protocol::WireError>>,
) -> Vec<Bytes> {
    let records = runs.flat_map(|run| {
        let run = run.expect("a run");
        run.records_verified()
            .map(|record| record.expect("a record").payload)
            .collect::<Vec<_>>()
    });
    records.collect()
}
