//! A server that does not read: callers wait, nothing grows, and everything arrives in the end.

use std::time::Duration;

use futures_util::FutureExt;
use streamkeeper_client::{Client, Reconnect};

use crate::support::{Peer, payloads, pipes, soon};

/// A client whose pipe holds 1 KiB and which may have `bytes` in flight, in at most `requests` requests.
async fn connected(bytes: u32, requests: u32) -> (Client, Peer) {
    let (dial, ends) = pipes(1024);
    let script = async {
        let mut peer = ends.accept_silent().await;
        peer.shake_hands().await;
        peer
    };
    let connecting = Client::builder()
        .reconnect(Reconnect::never())
        .in_flight_bytes_max(bytes)
        .in_flight_requests_max(requests)
        .connect_with(dial);
    let (client, peer) = tokio::join!(connecting, script);
    (client.unwrap(), peer)
}

#[tokio::test]
async fn callers_wait_when_as_many_bytes_are_in_flight_as_may_be() {
    let (client, mut peer) = connected(10_000, 1_000).await;
    let mut tickets = Vec::new();
    let sent = tokio::time::timeout(Duration::from_millis(100), async {
        loop {
            tickets.push(client.append_pipelined("orders", [7; 900]).await.unwrap());
        }
    });
    assert!(sent.await.is_err(), "it must come to a halt");
    // 900 bytes and a head of less than 100 each.
    assert!((9..=11).contains(&tickets.len()), "{}", tickets.len());

    let script = async {
        for tail in 1..=tickets.len() as u64 {
            let (correlation, append) = peer.append().await;
            assert_eq!(payloads(&append), [vec![7; 900]]);
            peer.confirm(&[(correlation, tail)]).await;
        }
    };
    soon(script).await;
    for (n, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(soon(ticket).await.unwrap().tail, n as u64 + 1);
    }
    soon(client.append_pipelined("orders", [7; 900]))
        .await
        .unwrap()
        .now_or_never();
}

#[tokio::test]
async fn callers_wait_when_as_many_requests_are_in_flight_as_may_be() {
    let (client, mut peer) = connected(1 << 20, 4).await;
    let mut tickets = Vec::new();
    for n in 0..4 {
        tickets.push(client.append_pipelined("s", format!("{n}")).await.unwrap());
    }
    let fifth = client.append_pipelined("s", "4");
    tokio::pin!(fifth);
    assert!((&mut fifth).now_or_never().is_none());
    let (correlation, _) = peer.append().await;
    peer.confirm(&[(correlation, 1)]).await;
    tickets.push(soon(fifth).await.unwrap());
}

#[tokio::test]
async fn a_caller_that_gave_up_leaves_no_trace() {
    let (client, mut peer) = connected(1 << 20, 1).await;
    let first = client.append_pipelined("s", "first").await.unwrap();
    assert!(
        client
            .append_pipelined("s", "given up")
            .now_or_never()
            .is_none()
    );
    let (correlation, _) = peer.append().await;
    peer.confirm(&[(correlation, 1)]).await;
    soon(first).await.unwrap();
    let _third = soon(client.append_pipelined("s", "third")).await.unwrap();
    assert_eq!(payloads(&peer.append().await.1), ["third"]);
}

#[tokio::test]
async fn a_record_larger_than_the_room_goes_alone() {
    let (client, mut peer) = connected(1_000, 10).await;
    let ticket = client.append_pipelined("s", [1; 5_000]).await.unwrap();
    assert!(
        client
            .append_pipelined("s", "next")
            .now_or_never()
            .is_none()
    );
    let (correlation, append) = peer.append().await;
    assert_eq!(payloads(&append)[0].len(), 5_000);
    peer.confirm(&[(correlation, 1)]).await;
    soon(ticket).await.unwrap();
}
