//! The producer: batches by itself, resends with the same numbers, stops when it is fenced.

use futures_util::FutureExt;
use streamkeeper_client::{Client, Error, ErrorCode, Producer, ProducerBuilder};
use streamkeeper_protocol::command::Append;
use streamkeeper_protocol::event::{Confirm, ConfirmEntry, ErrorEvent};
use streamkeeper_protocol::{Command, Event};

use crate::support::{Peer, connected, connected_with, payloads, soon};

async fn producer(client: &Client, peer: &mut Peer) -> Producer {
    open(client.producer("orders"), peer).await
}

/// Opens a producer called `p` in its epoch 3, for a stream of bytes.
async fn open(builder: ProducerBuilder, peer: &mut Peer) -> Producer {
    let opening = builder.id("p").epoch(3).open();
    let (producer, ()) = tokio::join!(opening, peer.answer_stat("text/plain"));
    producer.unwrap()
}

fn seq(append: &Append) -> u64 {
    let producer = append.producer.as_ref().unwrap();
    assert_eq!((&*producer.id, producer.epoch), ("p", 3));
    producer.seq
}

fn texts(append: &Append) -> Vec<String> {
    payloads(append)
        .iter()
        .map(|p| String::from_utf8(p.to_vec()).unwrap())
        .collect()
}

/// Reads the batch with number `expected` and returns its correlation id and records.
async fn batch(peer: &mut Peer, expected: u64) -> (u32, Vec<String>) {
    let (correlation, append) = peer.append().await;
    assert_eq!(seq(&append), expected);
    (correlation, texts(&append))
}

async fn confirm_as_duplicate(peer: &mut Peer, correlation: u32, tail: u64) {
    let entries = vec![ConfirmEntry {
        correlation,
        duplicate: true,
        closed: false,
        tail,
    }];
    peer.send(0, &Event::Confirm(Confirm { entries })).await;
}

#[tokio::test]
async fn a_lone_record_leaves_at_once_and_its_receipt_tells_its_offset() {
    let (_server, client, mut peer) = connected().await;
    let producer = producer(&client, &mut peer).await;
    let receipt = producer.send("one").await.unwrap();
    let (correlation, records) = batch(&mut peer, 0).await;
    assert_eq!(records, ["one"]);
    peer.confirm(&[(correlation, 42)]).await;
    let stored = soon(receipt).await.unwrap();
    assert_eq!((stored.offset, stored.duplicate), (Some(41), false));
}

#[tokio::test]
async fn records_sent_while_batches_are_in_flight_travel_together() {
    let (_server, client, mut peer) = connected().await;
    let producer = open(client.producer("orders").batches_max(1), &mut peer).await;
    producer.send("0").await.unwrap();
    let (correlation, records) = batch(&mut peer, 0).await;
    assert_eq!(records, ["0"]);
    let mut receipts = Vec::new();
    for n in 1..=50 {
        receipts.push(producer.send(format!("{n}")).await.unwrap());
    }
    peer.confirm(&[(correlation, 1)]).await;
    let (correlation, records) = batch(&mut peer, 1).await;
    assert_eq!(records.len(), 50);
    peer.confirm(&[(correlation, 51)]).await;
    for (n, receipt) in receipts.into_iter().enumerate() {
        assert_eq!(soon(receipt).await.unwrap().offset, Some(n as u64 + 1));
    }
}

#[tokio::test]
async fn sending_waits_when_the_window_is_full() {
    let (_server, client, mut peer) = connected().await;
    let producer = open(
        client
            .producer("orders")
            .batches_max(2)
            .batch_bytes_max(100),
        &mut peer,
    )
    .await;
    assert_eq!(
        fill(&producer).await,
        3,
        "two batches in flight and one open"
    );
    let (first, _) = batch(&mut peer, 0).await;
    peer.confirm(&[(first, 1)]).await;
    soon(producer.send("x".repeat(92))).await.unwrap();
}

/// Sends a record of 100 bytes with its head for as long as that is accepted at once. Says how many were.
async fn fill(producer: &Producer) -> usize {
    let mut accepted = 0;
    while let Some(sent) = producer.send("x".repeat(92)).now_or_never() {
        sent.unwrap();
        accepted += 1;
        // Gives the writer its turn, as any caller that awaits something does.
        tokio::task::yield_now().await;
        assert!(accepted < 10, "it must come to a halt");
    }
    accepted
}

#[tokio::test]
async fn the_producers_of_a_client_share_what_they_may_hold() {
    let (_server, client, mut peer) = connected_with(|to| to.producer_bytes_max(300)).await;
    let orders = open(client.producer("orders"), &mut peer).await;
    let refunds = open(client.producer("refunds"), &mut peer).await;
    assert_eq!(fill(&orders).await, 3);
    assert_eq!(fill(&refunds).await, 1, "one that holds nothing may go on");
    assert!(orders.try_send(b"").unwrap().is_none());

    let (correlation, first) = peer.append().await;
    assert_eq!(&*first.stream, "orders");
    let confirmed = [(correlation, first.count.into())];
    let (sent, ()) = tokio::join!(refunds.send("x".repeat(92)), peer.confirm(&confirmed));
    sent.unwrap();
    let free = first.count as usize - 1;
    assert_eq!(
        fill(&orders).await,
        free,
        "what was confirmed is free again"
    );
}

#[tokio::test]
async fn a_producer_that_ends_gives_back_what_it_held() {
    let (_server, client, mut peer) = connected_with(|to| to.producer_bytes_max(300)).await;
    let orders = open(client.producer("orders"), &mut peer).await;
    let refunds = open(client.producer("refunds"), &mut peer).await;
    assert_eq!(fill(&orders).await, 3);
    let (correlation, _) = peer.append().await;
    let fenced = ErrorEvent::new(ErrorCode::ProducerFenced, "a newer one");
    peer.send(correlation, &Event::Err(fenced)).await;
    assert!(soon(orders.flush()).await.is_err());
    assert_eq!(fill(&refunds).await, 3);
}

#[tokio::test]
async fn a_producer_that_wants_more_than_all_may_hold_leaves_the_rest_to_the_others() {
    let (_server, client, mut peer) = connected_with(|to| to.producer_bytes_max(300)).await;
    let orders = open(client.producer("orders"), &mut peer).await;
    let refunds = open(client.producer("refunds"), &mut peer).await;
    orders.send("x".repeat(92)).await.unwrap();
    let large = "x".repeat(250);
    let mut waiting = std::pin::pin!(orders.send(&large));
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(fill(&refunds).await, 2);
    let (correlation, first) = peer.append().await;
    assert_eq!(&*first.stream, "orders");
    let confirmed = [(correlation, 1)];
    let (sent, ()) = tokio::join!(waiting, peer.confirm(&confirmed));
    sent.unwrap();
}

#[tokio::test]
async fn a_record_larger_than_all_producers_may_hold_is_sent_alone() {
    let (_server, client, mut peer) = connected_with(|to| to.producer_bytes_max(300)).await;
    let producer = producer(&client, &mut peer).await;
    producer.send("small").await.unwrap();
    let (correlation, _) = batch(&mut peer, 0).await;
    let large = "x".repeat(1000);
    assert!(producer.send(&large).now_or_never().is_none());
    let confirmed = [(correlation, 1)];
    let (sent, ()) = tokio::join!(producer.send(&large), peer.confirm(&confirmed));
    sent.unwrap();
    assert_eq!(batch(&mut peer, 1).await.1, [large]);
}

#[tokio::test]
async fn flush_returns_when_everything_is_confirmed() {
    let (_server, client, mut peer) = connected().await;
    let producer = producer(&client, &mut peer).await;
    producer.flush().await.unwrap();
    producer.send("one").await.unwrap();
    let (correlation, _) = batch(&mut peer, 0).await;
    assert!(producer.flush().now_or_never().is_none());
    let confirmed = [(correlation, 1)];
    let (flushed, ()) = tokio::join!(producer.flush(), peer.confirm(&confirmed));
    flushed.unwrap();
    producer.close().await.unwrap();
}

#[tokio::test]
async fn a_cut_connection_makes_it_send_again_in_order_with_the_same_numbers() {
    let (server, client, mut peer) = connected().await;
    let producer = producer(&client, &mut peer).await;
    let mut receipts = Vec::new();
    let mut sent = Vec::new();
    for n in 0..4 {
        receipts.push(producer.send(format!("{n}")).await.unwrap());
        sent.push(batch(&mut peer, n).await);
    }
    // The first is confirmed, the second stored without the confirm arriving, the rest is lost.
    peer.confirm(&[(sent[0].0, 1)]).await;
    let stored = soon(receipts.remove(0)).await.unwrap();
    assert_eq!(stored.offset, Some(0));
    drop(peer);

    let mut peer = server.accept().await;
    let (second, records) = batch(&mut peer, 1).await;
    assert_eq!(records, ["1"]);
    let (third, records) = batch(&mut peer, 2).await;
    assert_eq!(records, ["2"]);
    let (fourth, records) = batch(&mut peer, 3).await;
    assert_eq!(records, ["3"]);
    confirm_as_duplicate(&mut peer, second, 2).await;
    peer.confirm(&[(third, 3), (fourth, 4)]).await;
    let stored = soon(receipts.remove(0)).await.unwrap();
    assert_eq!((stored.offset, stored.duplicate), (None, true));
    assert_eq!(soon(receipts.remove(0)).await.unwrap().offset, Some(2));
    assert_eq!(soon(receipts.remove(0)).await.unwrap().offset, Some(3));
    soon(producer.flush()).await.unwrap();
    producer.send("5").await.unwrap();
    assert_eq!(batch(&mut peer, 4).await.1, ["5"]);
}

#[tokio::test]
async fn records_accepted_between_connections_follow_what_is_sent_again() {
    let (server, client, mut peer) = connected().await;
    let producer = producer(&client, &mut peer).await;
    producer.send("0").await.unwrap();
    batch(&mut peer, 0).await;
    // Stops the client from reconnecting until the script accepts.
    let listener = server;
    drop(peer);
    for n in 1..=3 {
        producer.send(format!("{n}")).await.unwrap();
    }
    let mut peer = listener.accept().await;
    let mut expected = 0;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let (correlation, records) = batch(&mut peer, expected).await;
        seen.extend(records);
        expected += 1;
        peer.confirm(&[(correlation, seen.len() as u64)]).await;
    }
    assert_eq!(seen, ["0", "1", "2", "3"]);
    soon(producer.flush()).await.unwrap();
}

#[tokio::test]
async fn many_cut_connections_store_every_record_once_and_in_order() {
    let (server, client, mut peer) = connected().await;
    let producer = open(
        client.producer("orders").batch_bytes_max(64).batches_max(4),
        &mut peer,
    )
    .await;
    let script = async {
        // A broker in a nutshell: what it stored, and the number it expects next.
        let mut stored: Vec<String> = Vec::new();
        let mut next_seq = 0;
        let mut appends = 0_u32;
        while stored.last().is_none_or(|last| last != "499") {
            let Some((correlation, command)) = soon(peer.try_command()).await else {
                peer = server.accept().await;
                continue;
            };
            let Command::Append(append) = command else {
                panic!("{command:?}")
            };
            appends += 1;
            let duplicate = seq(&append) < next_seq;
            if !duplicate {
                assert_eq!(seq(&append), next_seq, "no gap");
                next_seq += 1;
                stored.extend(texts(&append));
            }
            if appends.is_multiple_of(5) {
                // Stored, and the connection gone before the confirm.
                drop(peer);
                peer = server.accept().await;
            } else if duplicate {
                confirm_as_duplicate(&mut peer, correlation, stored.len() as u64).await;
            } else {
                peer.confirm(&[(correlation, stored.len() as u64)]).await;
            }
        }
        (stored, peer)
    };
    let send = async {
        for n in 0..500 {
            soon(producer.send(format!("{n}"))).await.unwrap();
        }
    };
    let (script, ()) = tokio::join!(script, send);
    let (stored, peer) = script;
    let expected: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    assert_eq!(stored, expected);
    drop(peer);
}

#[tokio::test]
async fn a_newer_epoch_ends_the_producer_for_good() {
    let (_server, client, mut peer) = connected().await;
    let producer = producer(&client, &mut peer).await;
    let receipt = producer.send("one").await.unwrap();
    let (correlation, _) = batch(&mut peer, 0).await;
    let behind = producer.send("two").await.unwrap();
    let mut fenced = ErrorEvent::new(ErrorCode::ProducerFenced, "epoch 3 is over");
    fenced.current_epoch = Some(4);
    peer.send(correlation, &Event::Err(fenced)).await;
    for receipt in [receipt, behind] {
        let error = soon(receipt).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().current_epoch, Some(4));
    }
    let error = producer.send("three").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::ProducerFenced));
    assert_eq!(
        producer.flush().await.unwrap_err().code(),
        Some(ErrorCode::ProducerFenced)
    );
}

#[tokio::test]
async fn an_epoch_used_before_is_noticed_and_nothing_passes_for_stored() {
    let (_server, client, mut peer) = connected().await;
    let producer = producer(&client, &mut peer).await;
    let receipt = producer.send("one").await.unwrap();
    let (correlation, _) = batch(&mut peer, 0).await;
    confirm_as_duplicate(&mut peer, correlation, 9).await;
    match soon(receipt).await.unwrap_err() {
        Error::EpochReused {
            producer,
            epoch,
            seq,
        } => {
            assert_eq!((&*producer, epoch, seq), ("p", 3, 0));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        producer.flush().await,
        Err(Error::EpochReused { .. })
    ));
}

#[tokio::test]
async fn a_batch_refused_for_now_is_sent_again_with_those_behind_it() {
    let (_server, client, mut peer) = connected().await;
    let producer = producer(&client, &mut peer).await;
    let mut sent = Vec::new();
    for n in 0..3 {
        producer.send(format!("{n}")).await.unwrap();
        sent.push(batch(&mut peer, n).await.0);
    }
    let busy = ErrorEvent::new(ErrorCode::Unavailable, "in a moment");
    peer.send(sent[1], &Event::Err(busy)).await;
    let gap = ErrorEvent::new(ErrorCode::ProducerGap, "1 is missing");
    peer.send(sent[2], &Event::Err(gap)).await;
    // Confirms wait for the sync, refusals do not: the order of the answers is no order of the batches.
    peer.confirm(&[(sent[0], 1)]).await;
    let (second, records) = batch(&mut peer, 1).await;
    assert_eq!(records, ["1"]);
    let (third, records) = batch(&mut peer, 2).await;
    assert_eq!(records, ["2"]);
    peer.confirm(&[(second, 2), (third, 3)]).await;
    soon(producer.flush()).await.unwrap();
}

#[tokio::test]
async fn a_dropped_producer_still_sends_what_it_accepted() {
    let (_server, client, mut peer) = connected().await;
    let producer = open(client.producer("orders").batches_max(1), &mut peer).await;
    producer.send("one").await.unwrap();
    let (correlation, _) = batch(&mut peer, 0).await;
    producer.send("two").await.unwrap();
    drop(producer);
    peer.confirm(&[(correlation, 1)]).await;
    assert_eq!(batch(&mut peer, 1).await.1, ["two"]);
}

#[tokio::test]
async fn a_record_over_the_limit_is_refused_and_the_producer_goes_on() {
    let (_server, client, mut peer) = connected().await;
    let producer = producer(&client, &mut peer).await;
    let error = producer.send(vec![0; (1 << 20) + 1]).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    producer.send(vec![b'x'; 1 << 20]).await.unwrap();
    assert_eq!(batch(&mut peer, 0).await.1[0].len(), 1 << 20);
}

#[tokio::test]
async fn without_an_id_each_producer_gets_one_of_its_own() {
    let (_server, client, mut peer) = connected().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let opening = client.producer("orders").open();
        let (producer, ()) = tokio::join!(opening, peer.answer_stat("text/plain"));
        let producer = producer.unwrap();
        producer.send("x").await.unwrap();
        ids.push(peer.append().await.1.producer.unwrap().id);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn opening_tells_whether_the_stream_is_there() {
    let (_server, client, mut peer) = connected().await;
    let script = async {
        let (correlation, _) = peer.command().await;
        peer.send(
            correlation,
            &Event::Err(ErrorEvent::new(ErrorCode::NotFound, "none")),
        )
        .await;
    };
    let (producer, ()) = tokio::join!(client.producer("orders").open(), script);
    assert_eq!(producer.unwrap_err().code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn in_json_mode_no_offset_is_told_because_arrays_are_split() {
    let (_server, client, mut peer) = connected().await;
    let opening = client.producer("orders").id("p").epoch(3).open();
    let (producer, ()) = tokio::join!(opening, peer.answer_stat("Application/JSON; charset=utf-8"));
    let receipt = producer.unwrap().send("[1,2,3]").await.unwrap();
    let (correlation, _) = batch(&mut peer, 0).await;
    peer.confirm(&[(correlation, 3)]).await;
    assert_eq!(soon(receipt).await.unwrap().offset, None);
}
