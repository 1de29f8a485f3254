//! The way out: nothing accepted is left unanswered, and nobody can hold the server up.

use std::time::Duration;

use bytes::BytesMut;
use streamkeeper::server::Drained;
use streamkeeper_protocol::command::{Credit, Read, Start};
use streamkeeper_protocol::{Command, ErrorCode, Event};
use tokio::net::{TcpStream, UnixStream};

use crate::fixture::{Fixture, append, encoded, records, subscribe, within};

/// Less than what a grace or a read waits for.
const SOON: Duration = Duration::from_secs(30);

/// Peers that keep it waiting would do so for ever.
async fn patient() -> Fixture {
    Fixture::start_with(|_, server| server.drain_grace = 10 * SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_on_their_way_are_answered_before_the_connection_ends() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    client.create("s").await;
    let mut bytes = BytesMut::new();
    for correlation in 0..2000 {
        append("s", &[b"x"]).encode(correlation, &mut bytes);
    }
    client.send_bytes(&bytes).await;
    // Some are in queues, some in the socket, some perhaps confirmed.
    fixture.begin_stop();
    let mut answered = 0;
    let mut draining = false;
    while let Some((_, event)) = client.next_or_end().await {
        match event {
            Event::Confirm(confirm) => answered += confirm.entries.len(),
            Event::Err(err) => {
                assert_eq!(err.error_code(), Some(ErrorCode::Draining));
                answered += 1;
            }
            Event::Draining(_) => draining = true,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(draining);
    assert_eq!(answered, 2000);
    assert_eq!(fixture.stop().await.cut, 0);
}

#[tokio::test]
async fn a_read_that_waits_is_refused_and_idle_peers_leave_at_once() {
    let fixture = patient().await;
    let mut reader = fixture.client().await;
    reader.create("s").await;
    let (stream, start) = ("s".into(), Start::Now);
    let read = Read {
        stream,
        start,
        max_bytes: 0,
        max_records: 0,
        wait_ms: 60_000,
    };
    reader.send(5, &Command::Read(read)).await;
    reader.expect_alive().await;
    let mut subscriber = fixture.client().await;
    subscriber.subscribe(1, "s", Start::Now, 1).await;
    let mut not_connected = fixture.raw().await;
    not_connected.next().await;
    let reading = async {
        assert!(matches!(reader.next().await, (0, Event::Draining(_))));
        let (5, refused) = reader.next_err().await else {
            panic!("another request")
        };
        assert_eq!(refused.error_code(), Some(ErrorCode::Draining));
        reader.expect_end().await;
    };
    let others = async {
        assert!(matches!(subscriber.next().await, (0, Event::Draining(_))));
        subscriber.expect_end().await;
        not_connected.expect_end().await;
    };
    let (tcp, unix) = (fixture.tcp.clone(), fixture.unix.clone());
    let stopping = async {
        let began = tokio::time::Instant::now();
        let drained = fixture.stop().await;
        (drained, began.elapsed())
    };
    let ((), (), (drained, took)) = tokio::join!(reading, others, stopping);
    assert_eq!(
        drained,
        Drained {
            connections: 3,
            cut: 0
        }
    );
    assert!(took < SOON, "{took:?}");
    assert!(TcpStream::connect(&tcp).await.is_err());
    assert!(UnixStream::connect(&unix).await.is_err());
    assert!(!unix.exists());
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off_when_the_grace_is_over() {
    let fixture = Fixture::start_with(|_, server| {
        server.drain_grace = Duration::from_millis(300);
    })
    .await;
    let mut writer = fixture.client().await;
    writer.create("s").await;
    let payload = vec![0; 512 << 10];
    for _ in 0..40 {
        writer.append("s", &[&payload]).await;
    }
    drop(writer);
    let mut deaf = fixture.client().await;
    deaf.subscribe(1, "s", Start::Beginning, u64::MAX).await;
    // Until its socket is full.
    let mut sent = 0;
    let stuck = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = fixture.metric("delivered_bytes_total");
            if now == sent && now > 0 {
                break;
            }
            sent = now;
        }
    };
    within(stuck).await;
    let drained = fixture.stop().await;
    assert_eq!(drained.cut, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_subscriber_does_not_hold_the_shutdown_up() {
    let fixture = patient().await;
    let mut client = fixture.client().await;
    client.create("s").await;
    let payload = vec![7; 64 << 10];
    for _ in 0..100 {
        client.append("s", &[&payload]).await;
    }
    client.subscribe(1, "s", Start::Beginning, u64::MAX).await;
    // Reads again and again from the beginning, and gives credit all the time.
    let reading = async {
        let mut subscription = 1;
        let mut left = 100;
        while let Some((_, event)) = client.next_or_end().await {
            if let Event::Deliver(deliver) = event {
                left -= records(&deliver).len();
            }
            if left == 0 {
                subscription += 1;
                left = 100;
                let subscribe = subscribe(subscription, "s", Start::Beginning, u64::MAX);
                let bytes = encoded(subscription, &subscribe);
                tokio::io::AsyncWriteExt::write_all(&mut client.stream, &bytes)
                    .await
                    .ok();
            }
            let credit = Command::Credit(Credit {
                subscription,
                bytes: 1,
            });
            let bytes = encoded(0, &credit);
            tokio::io::AsyncWriteExt::write_all(&mut client.stream, &bytes)
                .await
                .ok();
        }
    };
    let stopping = async {
        let delivered = || fixture.metric("delivered_records_total");
        while delivered() < 500 {
            tokio::task::yield_now().await;
        }
        let began = tokio::time::Instant::now();
        assert_eq!(fixture.stop().await.cut, 0);
        began.elapsed()
    };
    let ((), took) = within(async { tokio::join!(reading, stopping) }).await;
    assert!(took < SOON, "{took:?}");
}
