//! Creating streams whole through the library handle, what an append says of its type, reserved names, and the feed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use streamkeeper::broker::{Broker, BrokerOptions, Put, PutRequest};
use streamkeeper::storage::{ReadLimits, Storage};
use streamkeeper::stream::Feed;
use streamkeeper::types::{
    AppendOptions, Error, RecordBlock, Refusal, Start, StorageKind, Str, StreamName,
};

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a valid name")
}

async fn open(tune: fn(&mut BrokerOptions)) -> (tempfile::TempDir, Broker) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut options = BrokerOptions::in_directory(directory.path());
    tune(&mut options);
    let broker = Broker::open(options).await.expect("the broker opens");
    (directory, broker)
}

fn request(content_type: &str, body: &str, closed: bool) -> PutRequest {
    PutRequest {
        content_type: Some(Str::from(content_type)),
        body: RecordBlock::from_payloads([body]),
        closed,
        ..PutRequest::default()
    }
}

async fn put(broker: &Broker, stream: &str, request: PutRequest) -> Result<Put, Error> {
    broker.put(&name(stream), request).await
}

async fn read(broker: &Broker, stream: &str) -> (String, bool) {
    let stream = name(stream);
    let data = broker
        .read(&stream, Start::Beginning, ReadLimits::default())
        .await
        .expect("readable");
    let text = String::from_utf8(data.bytes.to_vec()).expect("text");
    (text, data.closed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_created_with_its_records_and_its_end_in_one_step_and_comes_back_whole() {
    let (directory, broker) = open(|_| ()).await;
    let made = put(&broker, "whole", request("text/plain", "all of it", true)).await;
    let created = made.expect("created").created;
    assert!(!created.existed && created.closed);
    assert_eq!((created.tail.offset.0, created.tail.byte), (1, 9));
    assert_eq!(read(&broker, "whole").await, ("all of it".to_owned(), true));
    broker.close_all().await;
    let broker = Broker::open(BrokerOptions::in_directory(directory.path()))
        .await
        .expect("opens again");
    assert_eq!(read(&broker, "whole").await, ("all of it".to_owned(), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_exists_keeps_its_records_and_must_be_as_open_as_asked_for() {
    let (_directory, broker) = open(|_| ()).await;
    for (stream, closed) in [("open", false), ("closed", true)] {
        let first = put(&broker, stream, request("Text/Plain", "first", closed)).await;
        assert!(!first.expect("created").created.existed);
        let again = put(&broker, stream, request("text/plain", "second", closed)).await;
        let again = again.expect("the same");
        assert!(again.created.existed);
        assert_eq!(&*again.content_type, "Text/Plain");
        let other = put(&broker, stream, request("text/plain", "first", !closed)).await;
        assert_eq!(other, Err(Error::Refused(Refusal::AlreadyExists)));
        assert_eq!(read(&broker, stream).await, ("first".to_owned(), closed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_flattened_at_birth_and_an_empty_array_is_no_record() {
    let (_directory, broker) = open(|_| ()).await;
    for (body, records, text) in [("[]", 0, "[]"), ("[1,[2],{}]", 3, "[1,[2],{}]")] {
        let made = put(&broker, body, request("application/json", body, false)).await;
        assert_eq!(made.expect("created").created.tail.offset.0, records);
        assert_eq!(read(&broker, body).await.0, text);
    }
    let refused = put(&broker, "not json", request("application/json", "{", false)).await;
    assert_eq!(
        refused,
        Err(Error::Refused(Refusal::InvalidJson { index: 0 }))
    );
    let absent = broker.get_metadata(&name("not json")).await;
    assert_eq!(absent.map(drop), Err(Error::Refused(Refusal::NotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_of_another_type_is_refused_unless_the_stream_is_closed() {
    let (_directory, broker) = open(|_| ()).await;
    let stream = name("typed");
    let made = put(
        &broker,
        "typed",
        request("text/plain; charset=utf-8", "a", false),
    )
    .await;
    made.expect("created");
    let append = |content_type: &str| {
        let options = AppendOptions {
            content_type: Some(Str::from(content_type)),
            ..AppendOptions::default()
        };
        broker.append(&stream, RecordBlock::from_payloads(["b"]), options)
    };
    append("TEXT/plain")
        .await
        .expect("parameters do not matter");
    let expected = Str::from("text/plain; charset=utf-8");
    let refusal = Refusal::ContentTypeMismatch { expected };
    assert_eq!(append("text/html").await, Err(Error::Refused(refusal)));
    let tail = broker.close(&stream).await.expect("closed").tail.offset;
    let refusal = Refusal::StreamClosed { tail };
    assert_eq!(append("text/html").await, Err(Error::Refused(refusal)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_lives_where_its_creator_or_else_the_broker_says() {
    let (_directory, broker) = open(|options| options.default_storage = StorageKind::Memory).await;
    let durable = PutRequest {
        storage: Some(StorageKind::Durable),
        ..request("text/plain", "x", false)
    };
    put(&broker, "durable", durable.clone())
        .await
        .expect("created");
    put(&broker, "default", request("text/plain", "x", false))
        .await
        .expect("created");
    for (stream, storage) in [
        ("durable", StorageKind::Durable),
        ("default", StorageKind::Memory),
    ] {
        let metadata = broker.get_metadata(&name(stream)).await.expect("there");
        assert_eq!(metadata.options.storage, storage);
        let again = put(&broker, stream, request("text/plain", "x", false)).await;
        assert!(again.expect("wherever it is").created.existed);
    }
    let elsewhere = put(&broker, "default", durable).await;
    assert_eq!(elsewhere, Err(Error::Refused(Refusal::AlreadyExists)));
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_names_are_listed_only_to_those_who_ask_for_them() {
    let (_directory, broker) = open(|_| ()).await;
    for stream in ["__ds/own", "__dsx", "a"] {
        put(&broker, stream, request("text/plain", "x", false))
            .await
            .expect("created");
    }
    let names = async |prefix: &str| -> Vec<String> {
        let listing = broker.list(prefix, None, 10).await.expect("listed");
        let names = listing.streams.iter().map(|listed| listed.name.to_string());
        names.collect()
    };
    assert_eq!(names("").await, ["__dsx", "a"]);
    assert_eq!(names("__ds/").await, ["__ds/own"]);
}

#[derive(Debug, Default)]
struct Seen(Mutex<BTreeSet<String>>);

impl Feed for Seen {
    fn changed(&self, stream: &StreamName) {
        self.0.lock().expect("no panic").insert(stream.to_string());
    }
}

impl Seen {
    fn take(&self) -> Vec<String> {
        let seen = std::mem::take(&mut *self.0.lock().expect("no panic"));
        seen.into_iter().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_of_every_stream_that_changed_before_the_change_is_confirmed() {
    let (_directory, broker) = open(|_| ()).await;
    put(&broker, "before", request("text/plain", "x", false))
        .await
        .expect("created");
    let seen = Arc::new(Seen::default());
    let feed: Arc<dyn Feed> = Arc::<Seen>::clone(&seen);
    broker.set_feed(&feed);
    put(&broker, "a", request("text/plain", "x", false))
        .await
        .expect("created");
    assert_eq!(seen.take(), ["a"]);
    let memory = PutRequest {
        storage: Some(StorageKind::Memory),
        ..request("text/plain", "x", false)
    };
    put(&broker, "b", memory).await.expect("created");
    let batch = RecordBlock::from_payloads(["y"]);
    broker
        .append(&name("before"), batch, AppendOptions::default())
        .await
        .expect("appended");
    assert_eq!(seen.take(), ["b", "before"]);
    broker.delete(&name("a")).await.expect("deleted");
    assert_eq!(seen.take(), ["a"]);
    put(&broker, "b", request("text/plain", "x", false))
        .await
        .expect("nothing changes");
    assert!(seen.take().is_empty());
}
