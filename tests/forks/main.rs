//! Forks through the library handle: what they share, what they own, and how long their sources live.
//!
//! `model` holds the engine to a naive copy of every stream, over random histories with reopens; the cases here name the
//! rules one by one.

#![expect(clippy::panic, reason = "helpers of tests fail like tests")]

mod model;

use std::sync::Arc;
use std::time::Duration;

use streamkeeper::broker::{Broker, BrokerOptions, PutRequest};
use streamkeeper::fanout::{Bell, EndReason, Step};
use streamkeeper::storage::{ReadLimits, Storage};
use streamkeeper::types::{
    AppendOptions, Clock, CreateOptions, Error, Expiry, ForkRequest, Offset, Position,
    ProducerStamp, RecordBlock, Refusal, Retention, Start, StorageKind, Str, StreamName, Timestamp,
};

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a valid name")
}

struct Subject {
    _directory: tempfile::TempDir,
    broker: Broker,
}

impl Subject {
    async fn new() -> Self {
        Self::with_clock(Clock::System).await
    }

    async fn with_clock(clock: Clock) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut options = BrokerOptions::in_directory(directory.path());
        options.clock = clock;
        Self {
            broker: Broker::open(options).await.expect("the broker opens"),
            _directory: directory,
        }
    }

    async fn given(&self, stream: &str, content_type: &str, records: &[&str]) {
        let request = PutRequest {
            content_type: Some(Str::from(content_type)),
            ..PutRequest::default()
        };
        self.put(stream, request).await.expect("created");
        for record in records {
            self.append(stream, record).await.expect("appended");
        }
    }

    async fn put(&self, stream: &str, request: PutRequest) -> Result<bool, Error> {
        let put = self.broker.put(&name(stream), request).await?;
        Ok(put.created.existed)
    }

    async fn append(&self, stream: &str, record: &str) -> Result<Position, Error> {
        let batch = RecordBlock::from_payloads([record]);
        let appended = self
            .broker
            .append(&name(stream), batch, AppendOptions::default())
            .await?;
        Ok(appended.tail)
    }

    async fn fork(
        &self,
        fork: &str,
        source: &str,
        at: Option<u64>,
        sub: u64,
    ) -> Result<bool, Error> {
        self.put(fork, self.request(source, at, sub).await).await
    }

    async fn request(&self, source: &str, at: Option<u64>, sub_offset: u64) -> PutRequest {
        let offset = match at {
            Some(at) => Some(self.position(source, at).await),
            None => None,
        };
        PutRequest {
            fork: Some(ForkRequest {
                source: name(source),
                offset,
                sub_offset,
            }),
            ..PutRequest::default()
        }
    }

    async fn position(&self, stream: &str, offset: u64) -> Position {
        let (stream, from) = (name(stream), Start::At(Offset(offset)));
        let limits = ReadLimits::default();
        let read = self.broker.read_messages(&stream, from, limits).await;
        let read = read.expect("readable");
        let first = read.messages.first();
        first.map_or(read.next, |message| message.position)
    }

    async fn text(&self, stream: &str) -> Result<String, Error> {
        let read = self
            .broker
            .read(&name(stream), Start::Beginning, ReadLimits::default())
            .await?;
        Ok(String::from_utf8(read.bytes.to_vec()).expect("text"))
    }

    async fn delete(&self, stream: &str) -> Result<(), Error> {
        self.broker.delete(&name(stream)).await
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_reads_what_it_inherits_and_then_its_own_with_the_offsets_of_its_source() {
    let subject = Subject::new().await;
    subject
        .given("source", "text/plain", &["one", "two", "three"])
        .await;
    subject
        .fork("fork", "source", Some(2), 0)
        .await
        .expect("forked");
    subject
        .append("source", "not shared")
        .await
        .expect("appended");
    subject.append("fork", "own").await.expect("appended");
    assert_eq!(subject.text("fork").await.expect("readable"), "onetwoown");
    let read = subject
        .broker
        .read_messages(&name("fork"), Start::Beginning, ReadLimits::default())
        .await
        .expect("readable");
    let positions: Vec<(u64, u64)> = read
        .messages
        .iter()
        .map(|message| (message.position.offset.0, message.position.byte))
        .collect();
    assert_eq!(positions, [(0, 0), (1, 3), (2, 6)]);
    assert_eq!((read.next.offset.0, read.next.byte), (3, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_offset_counts_bytes_of_the_next_record_or_messages() {
    let subject = Subject::new().await;
    subject
        .given("text", "text/plain", &["hello", "world"])
        .await;
    subject
        .fork("part", "text", Some(1), 3)
        .await
        .expect("forked");
    assert_eq!(subject.text("part").await.expect("readable"), "hellowor");
    subject
        .fork("whole", "text", Some(0), 5)
        .await
        .expect("forked");
    assert_eq!(subject.text("whole").await.expect("readable"), "hello");
    for (at, sub) in [(Some(0), 6), (Some(2), 1), (None, 1)] {
        let refusal = refused(subject.fork("too far", "text", at, sub).await);
        assert!(
            matches!(refusal, Refusal::InvalidOption { .. }),
            "{refusal:?}"
        );
    }
    subject
        .given("json", "application/json", &["[1,2,3]", "4"])
        .await;
    subject
        .fork("three", "json", Some(1), 2)
        .await
        .expect("forked");
    assert_eq!(subject.text("three").await.expect("readable"), "[1,2,3]");
    let refusal = refused(subject.fork("five", "json", Some(0), 5).await);
    assert!(
        matches!(refusal, Refusal::InvalidOption { .. }),
        "{refusal:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_offset_must_be_a_position_of_the_source() {
    let subject = Subject::new().await;
    subject.given("source", "text/plain", &["one", "two"]).await;
    let at = |offset, byte| PutRequest {
        fork: Some(ForkRequest {
            source: name("source"),
            offset: Some(Position {
                offset: Offset(offset),
                byte,
            }),
            sub_offset: 0,
        }),
        ..PutRequest::default()
    };
    for (offset, byte) in [(0, 1), (1, 2), (2, 7)] {
        let refusal = refused(subject.put("fork", at(offset, byte)).await);
        assert!(
            matches!(refusal, Refusal::InvalidOption { .. }),
            "{refusal:?}"
        );
    }
    let past = refused(subject.put("fork", at(9, 9)).await);
    assert_eq!(past, Refusal::PastTail { tail: Offset(2) });
    assert_eq!(subject.put("fork", at(1, 3)).await, Ok(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn forking_twice_alike_is_one_fork_and_otherwise_a_conflict() {
    let subject = Subject::new().await;
    subject.given("source", "text/plain", &["hello"]).await;
    assert_eq!(subject.fork("fork", "source", Some(0), 2).await, Ok(false));
    assert_eq!(subject.fork("fork", "source", Some(0), 2).await, Ok(true));
    assert_eq!(
        refused(subject.fork("fork", "source", Some(0), 3).await),
        Refusal::AlreadyExists
    );
    let plain = PutRequest {
        content_type: Some(Str::from("text/plain")),
        ..PutRequest::default()
    };
    assert_eq!(
        refused(subject.put("fork", plain).await),
        Refusal::AlreadyExists
    );
    assert_eq!(
        refused(subject.fork("source", "source", None, 0).await),
        Refusal::AlreadyExists
    );
    // At the tail, wherever that has moved since.
    assert_eq!(subject.fork("head", "source", None, 0).await, Ok(false));
    subject.append("source", "more").await.expect("appended");
    assert_eq!(subject.fork("head", "source", None, 0).await, Ok(true));
    assert_eq!(subject.fork("head", "source", Some(1), 0).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_gone_for_clients_but_its_forks_keep_its_records_and_its_name() {
    let subject = Subject::new().await;
    subject.given("source", "text/plain", &["kept"]).await;
    subject
        .fork("fork", "source", None, 0)
        .await
        .expect("forked");
    subject.delete("source").await.expect("deleted");
    assert_eq!(refused(subject.text("source").await), Refusal::Gone);
    assert_eq!(refused(subject.append("source", "x").await), Refusal::Gone);
    assert_eq!(
        refused(subject.broker.close(&name("source")).await),
        Refusal::Gone
    );
    assert_eq!(refused(subject.delete("source").await), Refusal::Gone);
    let anew = subject.put("source", PutRequest::default()).await;
    assert_eq!(refused(anew), Refusal::AlreadyExists);
    assert_eq!(
        refused(subject.fork("other", "source", None, 0).await),
        Refusal::SourceGone
    );
    let listing = subject.broker.list("", None, 10).await.expect("listed");
    let names: Vec<&str> = listing
        .streams
        .iter()
        .map(|listed| listed.name.as_str())
        .collect();
    assert_eq!(names, ["fork"]);
    assert_eq!(subject.text("fork").await.expect("readable"), "kept");
    subject.delete("fork").await.expect("deleted");
    assert_eq!(refused(subject.text("source").await), Refusal::NotFound);
    assert_eq!(
        subject.put("source", PutRequest::default()).await,
        Ok(false)
    );
    assert_eq!(subject.text("source").await.expect("readable"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_fork_takes_a_whole_chain_of_deleted_sources_with_it() {
    let subject = Subject::new().await;
    subject.given("a", "text/plain", &["A"]).await;
    for (fork, source) in [("b", "a"), ("c", "b"), ("d", "c")] {
        subject.fork(fork, source, None, 0).await.expect("forked");
        subject
            .append(fork, &fork.to_uppercase())
            .await
            .expect("appended");
    }
    for stream in ["b", "a", "c"] {
        subject.delete(stream).await.expect("deleted");
        assert_eq!(subject.text("d").await.expect("readable"), "ABCD");
        assert_eq!(refused(subject.text(stream).await), Refusal::Gone);
    }
    subject.delete("d").await.expect("deleted");
    for stream in ["a", "b", "c", "d"] {
        assert_eq!(
            refused(subject.text(stream).await),
            Refusal::NotFound,
            "{stream}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_fork_holds_nothing() {
    let subject = Subject::new().await;
    subject.given("source", "text/plain", &["x"]).await;
    let other = PutRequest {
        content_type: Some(Str::from("application/json")),
        ..subject.request("source", None, 0).await
    };
    let refusal = refused(subject.put("fork", other).await);
    assert!(
        matches!(refusal, Refusal::ContentTypeMismatch { .. }),
        "{refusal:?}"
    );
    let limited = PutRequest {
        retention: Retention {
            max_records: Some(1),
            ..Retention::default()
        },
        ..subject.request("source", None, 0).await
    };
    let refusal = refused(subject.put("fork", limited).await);
    assert!(
        matches!(refusal, Refusal::InvalidOption { .. }),
        "{refusal:?}"
    );
    subject.delete("source").await.expect("deleted");
    assert_eq!(refused(subject.text("source").await), Refusal::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn writer_state_is_not_inherited_and_a_fork_of_a_closed_stream_is_open() {
    let subject = Subject::new().await;
    subject.given("source", "text/plain", &[]).await;
    let stamped = AppendOptions {
        seq: Some(bytes::Bytes::from_static(b"z")),
        producer: Some(ProducerStamp {
            id: Str::from("p"),
            epoch: 7,
            seq: 0,
        }),
        close: true,
        ..AppendOptions::default()
    };
    let first = |stream: &'static str| {
        let batch = RecordBlock::from_payloads(["x"]);
        let options = AppendOptions {
            close: stream == "source",
            ..stamped.clone()
        };
        let broker = subject.broker.clone();
        async move { broker.append(&name(stream), batch, options).await }
    };
    first("source").await.expect("appended");
    subject
        .fork("fork", "source", None, 0)
        .await
        .expect("forked");
    let appended = first("fork").await.expect("appended");
    assert!(!appended.duplicate && !appended.closed);
    assert_eq!(subject.text("fork").await.expect("readable"), "xx");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_at_the_tail_of_a_fork_is_woken_by_the_fork_alone() {
    let subject = Subject::new().await;
    subject.given("source", "text/plain", &["shared"]).await;
    subject
        .fork("fork", "source", None, 0)
        .await
        .expect("forked");
    let bell = Arc::new(Bell::default());
    let watcher: Arc<dyn streamkeeper::fanout::Watcher> = Arc::<Bell>::clone(&bell);
    let opened = subject
        .broker
        .cursor(&name("fork"), Start::Now, watcher, 0)
        .await;
    let mut cursor = opened.expect("a cursor");
    assert!(matches!(cursor.poll(1024), Step::Idle));
    subject
        .append("source", "elsewhere")
        .await
        .expect("appended");
    assert!(matches!(cursor.poll(1024), Step::Idle));
    subject.append("fork", "here").await.expect("appended");
    bell.wait().await;
    let Step::Runs(runs) = cursor.load(1024).await.expect("loaded") else {
        panic!("the append is there");
    };
    assert_eq!(runs.first().map(|run| run.header.first_offset), Some(1));
    subject.delete("fork").await.expect("deleted");
    assert!(matches!(
        cursor.poll(1024),
        Step::End {
            reason: EndReason::Deleted,
            ..
        }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_source_that_is_deleted_is_told_although_forks_keep_it() {
    let subject = Subject::new().await;
    subject.given("source", "text/plain", &["x"]).await;
    subject
        .fork("fork", "source", None, 0)
        .await
        .expect("forked");
    let bell = Arc::new(Bell::default());
    let watcher: Arc<dyn streamkeeper::fanout::Watcher> = Arc::<Bell>::clone(&bell);
    let opened = subject
        .broker
        .cursor(&name("source"), Start::Now, watcher, 0)
        .await;
    let mut cursor = opened.expect("a cursor");
    assert!(matches!(cursor.poll(1024), Step::Idle));
    subject.delete("source").await.expect("deleted");
    bell.wait().await;
    assert!(matches!(
        cursor.poll(1024),
        Step::End {
            reason: EndReason::Deleted,
            ..
        }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_expires_is_kept_for_its_forks_and_goes_with_the_last_one() {
    let (clock, hand) = Clock::manual(Timestamp(1_000_000_000));
    let subject = Subject::with_clock(clock).await;
    let request = PutRequest {
        content_type: Some(Str::from("text/plain")),
        expiry: Expiry::Ttl(10),
        body: RecordBlock::from_payloads(["x"]),
        ..PutRequest::default()
    };
    subject.put("source", request).await.expect("created");
    subject
        .fork("inherits", "source", None, 0)
        .await
        .expect("forked");
    let own = PutRequest {
        expiry: Expiry::Ttl(1000),
        ..subject.request("source", None, 0).await
    };
    subject.put("outlives", own.clone()).await.expect("forked");
    let expiry = |options: CreateOptions| options.expiry;
    let metadata = subject
        .broker
        .get_metadata(&name("inherits"))
        .await
        .expect("there");
    assert_eq!(expiry(metadata.options), Expiry::Ttl(10));
    assert_eq!(subject.fork("inherits", "source", None, 0).await, Ok(true));
    hand.advance(Duration::from_secs(30));
    for stream in ["source", "inherits"] {
        let refusal = refused(subject.text(stream).await);
        assert!(
            matches!(refusal, Refusal::NotFound | Refusal::Gone),
            "{refusal:?}"
        );
    }
    assert_eq!(
        refused(subject.put("source", PutRequest::default()).await),
        Refusal::AlreadyExists
    );
    assert_eq!(subject.text("outlives").await.expect("readable"), "x");
    subject.delete("outlives").await.expect("deleted");
    // The other fork goes by its timer; then the source does, whose name is free.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while subject.put("source", PutRequest::default()).await.is_err() {
        assert!(
            std::time::Instant::now() < deadline,
            "the name never came free"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_the_type_make_no_other_fork() {
    let subject = Subject::new().await;
    subject
        .given("source", "text/plain; charset=utf-8", &["x"])
        .await;
    let plain = PutRequest {
        content_type: Some(Str::from("text/plain")),
        ..subject.request("source", None, 0).await
    };
    assert_eq!(subject.put("fork", plain.clone()).await, Ok(false));
    assert_eq!(subject.put("fork", plain).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_whose_time_is_over_makes_room_and_lets_go_of_its_source() {
    let (clock, hand) = Clock::manual(Timestamp(1_000_000_000));
    let subject = Subject::with_clock(clock).await;
    for source in ["one", "two"] {
        subject.given(source, "text/plain", &[source]).await;
    }
    let short = PutRequest {
        expiry: Expiry::Ttl(10),
        ..subject.request("one", None, 0).await
    };
    subject.put("fork", short).await.expect("forked");
    let next = subject.request("two", None, 0).await;
    hand.advance(Duration::from_secs(20));
    assert_eq!(subject.put("fork", next).await, Ok(false));
    assert_eq!(subject.text("fork").await.expect("readable"), "two");
    // The first source is free, the second is held.
    for (source, after) in [("one", Refusal::NotFound), ("two", Refusal::Gone)] {
        subject.delete(source).await.expect("deleted");
        assert_eq!(refused(subject.text(source).await), after, "{source}");
    }
}

/// While a source is trimmed all the time, whatever a fork says it begins with can be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_of_a_stream_that_is_being_trimmed_is_readable_or_refused() {
    for storage in [StorageKind::Durable, StorageKind::Memory] {
        let subject = Subject::new().await;
        let limited = PutRequest {
            content_type: Some(Str::from("text/plain")),
            storage: Some(storage),
            retention: Retention {
                max_records: Some(3),
                ..Retention::default()
            },
            ..PutRequest::default()
        };
        subject.put("source", limited).await.expect("created");
        let broker = subject.broker.clone();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let writing = tokio::spawn(async move {
            let source = name("source");
            while stopped.try_recv().is_err() {
                let batch = RecordBlock::from_payloads(["x", "y"]);
                let appended = broker
                    .append(&source, batch, AppendOptions::default())
                    .await;
                appended.expect("appended");
            }
        });
        for n in 0..200 {
            let fork = format!("fork-{n}");
            match subject.fork(&fork, "source", None, 0).await {
                Ok(_) => {
                    let text = subject.text(&fork).await.expect("all of it is there");
                    assert!(text.len() <= 3, "{text}");
                }
                Err(error) => {
                    let refusal = refused::<()>(Err(error));
                    assert!(matches!(refusal, Refusal::Trimmed { .. }), "{refusal:?}");
                }
            }
            if n % 2 == 0 {
                // A refused one is not there.
                subject.delete(&fork).await.ok();
            }
        }
        stop.send(()).expect("still writing");
        writing.await.expect("no panic");
    }
}
