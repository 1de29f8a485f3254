//! Peers that send more than the broker takes, and peers that do not read what it sends.
//!
//! Proved by what the broker does not accept: a sender is stopped after a bounded number of bytes, a subscriber is sent no
//! more than its socket holds. Somebody else works on meanwhile.

use std::time::Duration;

use bytes::BytesMut;
use streamkeeper_protocol::Command;
use streamkeeper_protocol::command::{Start, Stat};
use tokio::io::AsyncWriteExt;

use crate::fixture::{Fixture, append, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_beyond_the_write_queue_wait_and_lose_nothing() {
    let fixture = Fixture::start_with(|broker, _| {
        broker.queues.stream_bytes_max = 4 << 10;
        broker.queues.total_bytes_max = 8 << 10;
    })
    .await;
    let mut client = fixture.client().await;
    client.create("s").await;
    let payload = [7; 1000];
    let mut bytes = BytesMut::new();
    for correlation in 0..500 {
        append("s", &[&payload]).encode(correlation, &mut bytes);
    }
    client.send_bytes(&bytes).await;
    let entries = client.confirms(500).await;
    let tails: Vec<u64> = entries.iter().map(|entry| entry.tail).collect();
    assert_eq!(tails, (1..=500).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_is_not_read_either_and_then_ended() {
    let fixture = Fixture::start_with(|_, server| {
        server.connection.unsent_bytes_max = 64 << 10;
        server.connection.write_timeout = Duration::from_millis(300);
    })
    .await;
    let mut steady = fixture.client().await;
    steady.create("steady").await;
    let mut deaf = fixture.client().await;
    let mut bytes = BytesMut::new();
    for correlation in 0..1000 {
        Command::Stat(Stat {
            stream: "no such stream".into(),
        })
        .encode(correlation, &mut bytes);
    }
    // Sends until the broker closes the connection: its memory bounds how much that can be.
    let mut accepted = 0;
    let flooding = async {
        while let Ok(some) = deaf.stream.write(&bytes).await {
            accepted += some;
        }
    };
    let working = async {
        for tail in 1..=20 {
            assert_eq!(steady.append("steady", &[b"x"]).await, tail);
        }
    };
    within(async { tokio::join!(flooding, working) }).await;
    // Both kernel buffers of the socket, in both directions, and little more.
    assert!(accepted < 32 << 20, "{accepted} bytes were accepted");
    steady.expect_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_does_not_read_holds_a_position_and_no_data() {
    const RECORDS: u64 = 400;
    let fixture = Fixture::start().await;
    let mut writer = fixture.client().await;
    writer.create("s").await;
    let mut deaf = fixture.client().await;
    deaf.subscribe(1, "s", Start::Beginning, u64::MAX).await;
    let payload = vec![7; 64 << 10];
    for tail in 1..=RECORDS {
        assert_eq!(writer.append("s", &[&payload]).await, tail);
    }
    let sent = fixture.metric("delivered_bytes_total");
    assert!(
        sent < RECORDS * (64 << 10) / 2,
        "{sent} bytes were sent to a peer that does not read"
    );
    // It reads on later and has lost nothing.
    let mut next = 0;
    while next < RECORDS {
        for (offset, record) in crate::fixture::records(&deaf.deliver().await) {
            assert_eq!((offset, record.len()), (next, payload.len()));
            next += 1;
        }
    }
}
