//! Credit, turns, and how subscriptions begin and end.

use super::*;

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
async fn a_subscription_without_credit_is_told_of_the_close() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    peer.subscribe(1, "s", Start::Now, 0).await;
    peer.ask(2, &Command::Close(Close { stream: "s".into() }));
    let mut seen = Vec::new();
    for _ in 0..2 {
        // The reply and the END come in any order.
        seen.push(match peer.next().await {
            (2, Event::Closed(_)) => "CLOSED",
            (0, Event::End(end)) if end.reason == EndReason::Closed => "END",
            other => panic!("unexpected {other:?}"),
        });
    }
    seen.sort_unstable();
    assert_eq!(seen, ["CLOSED", "END"]);
}
