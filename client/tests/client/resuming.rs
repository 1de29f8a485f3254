//! Subscriptions over lost connections: they go on at their next offset, without gap or duplicate.

use bytes::BytesMut;
use streamkeeper_client::{ErrorCode, Start, SubscribeOptions, Subscription};
use streamkeeper_protocol::event::{End, EndReason, ErrorEvent, Subscribed};
use streamkeeper_protocol::{Command, Event};

use crate::support::{connected, soon};

async fn next(subscription: &mut Subscription) -> (u64, String) {
    let record = soon(subscription.next()).await.unwrap().unwrap();
    (
        record.offset,
        String::from_utf8(record.payload.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn a_subscription_goes_on_at_its_next_offset() {
    let (server, client, mut peer) = connected().await;
    let options = SubscribeOptions::new().from(Start::Now).window_bytes(1_000);
    let (subscription, subscribe) = tokio::join!(
        client.subscribe("orders", options),
        peer.accept_subscribe(5)
    );
    let mut subscription = subscription.unwrap();
    let id = subscribe.subscription;
    peer.deliver(id, 5, &["five", "six"]).await;
    assert_eq!(next(&mut subscription).await, (5, "five".to_owned()));
    drop(peer);

    let mut peer = server.accept().await;
    let resumed = peer.accept_subscribe(7).await;
    assert_eq!(
        (resumed.subscription, resumed.start),
        (id, Start::Offset(7))
    );
    assert_eq!(&*resumed.stream, "orders");
    // Two records of 12 and 11 bytes with the run's head wait to be consumed: that is off the window.
    assert_eq!(resumed.credit, 1_000 - (32 + 12 + 11));
    peer.deliver(id, 7, &["seven"]).await;
    assert_eq!(next(&mut subscription).await, (6, "six".to_owned()));
    assert_eq!(next(&mut subscription).await, (7, "seven".to_owned()));
    assert_eq!(subscription.next_offset(), 8);
}

#[tokio::test]
async fn a_subscription_lost_before_its_answer_is_repeated_from_its_start() {
    let (server, client, mut peer) = connected().await;
    let options = SubscribeOptions::new().from(Start::Time(9));
    let script = async {
        peer.subscribe().await;
        drop(peer);
        let mut peer = server.accept().await;
        let subscribe = peer.accept_subscribe(3).await;
        (peer, subscribe)
    };
    let (subscription, (_peer, subscribe)) =
        tokio::join!(client.subscribe("orders", options), script);
    assert_eq!(subscribe.start, Start::Time(9));
    assert_eq!(subscription.unwrap().next_offset(), 3);
}

#[tokio::test]
async fn many_cut_connections_make_neither_gap_nor_duplicate() {
    let (server, client, mut peer) = connected().await;
    let options = SubscribeOptions::new().window_bytes(300);
    let (subscription, subscribe) = tokio::join!(
        client.subscribe("orders", options),
        peer.accept_subscribe(0)
    );
    let mut subscription = subscription.unwrap();
    let id = subscribe.subscription;
    let script = async {
        let mut offset = 0;
        let mut credit = i64::try_from(subscribe.credit).unwrap();
        while offset < 200 {
            // Two records each time credit allows, and a cut after some of them, once in the middle of a frame.
            while credit <= 0 {
                match peer.command().await {
                    (0, Command::Credit(more)) => credit += i64::try_from(more.bytes).unwrap(),
                    other => panic!("{other:?}"),
                }
            }
            let texts = [format!("{offset}"), format!("{}", offset + 1)];
            peer.deliver(id, offset, &[&texts[0], &texts[1]]).await;
            credit -= 32 + 16 + i64::try_from(texts[0].len() + texts[1].len()).unwrap();
            offset += 2;
            if offset % 14 == 0 {
                let mut half = BytesMut::new();
                Event::Ping.encode(0, &mut half);
                peer.send_bytes(&half[..5]).await;
                drop(peer);
                peer = server.accept().await;
                let (correlation, resumed) = peer.subscribe().await;
                let Start::Offset(from) = resumed.start else {
                    panic!("{resumed:?}")
                };
                assert!(from <= offset, "nothing is skipped");
                let reply = Subscribed {
                    subscription: id,
                    next: from,
                    tail: offset,
                };
                peer.send(correlation, &Event::Subscribed(reply)).await;
                (offset, credit) = (from, i64::try_from(resumed.credit).unwrap());
            }
        }
        let end = End {
            subscription: id,
            reason: EndReason::Closed,
            next: offset,
            earliest: None,
        };
        peer.send(0, &Event::End(end)).await;
        peer
    };
    let collect = async {
        let mut expected = 0;
        while let Some(record) = soon(subscription.next()).await {
            let record = record.unwrap();
            assert_eq!(record.offset, expected);
            assert_eq!(record.payload, expected.to_string());
            expected += 1;
        }
        expected
    };
    let (_peer, seen) = tokio::join!(script, collect);
    assert_eq!(seen, 200);
}

#[tokio::test]
async fn a_stream_deleted_meanwhile_ends_its_subscription() {
    let (server, client, mut peer) = connected().await;
    let (subscription, _) = tokio::join!(
        client.subscribe("orders", SubscribeOptions::new()),
        peer.accept_subscribe(0)
    );
    let mut subscription = subscription.unwrap();
    drop(peer);
    let mut peer = server.accept().await;
    let (correlation, _) = peer.subscribe().await;
    peer.send(
        correlation,
        &Event::Err(ErrorEvent::new(ErrorCode::NotFound, "gone")),
    )
    .await;
    let error = soon(subscription.next()).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotFound));
    assert!(soon(subscription.next()).await.is_none());
}

#[tokio::test]
async fn a_server_that_cannot_serve_a_subscription_now_is_asked_again() {
    let (_server, client, mut peer) = connected().await;
    let (subscription, subscribe) = tokio::join!(
        client.subscribe("orders", SubscribeOptions::new()),
        peer.accept_subscribe(0)
    );
    let mut subscription = subscription.unwrap();
    let id = subscribe.subscription;
    peer.deliver(id, 0, &["zero"]).await;
    let end = End {
        subscription: id,
        reason: EndReason::Unavailable,
        next: 1,
        earliest: None,
    };
    peer.send(0, &Event::End(end)).await;
    let (correlation, again) = peer.subscribe().await;
    assert_eq!(again.start, Start::Offset(1));
    let mut refusal = ErrorEvent::new(ErrorCode::Unavailable, "not yet");
    refusal.retry_after_ms = Some(1);
    peer.send(correlation, &Event::Err(refusal)).await;
    assert_eq!(peer.accept_subscribe(1).await.start, Start::Offset(1));
    peer.deliver(id, 1, &["one"]).await;
    assert_eq!(next(&mut subscription).await, (0, "zero".to_owned()));
    assert_eq!(next(&mut subscription).await, (1, "one".to_owned()));
}

#[tokio::test]
async fn a_subscription_dropped_between_connections_is_not_renewed() {
    let (server, client, mut peer) = connected().await;
    let (subscription, _) = tokio::join!(
        client.subscribe("orders", SubscribeOptions::new()),
        peer.accept_subscribe(0)
    );
    let ticket = client.append_pipelined("orders", "x").await.unwrap();
    drop(peer);
    assert!(soon(ticket).await.is_err(), "the loss was noticed");
    drop(subscription.unwrap());
    let mut peer = server.accept().await;
    let _ticket = client.append_pipelined("orders", "y").await.unwrap();
    assert!(
        matches!(peer.command().await, (_, Command::Append(_))),
        "and nothing before it"
    );
}
