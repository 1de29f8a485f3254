//! What there may be at most, what cannot be stored, and that nothing is lost by either: the library, with small limits.

use std::collections::BTreeSet;

use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::storage::Storage as _;
use streamkeeper::subscriptions::core::{Ack, Config, Delivery, Rejection};
use streamkeeper::subscriptions::{
    Report, Route, SubscriptionError, SubscriptionLimits, SubscriptionOptions, Subscriptions,
};
use streamkeeper::types::{AppendOptions, CreateOptions, Error, Fault, RecordBlock, StreamName};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{Receiver, text};

const BASE: &str = "http://localhost/v1/stream";

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a name")
}

async fn start(data: &TempDir) -> (Broker, Subscriptions) {
    let broker = Broker::open(BrokerOptions::in_directory(data.path()))
        .await
        .expect("a broker");
    let options = SubscriptionOptions {
        allow_loopback: true,
        limits: SubscriptionLimits {
            subscriptions_max: 6,
            links_max: 3,
            links_total_max: 20,
            deliveries_max: 1,
            ..SubscriptionLimits::default()
        },
        ..SubscriptionOptions::default()
    };
    let stop = CancellationToken::new();
    let subscriptions = Subscriptions::start(broker.clone(), options, stop)
        .await
        .expect("nothing is stored yet");
    (broker, subscriptions)
}

fn config(url: &str) -> Config {
    Config {
        delivery: Delivery::Webhook {
            url: url.to_owned(),
        },
        pattern: Some("events/*".parse().expect("a pattern")),
        streams: Vec::new(),
        lease_ttl_ms: 60_000,
        description: None,
    }
}

#[tokio::test]
async fn webhooks_that_wait_for_their_turn_are_all_called() {
    let data = tempfile::tempdir().unwrap();
    let (broker, subscriptions) = start(&data).await;
    let receiver = Receiver::start(200, r#"{"done":true}"#).await;
    for n in 0..6 {
        let put = subscriptions.put(n.to_string(), config(&receiver.url), BASE.into());
        assert!(put.await.unwrap().0);
    }
    let stream = name("events/a");
    broker
        .create(&stream, CreateOptions::default())
        .await
        .unwrap();
    for _ in 0..2 {
        let batch = RecordBlock::from_payloads(["record"]);
        broker
            .append(&stream, batch, AppendOptions::default())
            .await
            .unwrap();
        let mut called = BTreeSet::new();
        for _ in 0..6 {
            called.insert(text(&receiver.next().await.told(), "subscription_id").to_owned());
        }
        assert_eq!(called.len(), 6);
    }
}

#[tokio::test]
async fn more_subscriptions_and_streams_than_there_may_be_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let (broker, subscriptions) = start(&data).await;
    let config = config("http://localhost:9/");
    for n in 0..6 {
        let put = subscriptions.put(n.to_string(), config.clone(), BASE.into());
        put.await.unwrap();
    }
    let seventh = subscriptions
        .put("6".into(), config.clone(), BASE.into())
        .await;
    assert!(
        matches!(seventh, Err(SubscriptionError::TooMany { limit: 6 })),
        "{seventh:?}"
    );
    subscriptions.delete("5".into()).await.unwrap();

    let three = vec![name("a"), name("b"), name("c")];
    subscriptions
        .add_streams("0".into(), three.clone())
        .await
        .unwrap();
    subscriptions.add_streams("0".into(), three).await.unwrap();
    let fourth = subscriptions.add_streams("0".into(), vec![name("d")]).await;
    let full = |refused: &SubscriptionError| {
        matches!(
            refused,
            SubscriptionError::Rejected(Rejection::TooManyStreams { limit: 3 })
        )
    };
    assert!(full(&fourth.unwrap_err()));

    for n in 0..4 {
        let stream = name(&format!("events/{n}"));
        broker
            .create(&stream, CreateOptions::default())
            .await
            .unwrap();
    }
    let taking_in_four = subscriptions.put("5".into(), config, BASE.into()).await;
    assert!(full(&taking_in_four.unwrap_err()));
    let described = subscriptions.get("1".into()).await.unwrap();
    assert_eq!(described.streams.len(), 3, "the fourth found no room");
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_and_moves_no_cursor() {
    let data = tempfile::tempdir().unwrap();
    let (broker, subscriptions) = start(&data).await;
    let id = || String::from("sub");
    let config = Config {
        delivery: Delivery::PullWake {
            wake_stream: name("wake"),
        },
        ..config("")
    };
    subscriptions.put(id(), config, BASE.into()).await.unwrap();
    let stream = name("events/a");
    broker
        .create(&stream, CreateOptions::default())
        .await
        .unwrap();
    let batch = RecordBlock::from_payloads(["record"]);
    let tail = broker
        .append(&stream, batch, AppendOptions::default())
        .await
        .unwrap()
        .tail;
    let claim = subscriptions.claim(id(), "worker".into()).await.unwrap();
    // From here on the broker takes no writes.
    broker.begin_drain();
    let report = |acks| Report {
        wake_id: claim.wake_id.clone(),
        generation: claim.generation,
        acks,
        done: true,
    };
    let ack = Ack {
        stream,
        offset: Some(tail),
    };
    for _ in 0..3 {
        let (token, report) = (claim.token.clone(), report(vec![ack.clone()]));
        let refused = subscriptions
            .acknowledge(id(), Route::Ack, token, report)
            .await;
        let drains = |error: &SubscriptionError| {
            matches!(
                error,
                SubscriptionError::Engine(Error::Fault(Fault::Draining))
            )
        };
        assert!(refused.as_ref().is_err_and(drains), "{refused:?}");
        let described = subscriptions.get(id()).await.unwrap();
        assert_eq!(described.streams[0].acked_offset, "-1");
        assert!(described.streams[0].has_pending);
    }
    let again = subscriptions.claim(id(), "another".into()).await;
    let held = matches!(
        again,
        Err(SubscriptionError::Rejected(
            Rejection::AlreadyClaimed { .. }
        ))
    );
    assert!(held, "the lease is as it was");
}
