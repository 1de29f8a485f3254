//! Subscriptions over a socket: credit to the byte, catch-up to live without a gap, and how they end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use streamkeeper_protocol::command::{Close, Credit, Delete, Start, Unsubscribe};
use streamkeeper_protocol::event::EndReason;
use streamkeeper_protocol::{Command, Event};

use crate::fixture::{Client, Fixture, append, create_options, records, within};

#[tokio::test]
async fn credit_is_spent_to_the_byte() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    client.create("s").await;
    client.append("s", &[&[1; 92], &[2; 92], &[3; 92]]).await;
    // A run of one record: 32 + 8 + 92 bytes. One byte of credit buys one record and leaves a debt of 131.
    client.subscribe(1, "s", Start::Beginning, 1).await;
    let first = client.deliver().await;
    assert_eq!((first.cost(), records(&first).len()), (132, 1));
    client
        .send(
            0,
            &Command::Credit(Credit {
                subscription: 1,
                bytes: 131,
            }),
        )
        .await;
    client.expect_alive().await;
    // At 1 again, and 231 more: room for 232 bytes, that is a run of two records.
    client
        .send(
            0,
            &Command::Credit(Credit {
                subscription: 1,
                bytes: 232,
            }),
        )
        .await;
    let second = client.deliver().await;
    assert_eq!((second.cost(), records(&second).len()), (232, 2));
    assert_eq!(records(&second)[0].0, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_delivery_exceeds_the_credit_by_a_whole_record() {
    let fixture = Fixture::start().await;
    let mut writer = fixture.client().await;
    writer.create("s").await;
    let mut bytes = BytesMut::new();
    for correlation in 0..500u32 {
        let length = usize::try_from(correlation * 7 % 300).expect("small");
        append("s", &[&vec![0; length]]).encode(correlation, &mut bytes);
    }
    writer.send_bytes(&bytes).await;
    writer.confirms(500).await;
    let mut reader = fixture.client().await;
    reader.subscribe(1, "s", Start::Beginning, 1000).await;
    let mut credit = 1000_i64;
    let mut next = 0;
    while next < 500 {
        let deliver = reader.deliver().await;
        let cost = i64::try_from(deliver.cost()).expect("small");
        assert!(credit > 0, "delivered without credit");
        let several = records(&deliver).len() > 1;
        assert!(
            !several || cost <= credit,
            "{cost} bytes for a credit of {credit}"
        );
        credit -= cost;
        for (offset, _) in records(&deliver) {
            assert_eq!(offset, next);
            next += 1;
        }
        if credit <= 0 {
            let bytes = 777;
            credit += 777;
            reader
                .send(
                    0,
                    &Command::Credit(Credit {
                        subscription: 1,
                        bytes,
                    }),
                )
                .await;
            if credit <= 0 {
                reader
                    .send(
                        0,
                        &Command::Credit(Credit {
                            subscription: 1,
                            bytes,
                        }),
                    )
                    .await;
                credit += 777;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_subscriptions_on_one_connection_do_not_mix() {
    let fixture = Fixture::start().await;
    let mut writer = fixture.client().await;
    let mut reader = fixture.client().await;
    for stream in 0..8u32 {
        writer.create(&format!("s{stream}")).await;
        reader
            .subscribe(stream, &format!("s{stream}"), Start::Now, u64::MAX)
            .await;
    }
    let mut bytes = BytesMut::new();
    for correlation in 0..800u32 {
        let stream = correlation % 8;
        let payload = format!("{stream}:{}", correlation / 8);
        append(&format!("s{stream}"), &[payload.as_bytes()]).encode(correlation, &mut bytes);
    }
    writer.send_bytes(&bytes).await;
    let mut next = [0u64; 8];
    while next.iter().any(|next| *next < 100) {
        let deliver = reader.deliver().await;
        let stream = usize::try_from(deliver.subscription).expect("small");
        for (offset, payload) in records(&deliver) {
            assert_eq!(offset, next[stream]);
            assert_eq!(payload, Bytes::from(format!("{stream}:{offset}")));
            next[stream] += 1;
        }
    }
}

/// Reads until `count` records have come, and checks that none is missing or doubled.
async fn follow<S>(reader: &mut Client<S>, from: u64, count: u64)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut next = from;
    while next < count {
        let deliver = reader.deliver().await;
        for (offset, payload) in records(&deliver) {
            assert_eq!(offset, next);
            assert_eq!(payload, Bytes::from(format!("record {offset}")));
            next += 1;
        }
        let credit = Credit {
            subscription: deliver.subscription,
            bytes: deliver.cost(),
        };
        reader.send(0, &Command::Credit(credit)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catching_up_joins_the_live_tail_without_gap_or_double() {
    const RECORDS: u64 = 20_000;
    let fixture = Fixture::start_with(|broker, _| {
        // Small enough that most of the stream is in the store while it is read.
        broker.fold_bytes = 64 << 10;
        broker.hot_tail_bytes_max = 256 << 10;
    })
    .await;
    let mut writer = fixture.client().await;
    writer.create("s").await;
    let address = fixture.tcp.clone();
    let writing = tokio::spawn(async move {
        for first in (0..RECORDS).step_by(50) {
            let mut bytes = BytesMut::new();
            for offset in first..first + 50 {
                let payload = format!("record {offset}");
                append("s", &[payload.as_bytes()]).encode(1, &mut bytes);
            }
            writer.send_bytes(&bytes).await;
            writer.confirms(50).await;
        }
    });
    // Readers begin at different times, while the writer goes on.
    let mut reading = Vec::new();
    for reader in 0..4u64 {
        let stream = tokio::net::TcpStream::connect(&address)
            .await
            .expect("a connection");
        let mut client = Client::new(stream);
        client.shake_hands().await;
        let credit = 1 << (12 + 2 * reader);
        reading.push(tokio::spawn(async move {
            client.subscribe(1, "s", Start::Beginning, credit).await;
            follow(&mut client, 0, RECORDS).await;
        }));
        // Each begins once the one before it has something to do.
        let begun = fixture.metric("delivered_records_total");
        let moving = async {
            while fixture.metric("delivered_records_total") < begun + 500 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), moving)
            .await
            .ok();
    }
    within(writing).await.expect("written");
    for reader in reading {
        within(reader).await.expect("read");
    }
}

#[tokio::test]
async fn a_subscription_says_why_it_ends() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    for (stream, command, reason) in [
        (
            "closed",
            Command::Close(Close {
                stream: "closed".into(),
            }),
            EndReason::Closed,
        ),
        (
            "deleted",
            Command::Delete(Delete {
                stream: "deleted".into(),
            }),
            EndReason::Deleted,
        ),
        (
            "left",
            Command::Unsubscribe(Unsubscribe { subscription: 5 }),
            EndReason::Unsubscribed,
        ),
    ] {
        client.create(stream).await;
        client.append(stream, &[b"a", b"b"]).await;
        client
            .subscribe(5, stream, Start::Beginning, u64::MAX)
            .await;
        client.deliver().await;
        client.send(6, &command).await;
        // The reply and the END come in any order; of UNSUBSCRIBE they are one.
        let mut end = None;
        let mut replied = reason == EndReason::Unsubscribed;
        while end.is_none() || !replied {
            match client.next().await {
                (_, Event::End(some)) => end = Some(some),
                (6, Event::Closed(_) | Event::Deleted) => replied = true,
                other => panic!("unexpected {other:?}"),
            }
        }
        let end = end.expect("just seen");
        assert_eq!((end.subscription, end.reason, end.next), (5, reason, 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_retention_overtakes_is_told_where_to_go_on() {
    let fixture = Fixture::start().await;
    let mut writer = fixture.client().await;
    let limited = streamkeeper_protocol::command::Create {
        max_records: Some(10),
        ..create_options("s")
    };
    writer.send(2, &Command::Create(limited)).await;
    writer.next().await;
    writer.append("s", &[b"0"]).await;
    let mut reader = fixture.client().await;
    reader.subscribe(1, "s", Start::Beginning, 1).await;
    reader.deliver().await;
    // Its credit is spent: it can be sent no record, but it is told.
    for _ in 0..100 {
        writer.append("s", &[b"x"]).await;
    }
    let end = reader.end().await;
    assert_eq!(
        (end.subscription, end.reason, end.next),
        (1, EndReason::TrimmedPast, 1)
    );
    let earliest = end.earliest.expect("TRIMMED_PAST says where to go on");
    assert!(earliest > 1);
    let tail = writer.append("s", &[b"last"]).await;
    reader
        .subscribe(1, "s", Start::Offset(tail - 1), 1 << 20)
        .await;
    assert_eq!(records(&reader.deliver().await)[0].0, tail - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_without_credit_is_told_that_its_stream_is_gone() {
    let fixture = Fixture::start().await;
    let mut writer = fixture.client().await;
    writer.create("s").await;
    writer.append("s", &[b"a", b"b"]).await;
    let mut reader = fixture.client().await;
    reader.subscribe(1, "s", Start::Beginning, 0).await;
    let delete = Command::Delete(Delete { stream: "s".into() });
    writer.send(3, &delete).await;
    assert!(matches!(writer.next().await, (3, Event::Deleted)));
    let end = reader.end().await;
    assert_eq!(
        (end.subscription, end.reason, end.next),
        (1, EndReason::Deleted, 0)
    );
}
