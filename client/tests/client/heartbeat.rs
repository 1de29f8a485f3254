//! Signs of life, on a paused clock: PINGs are answered, silence is asked about, death is noticed.

use std::time::Duration;

use streamkeeper_client::{Client, Error, Reconnect};
use streamkeeper_protocol::{Command, Event};
use tokio::time::Instant;

use crate::support::{Peer, info, pipes};

const HEARTBEAT: Duration = Duration::from_secs(10);

/// A client on a pipe that never reconnects, and its peer; the server suggests [`HEARTBEAT`].
async fn connected() -> (Client, Peer) {
    let (dial, ends) = pipes(1 << 16);
    let script = async {
        let mut peer = ends.accept_silent().await;
        let mut hello = info();
        hello.heartbeat_ms = 10_000;
        peer.shake_hands_as(hello).await;
        peer
    };
    let connecting = Client::builder()
        .reconnect(Reconnect::never())
        .connect_with(dial);
    let (client, peer) = tokio::join!(connecting, script);
    (client.unwrap(), peer)
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_under_its_correlation_id() {
    let (_client, mut peer) = connected().await;
    peer.send(77, &Event::Ping).await;
    assert!(matches!(peer.command().await, (77, Command::Pong)));
}

#[tokio::test(start_paused = true)]
async fn silence_is_asked_about_after_one_interval() {
    let (_client, mut peer) = connected().await;
    let began = Instant::now();
    let ping = tokio::time::timeout(HEARTBEAT * 3, peer.try_command()).await;
    assert!(matches!(ping, Ok(Some((0, Command::Ping)))), "{ping:?}");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_lives() {
    let (client, mut peer) = connected().await;
    for _ in 0..5 {
        let ping = tokio::time::timeout(HEARTBEAT * 3, peer.try_command()).await;
        assert!(matches!(ping, Ok(Some((0, Command::Ping)))), "{ping:?}");
        peer.send(0, &Event::Pong).await;
    }
    client.server().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stays_silent_for_two_intervals_is_dead() {
    let (client, peer) = connected().await;
    let began = Instant::now();
    let ticket = client.append_pipelined("orders", "x").await.unwrap();
    let error = ticket.await.unwrap_err();
    assert!(matches!(error, Error::Unconfirmed { .. }), "{error:?}");
    assert_eq!(began.elapsed().as_secs(), 20);
    match client.append("orders", "y").await.unwrap_err() {
        Error::Lost { cause } => {
            assert!(matches!(*cause, Error::Silent { after } if after == HEARTBEAT * 2));
        }
        other => panic!("{other:?}"),
    }
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn anything_received_is_a_sign_of_life() {
    let (client, mut peer) = connected().await;
    let ticket = client.append_pipelined("orders", "x").await.unwrap();
    let (correlation, _) = peer.append().await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(9_999)).await;
        peer.send(0, &Event::Ping).await;
        assert!(
            matches!(peer.command().await, (_, Command::Pong)),
            "and no PING"
        );
    }
    peer.confirm(&[(correlation, 1)]).await;
    ticket.await.unwrap();
}
