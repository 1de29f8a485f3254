//! Many requests on their way at once.

use bytes::BytesMut;
use streamkeeper_protocol::command::{Read, Start, Stat};
use streamkeeper_protocol::{Command, Event};
use tokio::io::AsyncWriteExt;

use crate::fixture::{Fixture, append, create, encoded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_appends_are_confirmed_in_order_in_far_fewer_frames() {
    const APPENDS: u32 = 10_000;
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    client.create("s").await;
    let mut bytes = BytesMut::new();
    for correlation in 0..APPENDS {
        append("s", &[b"payload"]).encode(correlation, &mut bytes);
    }
    client.send_bytes(&bytes).await;
    let mut frames = 0;
    let mut next = 0;
    while next < APPENDS {
        let (0, Event::Confirm(confirm)) = client.next().await else {
            panic!("not CONFIRM")
        };
        frames += 1;
        for entry in confirm.entries {
            assert_eq!((entry.correlation, entry.tail), (next, u64::from(next) + 1));
            next += 1;
        }
    }
    assert!(frames < APPENDS / 10, "{frames} frames");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connections_share_a_stream_without_losing_each_others_records() {
    let fixture = Fixture::start().await;
    let mut first = fixture.client().await;
    let mut second = fixture.client().await;
    first.create("s").await;
    let mut bytes = BytesMut::new();
    for correlation in 0..1000 {
        append("s", &[b"x"]).encode(correlation, &mut bytes);
    }
    tokio::join!(first.send_bytes(&bytes), second.send_bytes(&bytes));
    let (some, others) = tokio::join!(first.confirms(1000), second.confirms(1000));
    let mut tails: Vec<u64> = some.iter().chain(&others).map(|entry| entry.tail).collect();
    assert!(some.is_sorted_by_key(|entry| entry.tail));
    tails.sort_unstable();
    assert_eq!(tails, (1..=2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_asked_before_the_sending_side_closed_is_answered() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let mut bytes = encoded(2, &create("s"));
    for correlation in 3..103 {
        append("s", &[b"x"]).encode(correlation, &mut bytes);
    }
    client.send_bytes(&bytes).await;
    client.stream.shutdown().await.expect("shut");
    assert!(matches!(client.next().await, (2, Event::Created(_))));
    assert_eq!(
        client.confirms(100).await.last().expect("entries").tail,
        100
    );
    client.expect_end().await;
}

#[tokio::test]
async fn more_queries_than_run_at_once_are_all_answered() {
    let fixture = Fixture::start_with(|_, server| server.session.queries_max = 2).await;
    let mut client = fixture.client().await;
    client.create("s").await;
    let mut bytes = BytesMut::new();
    for correlation in 0..200 {
        Command::Stat(Stat { stream: "s".into() }).encode(correlation, &mut bytes);
    }
    client.send_bytes(&bytes).await;
    let mut answered = Vec::new();
    while answered.len() < 200 {
        let (correlation, Event::Status(_)) = client.next().await else {
            panic!("not STATUS")
        };
        answered.push(correlation);
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_waiting_read_does_not_hold_up_what_comes_behind_it() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    client.create("s").await;
    let (stream, start) = ("s".into(), Start::Now);
    let read = Read {
        stream,
        start,
        max_bytes: 0,
        max_records: 0,
        wait_ms: 60_000,
    };
    client.send(5, &Command::Read(read)).await;
    client.expect_alive().await;
    client.send(6, &append("s", &[b"awaited"])).await;
    let mut read = false;
    let mut confirmed = false;
    while !(read && confirmed) {
        match client.next().await {
            (5, Event::Records(records)) => read = records.next == 1,
            (0, Event::Confirm(_)) => confirmed = true,
            other => panic!("unexpected {other:?}"),
        }
    }
}
