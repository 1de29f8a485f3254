//! Requests and their answers: every kind, pipelined, interleaved, cut into pieces, refused, unanswered.

use std::time::Duration;

use bytes::BytesMut;
use streamkeeper_client::{AppendOptions, CreateOptions, Error, ReadOptions, Start, Storage};
use streamkeeper_protocol::event::{Closed, Confirm, ConfirmEntry, Created, Listed, ListedStream};
use streamkeeper_protocol::{Command, Event};

use crate::support::{connected, connected_with, entry, payloads, records, runs, soon};

#[tokio::test]
async fn create_carries_its_options() {
    let (_server, client, mut peer) = connected().await;
    let options = CreateOptions::new()
        .content_type("text/plain")
        .ttl(Duration::from_mins(1))
        .max_age(Duration::from_millis(1_500))
        .max_records(10)
        .max_bytes(1_000)
        .storage(Storage::Memory);
    let script = async {
        let (correlation, command) = peer.command().await;
        peer.send(
            correlation,
            &Event::Created(Created {
                exists: true,
                tail: 5,
            }),
        )
        .await;
        command
    };
    let (created, command) = tokio::join!(client.create("orders", options), script);
    let created = created.unwrap();
    assert!(created.existed);
    assert_eq!(created.tail, 5);
    let Command::Create(create) = command else {
        panic!("{command:?}")
    };
    assert_eq!(&*create.stream, "orders");
    assert_eq!(create.content_type.as_deref(), Some("text/plain"));
    assert_eq!(
        (create.ttl_seconds, create.max_age_ms),
        (Some(60), Some(1_500))
    );
    assert_eq!(
        (create.max_records, create.max_bytes),
        (Some(10), Some(1_000))
    );
    assert_eq!(create.storage, Some(Storage::Memory));
}

#[tokio::test]
async fn an_append_returns_the_confirmed_tail() {
    let (_server, client, mut peer) = connected().await;
    let script = async {
        let (correlation, append) = peer.append().await;
        assert_eq!(payloads(&append), ["first"]);
        peer.confirm(&[(correlation, 8)]).await;
    };
    let (appended, ()) = tokio::join!(client.append("orders", "first"), script);
    let appended = appended.unwrap();
    assert_eq!(
        (appended.tail, appended.duplicate, appended.closed),
        (8, false, false)
    );
}

#[tokio::test]
async fn a_batch_carries_its_conditions_and_reports_flags() {
    let (_server, client, mut peer) = connected().await;
    let options = AppendOptions::new()
        .seq("s-9")
        .producer("p", 3, 4)
        .expected_tail(6)
        .close_after();
    let script = async {
        let (correlation, append) = peer.append().await;
        let entries = vec![ConfirmEntry {
            correlation,
            duplicate: true,
            closed: true,
            tail: 8,
        }];
        peer.send(0, &Event::Confirm(Confirm { entries })).await;
        append
    };
    let (appended, append) = tokio::join!(
        client.append_batch("orders", ["one", "two"], options),
        script
    );
    let appended = appended.unwrap();
    assert!(appended.duplicate && appended.closed);
    assert_eq!(payloads(&append), ["one", "two"]);
    assert_eq!(append.seq.as_deref(), Some(&b"s-9"[..]));
    let producer = append.producer.unwrap();
    assert_eq!((&*producer.id, producer.epoch, producer.seq), ("p", 3, 4));
    assert_eq!(append.expected_tail, Some(6));
    assert!(append.close_after && !append.no_confirm);
}

#[tokio::test]
async fn large_records_arrive_whole_between_small_ones() {
    let (_server, client, mut peer) = connected().await;
    let large = "x".repeat(600_000);
    let medium = "y".repeat(5_000);
    let tickets = [
        client.append_pipelined("s", "small").await.unwrap(),
        client.append_pipelined("s", &large).await.unwrap(),
        client.append_pipelined("s", "").await.unwrap(),
        client.append_pipelined("s", &medium).await.unwrap(),
    ];
    for expected in ["small", &large, "", &medium] {
        let (correlation, append) = peer.append().await;
        assert_eq!(payloads(&append), [expected.to_owned()]);
        peer.confirm(&[(correlation, 1)]).await;
    }
    for ticket in tickets {
        soon(ticket).await.unwrap();
    }
}

#[tokio::test]
async fn confirms_in_any_order_and_grouping_reach_their_tickets() {
    let (_server, client, mut peer) = connected().await;
    let mut tickets = Vec::new();
    for n in 0..100 {
        tickets.push(
            client
                .append_pipelined("orders", format!("{n}"))
                .await
                .unwrap(),
        );
    }
    let mut correlations = Vec::new();
    for n in 0..100 {
        let (correlation, append) = peer.append().await;
        assert_eq!(payloads(&append), [format!("{n}")]);
        correlations.push((correlation, n + 1));
    }
    // The later half first, between it an answer to another request.
    peer.confirm(&correlations[50..]).await;
    let script = async {
        let (correlation, command) = peer.command().await;
        assert!(matches!(command, Command::Close(_)));
        peer.send(correlation, &Event::Closed(Closed { tail: 100 }))
            .await;
        for one in &correlations[..50] {
            peer.confirm(&[*one]).await;
        }
    };
    let (closed, ()) = tokio::join!(client.close_stream("orders"), script);
    assert_eq!(closed.unwrap(), 100);
    for (n, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(soon(ticket).await.unwrap().tail, n as u64 + 1);
    }
}

#[tokio::test]
async fn frames_cut_anywhere_are_put_together() {
    let (_server, client, mut peer) = connected().await;
    let tickets = [
        client.append_pipelined("orders", "one").await.unwrap(),
        client.append_pipelined("orders", "two").await.unwrap(),
    ];
    let (first, _) = peer.append().await;
    let (second, _) = peer.append().await;
    let mut bytes = BytesMut::new();
    Event::Confirm(Confirm {
        entries: vec![entry(first, 1)],
    })
    .encode(0, &mut bytes);
    Event::Ping.encode(0, &mut bytes);
    Event::Confirm(Confirm {
        entries: vec![entry(second, 2)],
    })
    .encode(0, &mut bytes);
    for piece in bytes.chunks(7) {
        peer.send_bytes(piece).await;
        tokio::task::yield_now().await;
    }
    for (n, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(soon(ticket).await.unwrap().tail, n as u64 + 1);
    }
    assert!(matches!(peer.command().await, (_, Command::Pong)));
}

#[tokio::test]
async fn a_read_returns_records_and_where_to_go_on() {
    let (_server, client, mut peer) = connected().await;
    let options = ReadOptions::new()
        .from(Start::Offset(4))
        .max_bytes(100)
        .max_records(2)
        .wait(Duration::from_millis(250));
    let script = async {
        let (correlation, read) = peer.read().await;
        let mut reply = records(4, &["four", "five"]);
        (reply.more, reply.tail, reply.next_byte) = (true, 9, 48);
        peer.send(correlation, &Event::Records(reply)).await;
        read
    };
    let (page, read) = tokio::join!(client.read("orders", options), script);
    let page = page.unwrap();
    assert_eq!((read.start, read.wait_ms), (Start::Offset(4), 250));
    assert_eq!((read.max_bytes, read.max_records), (100, 2));
    let seen: Vec<_> = page
        .records
        .iter()
        .map(|r| (r.offset, r.byte, &*r.payload))
        .collect();
    assert_eq!(seen, [(4, 40, &b"four"[..]), (5, 44, &b"five"[..])]);
    assert_eq!(
        (page.next, page.next_byte, page.tail, page.more),
        (6, 48, 9, true)
    );
}

#[tokio::test]
async fn a_damaged_record_is_an_error_with_its_offset() {
    let (_server, client, mut peer) = connected().await;
    let script = async {
        let (correlation, _) = peer.read().await;
        let mut reply = records(4, &["four", "five"]);
        let mut damaged = runs(4, &["four", "five"]).to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        reply.runs = damaged.into();
        peer.send(correlation, &Event::Records(reply)).await;
    };
    let (page, ()) = tokio::join!(client.read("orders", ReadOptions::new()), script);
    match page.unwrap_err() {
        Error::Corrupt { stream, offset } => assert_eq!((&*stream, offset), ("orders", 5)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn stat_tells_everything() {
    let (_server, client, mut peer) = connected().await;
    let (status, ()) = tokio::join!(client.stat("orders"), peer.answer_stat("text/plain"));
    let status = status.unwrap();
    assert_eq!(status.content_type, "text/plain");
    assert_eq!((status.created_at, status.closed), (1, true));
    assert_eq!((status.earliest, status.earliest_byte), (2, 3));
    assert_eq!((status.tail, status.tail_byte), (4, 5));
    assert_eq!(status.ttl, Some(Duration::from_secs(6)));
    assert_eq!(status.max_age, Some(Duration::from_millis(7)));
    assert_eq!((status.max_records, status.max_bytes), (None, Some(8)));
    assert_eq!(status.last_seq.as_deref(), Some(&b"s"[..]));
    assert_eq!((status.expires_at, status.last_append_at), (None, Some(9)));
}

#[tokio::test]
async fn a_listing_goes_on_after_the_last_name_until_there_is_no_more() {
    let (_server, client, mut peer) = connected().await;
    let script = async {
        for (after, names, more) in [("", ["a", "b"], true), ("b", ["c", "d"], false)] {
            let (correlation, command) = peer.command().await;
            let Command::List(list) = command else {
                panic!("{command:?}")
            };
            assert_eq!((&*list.prefix, &*list.after), ("p", after));
            let streams = names.map(|name| ListedStream {
                stream: name.into(),
                tail: 1,
                earliest: 0,
                closed: false,
            });
            let listed = Listed {
                more,
                streams: streams.to_vec(),
            };
            peer.send(correlation, &Event::Listed(listed)).await;
        }
    };
    let collect = async {
        let mut listing = client.list("p");
        let mut names = Vec::new();
        while let Some(entry) = listing.next().await {
            names.push(entry.unwrap().stream);
        }
        names
    };
    let (names, ()) = tokio::join!(collect, script);
    assert_eq!(names, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn close_waits_for_what_is_in_flight() {
    let (_server, client, mut peer) = connected().await;
    let ticket = client.append_pipelined("orders", "x").await.unwrap();
    let kept = client.clone();
    let script = async {
        let (correlation, _) = peer.append().await;
        peer.confirm(&[(correlation, 1)]).await;
        assert!(
            soon(peer.try_command()).await.is_none(),
            "the client hangs up"
        );
    };
    tokio::join!(client.close(), script);
    assert_eq!(ticket.await.unwrap().tail, 1);
    assert!(matches!(
        kept.append("orders", "y").await,
        Err(Error::Closed)
    ));
}

#[tokio::test]
async fn a_late_answer_does_not_meet_a_later_request() {
    let (_server, client, mut peer) =
        connected_with(|builder| builder.request_timeout(Duration::from_millis(30))).await;
    assert!(client.append("orders", "slow").await.is_err());
    let (slow, _) = peer.append().await;
    let quick = client.append_pipelined("orders", "quick").await.unwrap();
    let (quick_correlation, _) = peer.append().await;
    assert_ne!(slow, quick_correlation);
    peer.confirm(&[(slow, 1)]).await;
    peer.confirm(&[(quick_correlation, 2)]).await;
    assert_eq!(soon(quick).await.unwrap().tail, 2);
}
