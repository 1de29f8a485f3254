//! Subscriptions on one connection: order, credit, ends, and servers that break the rules.

use bytes::Bytes;
use futures_util::StreamExt;
use streamkeeper_client::{EndReason, Error, ErrorCode, Start, SubscribeOptions, Subscription};
use streamkeeper_protocol::event::{Deliver, End, ErrorEvent};
use streamkeeper_protocol::{Command, Event};

use crate::support::{Peer, Server, connected, runs, soon};

/// A subscription from the beginning with a window of `window_bytes`.
pub(crate) async fn subscribed(window_bytes: u64) -> (Server, Subscription, Peer, u32) {
    let (server, client, mut peer) = connected().await;
    let options = SubscribeOptions::new().window_bytes(window_bytes);
    let (subscription, subscribe) = tokio::join!(
        client.subscribe("orders", options),
        peer.accept_subscribe(0)
    );
    assert_eq!(subscribe.credit, window_bytes);
    (server, subscription.unwrap(), peer, subscribe.subscription)
}

async fn next(subscription: &mut Subscription) -> (u64, Bytes) {
    let record = soon(subscription.next()).await.unwrap().unwrap();
    (record.offset, record.payload)
}

#[tokio::test]
async fn records_come_in_order_with_their_offsets() {
    let (_server, client, mut peer) = connected().await;
    let options = SubscribeOptions::new().from(Start::Now);
    let (subscription, subscribe) = tokio::join!(
        client.subscribe("orders", options),
        peer.accept_subscribe(7)
    );
    let mut subscription = subscription.unwrap();
    assert_eq!(
        (subscribe.start, &*subscribe.stream),
        (Start::Now, "orders")
    );
    assert_eq!(subscription.next_offset(), 7);
    peer.deliver(subscribe.subscription, 7, &["seven", "eight"])
        .await;
    peer.deliver(subscribe.subscription, 9, &["nine"]).await;
    assert_eq!(next(&mut subscription).await, (7, "seven".into()));
    assert_eq!(subscription.next_offset(), 8);
    assert_eq!(next(&mut subscription).await, (8, "eight".into()));
    assert_eq!(next(&mut subscription).await, (9, "nine".into()));
}

#[tokio::test]
async fn a_subscription_is_a_stream() {
    let (_server, subscription, mut peer, id) = subscribed(1_000).await;
    peer.deliver(id, 0, &["a", "b", "c"]).await;
    let payloads: Vec<_> = soon(
        subscription
            .take(3)
            .map(|record| record.unwrap().payload)
            .collect(),
    )
    .await;
    assert_eq!(payloads, ["a", "b", "c"]);
}

#[tokio::test]
async fn credit_is_topped_up_when_half_of_the_window_is_consumed() {
    let (_server, mut subscription, mut peer, id) = subscribed(200).await;
    // A run costs 32 bytes and 8 for each record besides the payload: 32 + 3 * 18 = 86.
    let records = ["0123456789"; 3];
    peer.deliver(id, 0, &records).await;
    for _ in 0..3 {
        next(&mut subscription).await;
    }
    peer.deliver(id, 3, &records).await;
    next(&mut subscription).await;
    match peer.command().await {
        (0, Command::Credit(credit)) => {
            assert_eq!(credit.subscription, id);
            assert_eq!(credit.bytes, 86 + 32, "as soon as it is more than half");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_application_that_does_not_consume_grants_nothing() {
    let (_server, mut subscription, mut peer, id) = subscribed(100).await;
    peer.deliver(id, 0, &["0123456789"; 4]).await;
    peer.send(0, &Event::Ping).await;
    assert!(
        matches!(peer.command().await, (_, Command::Pong)),
        "no CREDIT came before"
    );
    for _ in 0..4 {
        next(&mut subscription).await;
    }
    assert!(matches!(peer.command().await, (_, Command::Credit(_))));
}

#[tokio::test]
async fn a_closed_stream_ends_the_subscription_after_its_last_record() {
    let (_server, mut subscription, mut peer, id) = subscribed(1_000).await;
    peer.deliver(id, 0, &["last"]).await;
    let end = End {
        subscription: id,
        reason: EndReason::Closed,
        next: 1,
        earliest: None,
    };
    peer.send(0, &Event::End(end)).await;
    assert_eq!(next(&mut subscription).await, (0, "last".into()));
    assert_eq!(subscription.end_reason(), None);
    assert!(soon(subscription.next()).await.is_none());
    assert_eq!(subscription.end_reason(), Some(EndReason::Closed));
    assert!(soon(subscription.next()).await.is_none());
}

#[tokio::test]
async fn any_other_end_is_an_error_with_its_reason() {
    let (_server, mut subscription, mut peer, id) = subscribed(1_000).await;
    let end = End {
        subscription: id,
        reason: EndReason::TrimmedPast,
        next: 0,
        earliest: Some(6),
    };
    peer.send(0, &Event::End(end)).await;
    match soon(subscription.next()).await.unwrap().unwrap_err() {
        Error::Ended {
            stream,
            reason,
            next,
            earliest,
        } => {
            assert_eq!((&*stream, reason), ("orders", EndReason::TrimmedPast));
            assert_eq!((next, earliest), (0, Some(6)));
        }
        other => panic!("{other:?}"),
    }
    assert!(soon(subscription.next()).await.is_none());
    assert_eq!(subscription.end_reason(), Some(EndReason::TrimmedPast));
}

#[tokio::test]
async fn a_refused_subscription_is_an_error_of_the_call() {
    let (_server, client, mut peer) = connected().await;
    let script = async {
        let (correlation, _) = peer.subscribe().await;
        let error = ErrorEvent::new(ErrorCode::NotFound, "no such stream");
        peer.send(correlation, &Event::Err(error)).await;
    };
    let (subscription, ()) =
        tokio::join!(client.subscribe("orders", SubscribeOptions::new()), script);
    assert_eq!(subscription.unwrap_err().code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn dropping_a_subscription_unsubscribes_and_late_deliveries_do_no_harm() {
    let (_server, client, mut peer) = connected().await;
    let (subscription, subscribe) = tokio::join!(
        client.subscribe("orders", SubscribeOptions::new()),
        peer.accept_subscribe(0)
    );
    let id = subscribe.subscription;
    drop(subscription.unwrap());
    let (correlation, command) = peer.command().await;
    assert!(matches!(command, Command::Unsubscribe(it) if it.subscription == id));
    peer.deliver(id, 0, &["late"]).await;
    let end = End {
        subscription: id,
        reason: EndReason::Unsubscribed,
        next: 1,
        earliest: None,
    };
    peer.send(correlation, &Event::End(end)).await;
    let script = async {
        let (correlation, _) = peer.append().await;
        peer.confirm(&[(correlation, 1)]).await;
    };
    let (appended, ()) = tokio::join!(client.append("orders", "x"), script);
    appended.unwrap();
}

#[tokio::test]
async fn a_damaged_record_ends_the_subscription_with_its_offset() {
    let (_server, mut subscription, mut peer, id) = subscribed(1_000).await;
    let mut damaged = runs(0, &["good", "bad"]).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let deliver = Deliver {
        subscription: id,
        runs: damaged.into(),
    };
    peer.send(0, &Event::Deliver(deliver)).await;
    assert_eq!(next(&mut subscription).await, (0, "good".into()));
    let error = soon(subscription.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(error, Error::Corrupt { offset: 1, .. }),
        "{error:?}"
    );
    assert!(soon(subscription.next()).await.is_none());
}

#[tokio::test]
async fn a_gap_in_the_deliveries_is_a_violation_and_not_passed_on() {
    let (_server, client, mut peer) = connected().await;
    let (subscription, subscribe) = tokio::join!(
        client.subscribe("orders", SubscribeOptions::new()),
        peer.accept_subscribe(0)
    );
    let (mut subscription, id) = (subscription.unwrap(), subscribe.subscription);
    peer.deliver(id, 0, &["zero"]).await;
    peer.deliver(id, 2, &["two"]).await;
    assert_eq!(next(&mut subscription).await, (0, "zero".into()));
    let error = soon(subscription.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    drop(subscription);
    assert!(
        matches!(peer.command().await, (_, Command::Unsubscribe(_))),
        "the server stops too"
    );
}

#[tokio::test]
async fn deliveries_beyond_the_credit_are_a_violation() {
    let (_server, mut subscription, mut peer, id) = subscribed(100).await;
    peer.deliver(id, 0, &["0123456789"; 6]).await;
    peer.deliver(id, 6, &["one too many"]).await;
    for offset in 0..6 {
        assert_eq!(next(&mut subscription).await.0, offset);
    }
    let error = soon(subscription.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}
