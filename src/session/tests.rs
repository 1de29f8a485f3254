//! A scripted peer against a session and a real broker, without sockets.
//!
//! [`Peer`] feeds commands as encoded frames and reads events back from the write buffer, so both directions go through
//! the codec. Waiting is for the outbox's wake, with a deadline that only a bug reaches.

use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use streamkeeper_protocol::command::{
    Append, Close, Connect, Create, Credit, Delete, List, Producer, Read, Start, Stat, Subscribe,
    Unsubscribe,
};
use streamkeeper_protocol::event::{Confirm, ConfirmEntry, Deliver, End, EndReason, ErrorEvent};
use streamkeeper_protocol::limits::Limits;
use streamkeeper_protocol::{RecordBlock, frame};

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

#[tokio::test]
async fn every_command_before_connect_is_fatal() {
    let commands = [
        create("s"),
        Command::Append(append("s", &["a"])),
        read("s", 0),
        subscribe(1, "s", Start::Now, 1),
        Command::List(List {
            prefix: "".into(),
            after: "".into(),
            limit: 0,
        }),
        Command::Credit(Credit {
            subscription: 1,
            bytes: 1,
        }),
    ];
    for command in commands {
        let mut peer = Peer::greeted(SessionOptions::default()).await;
        let failure = peer.send(1, &command).expect_err("refused");
        assert_eq!(failure.code(), ErrorCode::NotConnected);
        assert!(failure.is_fatal());
    }
}

#[tokio::test]
async fn a_peer_may_ping_before_it_connects_and_must_not_connect_twice() {
    let mut peer = Peer::greeted(SessionOptions::default()).await;
    peer.ask(5, &Command::Ping);
    let (5, Event::Pong) = peer.next().await else {
        panic!("not PONG")
    };
    let limits = Limits::default();
    assert_eq!(
        peer.session.frame_bytes_max(),
        limits.unauthenticated_frame_bytes_max
    );
    peer.ask(6, &connect(1, None));
    let (6, Event::Connected(_)) = peer.next().await else {
        panic!("not CONNECTED")
    };
    assert_eq!(peer.session.frame_bytes_max(), limits.frame_bytes_max);
    let failure = peer.send(7, &connect(1, None)).expect_err("refused");
    assert_eq!(failure.code(), ErrorCode::AlreadyConnected);
}

#[tokio::test]
async fn a_version_out_of_range_and_a_wrong_token_are_fatal() {
    let tokens = vec![Token::new("old"), Token::new("new")];
    let mut peer = Peer::greeted(SessionOptions {
        tokens,
        ..SessionOptions::default()
    })
    .await;
    let code = |failure: Result<(), Failure>| failure.expect_err("refused").code();
    assert_eq!(
        code(peer.send(1, &connect(0, Some(b"new")))),
        ErrorCode::UnsupportedVersion
    );
    assert_eq!(
        code(peer.send(1, &connect(2, Some(b"new")))),
        ErrorCode::UnsupportedVersion
    );
    assert_eq!(
        code(peer.send(1, &connect(1, None))),
        ErrorCode::Unauthorized
    );
    assert_eq!(
        code(peer.send(1, &connect(1, Some(b"no")))),
        ErrorCode::Unauthorized
    );
    assert!(!peer.session.is_connected());
    peer.ask(1, &connect(1, Some(b"old")));
    assert!(peer.session.is_connected());
}

#[tokio::test]
async fn pipelined_requests_on_one_stream_are_done_in_order() {
    let mut peer = Peer::connected().await;
    peer.ask(2, &create("s"));
    for correlation in 3..103 {
        peer.ask(correlation, &Command::Append(append("s", &["a", "b"])));
    }
    peer.ask(103, &Command::Close(Close { stream: "s".into() }));
    peer.ask(104, &Command::Append(append("s", &["late"])));
    let mut entries = Vec::new();
    let mut others = Vec::new();
    while entries.len() < 100 || others.len() < 3 {
        match peer.next().await {
            (0, Event::Confirm(confirm)) => entries.extend(confirm.entries),
            other => others.push(other),
        }
    }
    for (index, entry) in (0u32..).zip(&entries) {
        assert_eq!(
            (entry.correlation, entry.tail),
            (3 + index, 2 * u64::from(index + 1))
        );
    }
    assert!(matches!(&others[0], (2, Event::Created(created)) if !created.exists));
    assert!(matches!(&others[1], (103, Event::Closed(closed)) if closed.tail == 200));
    assert!(matches!(&others[2], (104, Event::Err(err)) if err.tail == Some(200)));
    assert_eq!(peer.session.in_flight(), 0);
}

#[tokio::test]
async fn confirms_of_one_commit_share_a_frame() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    for correlation in 0..50 {
        let command = Command::Append(append("s", &["x"]));
        let mut bytes = BytesMut::new();
        command.encode(correlation, &mut bytes);
        let frame = frame::split(&mut bytes, u32::MAX)
            .expect("a frame")
            .expect("whole");
        peer.session
            .receive(&frame, &mut peer.out)
            .expect("not fatal");
    }
    peer.session.kick();
    let (0, Event::Confirm(first)) = peer.next().await else {
        panic!("not CONFIRM")
    };
    assert!(first.entries.len() > 1, "{}", first.entries.len());
}

#[tokio::test]
async fn an_append_without_confirm_is_silent_unless_refused() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    let silent = |stream| Append {
        no_confirm: true,
        ..append(stream, &["a"])
    };
    peer.ask(2, &Command::Append(silent("s")));
    peer.ask(3, &Command::Append(silent("absent")));
    peer.ask(4, &Command::Append(append("s", &["b"])));
    let mut confirmed = None;
    let mut refused = None;
    while confirmed.is_none() || refused.is_none() {
        match peer.next().await {
            (0, Event::Confirm(confirm)) => confirmed = Some(confirm.entries),
            (correlation, Event::Err(err)) => refused = Some((correlation, err.code)),
            other => panic!("unexpected {other:?}"),
        }
    }
    let only = ConfirmEntry {
        correlation: 4,
        duplicate: false,
        closed: false,
        tail: 2,
    };
    assert_eq!(confirmed, Some(vec![only]));
    assert_eq!(refused, Some((3, ErrorCode::NotFound.number())));
}

#[tokio::test]
async fn a_bad_checksum_refuses_the_append_and_the_session_goes_on() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    let mut bad = append("s", &["payload"]);
    let mut records = bad.records.to_vec();
    *records.last_mut().expect("not empty") ^= 1;
    bad.records = Bytes::from(records);
    peer.ask(2, &Command::Append(bad));
    let (2, err) = peer.next_err().await else {
        panic!("another request")
    };
    assert_eq!(
        (err.code, err.fatal),
        (ErrorCode::ChecksumMismatch.number(), false)
    );
    peer.ask(3, &Command::Append(append("s", &["payload"])));
    assert_eq!(peer.confirms(1).await[0].tail, 1);
}

#[tokio::test]
async fn records_that_do_not_fill_their_frame_are_fatal() {
    let mut peer = Peer::connected().await;
    let short = Append {
        count: 3,
        ..append("s", &["a", "b"])
    };
    let failure = peer.send(2, &Command::Append(short)).expect_err("refused");
    assert_eq!(failure.code(), ErrorCode::MalformedFrame);
}

#[tokio::test]
async fn limits_on_records_and_batches_refuse_one_request() {
    let limits = Limits {
        record_bytes_max: 4,
        batch_records_max: 2,
        ..Limits::default()
    };
    let mut peer = Peer::connected_with(SessionOptions {
        limits,
        ..SessionOptions::default()
    })
    .await;
    peer.ask(2, &Command::Append(append("s", &["12345"])));
    assert_eq!(
        peer.next_err().await.1.code,
        ErrorCode::RecordTooLarge.number()
    );
    peer.ask(3, &Command::Append(append("s", &["1", "2", "3"])));
    assert_eq!(
        peer.next_err().await.1.code,
        ErrorCode::BatchTooLarge.number()
    );
    peer.ask(4, &Command::Append(append("", &["1"])));
    assert_eq!(
        peer.next_err().await.1.code,
        ErrorCode::InvalidName.number()
    );
}

#[tokio::test]
async fn a_duplicate_is_confirmed_as_one() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    let producer = Some(Producer {
        id: "p".into(),
        epoch: 0,
        seq: 0,
    });
    let stamped = Append {
        producer,
        ..append("s", &["once"])
    };
    peer.ask(2, &Command::Append(stamped.clone()));
    peer.ask(3, &Command::Append(stamped));
    let entries = peer.confirms(2).await;
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry.duplicate)
            .collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(entries[1].tail, 1);
}

#[tokio::test]
async fn stat_list_and_delete_answer() {
    let mut peer = Peer::connected().await;
    peer.create("a/1").await;
    peer.create("a/2").await;
    peer.create("b").await;
    peer.ask(2, &Command::Append(append("a/1", &["x"])));
    peer.confirms(1).await;
    peer.ask(
        3,
        &Command::Stat(Stat {
            stream: "a/1".into(),
        }),
    );
    let (3, Event::Status(status)) = peer.next().await else {
        panic!("not STATUS")
    };
    assert_eq!(
        (status.tail, status.tail_byte, status.closed),
        (1, 1, false)
    );
    peer.ask(
        4,
        &Command::List(List {
            prefix: "a/".into(),
            after: "".into(),
            limit: 1,
        }),
    );
    let (4, Event::Listed(listed)) = peer.next().await else {
        panic!("not LISTED")
    };
    assert_eq!((listed.streams.len(), listed.more), (1, true));
    assert_eq!(listed.streams[0].stream, "a/1");
    peer.ask(
        5,
        &Command::Delete(Delete {
            stream: "a/1".into(),
        }),
    );
    let (5, Event::Deleted) = peer.next().await else {
        panic!("not DELETED")
    };
    peer.ask(
        6,
        &Command::Stat(Stat {
            stream: "a/1".into(),
        }),
    );
    assert_eq!(
        peer.next_err().await,
        (6, ErrorEvent::new(ErrorCode::NotFound, peer_not_found()))
    );
}

fn peer_not_found() -> String {
    crate::types::Refusal::NotFound.to_string()
}

#[tokio::test]
async fn a_read_answers_what_is_there_and_a_waiting_one_what_comes() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    peer.ask(2, &read("s", 60_000));
    peer.ask(3, &Command::Append(append("s", &["a", "b"])));
    let mut records = None;
    while records.is_none() {
        if let (2, Event::Records(some)) = peer.next().await {
            records = Some(some);
        }
    }
    let records = records.expect("just seen");
    assert_eq!((records.next, records.next_byte, records.tail), (2, 2, 2));
    assert_eq!(payloads(records.runs()), ["a", "b"]);
}

#[tokio::test]
async fn one_waiting_read_too_many_is_refused() {
    let options = SessionOptions {
        reads_max: 2,
        ..SessionOptions::default()
    };
    let mut peer = Peer::connected_with(options).await;
    peer.create("s").await;
    for correlation in 2..5 {
        peer.ask(correlation, &read("s", 60_000));
    }
    let (4, err) = peer.next_err().await else {
        panic!("another request")
    };
    assert_eq!(err.code, ErrorCode::TooManyRequests.number());
    assert!(err.retry_after_ms.is_some());
}

#[tokio::test]
async fn a_drain_refuses_new_work_and_answers_what_waits() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    peer.ask(2, &read("s", 60_000));
    let grace = Duration::from_secs(7);
    assert!(peer.session.drain(grace, &mut peer.out));
    assert!(!peer.session.drain(grace, &mut peer.out));
    let (0, Event::Draining(draining)) = peer.next().await else {
        panic!("not DRAINING")
    };
    assert_eq!(draining.grace_ms, 7000);
    assert_eq!(peer.next_err().await.1.code, ErrorCode::Draining.number());
    peer.ask(3, &Command::Append(append("s", &["a"])));
    let (3, err) = peer.next_err().await else {
        panic!("another request")
    };
    assert_eq!((err.code, err.fatal), (ErrorCode::Draining.number(), false));
    assert_eq!(peer.session.in_flight(), 0);
}

#[tokio::test]
async fn credit_is_spent_to_the_byte_and_a_record_is_never_cut() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    // Each append is its own run of 32 + 8 + 10 bytes, if it has a commit to itself.
    for correlation in 2..6 {
        peer.ask(correlation, &Command::Append(append("s", &["0123456789"])));
        peer.confirms(1).await;
    }
    peer.subscribe(1, "s", Start::Beginning, 101).await;
    let first = peer.deliver().await;
    assert_eq!((first.subscription, first.cost()), (1, 100));
    // One byte of credit is left: one more record, and then 49 below zero.
    assert_eq!(peer.deliver().await.cost(), 50);
    let ask = |peer: &mut Peer, bytes| {
        peer.ask(
            0,
            &Command::Credit(Credit {
                subscription: 1,
                bytes,
            }),
        );
        peer.poll()
    };
    assert_eq!(ask(&mut peer, 49), None);
    let Some((0, Event::Deliver(last))) = ask(&mut peer, 1) else {
        panic!("not DELIVER")
    };
    assert_eq!((last.cost(), payloads(last.runs()).len()), (50, 1));
}

#[tokio::test]
async fn a_subscription_without_credit_waits() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    peer.ask(2, &Command::Append(append("s", &["a"])));
    peer.confirms(1).await;
    peer.subscribe(1, "s", Start::Beginning, 0).await;
    assert_eq!(peer.poll(), None);
    peer.ask(
        0,
        &Command::Credit(Credit {
            subscription: 1,
            bytes: u64::MAX,
        }),
    );
    assert_eq!(payloads(peer.deliver().await.runs()), ["a"]);
}

#[tokio::test]
async fn a_live_subscription_is_told_of_each_append_and_of_the_end() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    peer.subscribe(7, "s", Start::Now, 1 << 20).await;
    for round in 0..3u32 {
        peer.ask(round, &Command::Append(append("s", &["x"])));
        let mut delivered = false;
        let mut confirmed = false;
        while !(delivered && confirmed) {
            match peer.next().await {
                (0, Event::Deliver(deliver)) => delivered = payloads(deliver.runs()) == ["x"],
                (0, Event::Confirm(_)) => confirmed = true,
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    peer.ask(9, &Command::Close(Close { stream: "s".into() }));
    // The reply and the END are of the same commit, in either order.
    let mut end = None;
    let mut closed = false;
    while end.is_none() || !closed {
        match peer.next().await {
            (9, Event::Closed(_)) => closed = true,
            (0, Event::End(some)) => end = Some(some),
            other => panic!("unexpected {other:?}"),
        }
    }
    let end = end.expect("just seen");
    assert_eq!(
        (end.subscription, end.reason, end.next),
        (7, EndReason::Closed, 3)
    );
    assert_eq!(end.earliest, None);
}

#[tokio::test]
async fn unsubscribe_ends_with_the_next_offset_and_frees_the_id() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    peer.ask(2, &Command::Append(append("s", &["a", "b"])));
    peer.confirms(1).await;
    peer.subscribe(1, "s", Start::Beginning, 1 << 20).await;
    peer.deliver().await;
    peer.ask(3, &Command::Unsubscribe(Unsubscribe { subscription: 1 }));
    let (3, end) = peer.end().await else {
        panic!("another request")
    };
    assert_eq!((end.reason, end.next), (EndReason::Unsubscribed, 2));
    peer.ask(4, &Command::Unsubscribe(Unsubscribe { subscription: 1 }));
    assert_eq!(
        peer.next_err().await.1.code,
        ErrorCode::UnknownSubscription.number()
    );
    peer.subscribe(1, "s", Start::Offset(1), 1 << 20).await;
    assert_eq!(payloads(peer.deliver().await.runs()), ["b"]);
}

#[tokio::test]
async fn an_unsubscribe_that_overtakes_its_subscribed_is_answered_after_it() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    let unsubscribe = Command::Unsubscribe(Unsubscribe { subscription: 1 });
    peer.ask(2, &subscribe(1, "s", Start::Now, 1));
    peer.ask(3, &unsubscribe);
    let (2, Event::Subscribed(_)) = peer.next().await else {
        panic!("not SUBSCRIBED")
    };
    let (3, _) = peer.end().await else {
        panic!("another request")
    };
    peer.ask(4, &subscribe(1, "absent", Start::Now, 1));
    peer.ask(5, &unsubscribe);
    let (4, err) = peer.next_err().await else {
        panic!("another request")
    };
    assert_eq!(err.code, ErrorCode::NotFound.number());
    let (5, err) = peer.next_err().await else {
        panic!("another request")
    };
    assert_eq!(err.code, ErrorCode::UnknownSubscription.number());
}

#[tokio::test]
async fn subscriptions_are_limited_and_their_ids_unique() {
    let limits = Limits {
        subscriptions_max: 2,
        ..Limits::default()
    };
    let mut peer = Peer::connected_with(SessionOptions {
        limits,
        ..SessionOptions::default()
    })
    .await;
    peer.create("s").await;
    peer.subscribe(1, "s", Start::Now, 1).await;
    peer.ask(2, &subscribe(1, "s", Start::Now, 1));
    assert_eq!(
        peer.next_err().await.1.code,
        ErrorCode::SubscriptionInUse.number()
    );
    peer.subscribe(2, "s", Start::Now, 1).await;
    peer.ask(3, &subscribe(3, "s", Start::Now, 1));
    assert_eq!(
        peer.next_err().await.1.code,
        ErrorCode::TooManySubscriptions.number()
    );
}

#[tokio::test]
async fn subscriptions_take_turns() {
    let options = SessionOptions {
        deliver_bytes_max: 64,
        ..SessionOptions::default()
    };
    let mut peer = Peer::connected_with(options).await;
    for stream in ["a", "b"] {
        peer.create(stream).await;
        for _ in 0..5 {
            peer.ask(2, &Command::Append(append(stream, &["x"])));
            peer.confirms(1).await;
        }
    }
    peer.subscribe(1, "a", Start::Beginning, 0).await;
    peer.subscribe(2, "b", Start::Beginning, 0).await;
    for subscription in [1, 2] {
        peer.ask(
            0,
            &Command::Credit(Credit {
                subscription,
                bytes: 1 << 20,
            }),
        );
    }
    for turn in 0..10 {
        assert_eq!(peer.deliver().await.subscription, 1 + turn % 2);
    }
}

#[tokio::test]
async fn credit_for_a_subscription_that_is_over_is_passed_over() {
    let mut peer = Peer::connected().await;
    peer.ask(
        0,
        &Command::Credit(Credit {
            subscription: 8,
            bytes: 1,
        }),
    );
    assert_eq!(peer.poll(), None);
}

#[tokio::test]
async fn a_subscription_that_is_over_ends_without_credit() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    peer.ask(2, &Command::Append(append("s", &["a"])));
    peer.confirms(1).await;
    peer.ask(3, &Command::Close(Close { stream: "s".into() }));
    peer.next().await;
    peer.subscribe(1, "s", Start::Now, 0).await;
    let (0, end) = peer.end().await else {
        panic!("tied to a request")
    };
    assert_eq!((end.reason, end.next), (EndReason::Closed, 1));
    // The last record takes all the credit: nothing is left to deliver, so it is over too.
    peer.subscribe(1, "s", Start::Beginning, 1).await;
    peer.deliver().await;
    assert_eq!(peer.end().await.1.reason, EndReason::Closed);
}

#[tokio::test]
async fn the_heartbeat_finds_subscriptions_that_ended_while_they_had_no_credit() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    peer.subscribe(1, "s", Start::Now, 0).await;
    peer.ask(2, &Command::Delete(Delete { stream: "s".into() }));
    let (2, Event::Deleted) = peer.next().await else {
        panic!("not DELETED")
    };
    peer.session.ping(&mut peer.out);
    let (0, Event::Ping) = peer.next().await else {
        panic!("not PING")
    };
    assert_eq!(peer.end().await.1.reason, EndReason::Deleted);
}
