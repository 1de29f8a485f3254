//! The beginning of a connection: who may in, how, and how long it may take.

use std::time::Duration;

use streamkeeper::session::Token;
use streamkeeper_protocol::limits::{UNAUTHENTICATED_FRAME_BYTES_MAX, VERSION};
use streamkeeper_protocol::{Command, ErrorCode, Event};

use crate::fixture::{Fixture, append, connect, create, encoded};

#[tokio::test]
async fn the_server_speaks_first() {
    let fixture = Fixture::start().await;
    let mut client = fixture.raw().await;
    let (0, Event::Info(info)) = client.next().await else {
        panic!("not INFO")
    };
    assert_eq!(
        (info.version_min, info.version_max, info.auth_required),
        (1, VERSION, false)
    );
    client.send(1, &connect(1, None)).await;
    let (1, Event::Connected(connected)) = client.next().await else {
        panic!("not CONNECTED")
    };
    assert_eq!(connected.version, 1);
    client.expect_alive().await;
}

#[tokio::test]
async fn a_unix_socket_speaks_the_same() {
    let fixture = Fixture::start().await;
    let mut client = fixture.raw_unix().await;
    client.shake_hands().await;
    client.create("s").await;
    assert_eq!(client.append("s", &[b"a"]).await, 1);
    assert_eq!(
        fixture.metric("connections_accepted_total{transport=\"unix\"}"),
        1
    );
}

#[tokio::test]
async fn requests_may_be_sent_right_behind_connect() {
    let fixture = Fixture::start().await;
    let mut client = fixture.raw().await;
    let mut bytes = encoded(1, &connect(1, None));
    bytes.extend_from_slice(&encoded(2, &create("s")));
    bytes.extend_from_slice(&encoded(3, &append("s", &[b"a"])));
    client.send_bytes(&bytes).await;
    assert!(matches!(client.next().await, (0, Event::Info(_))));
    assert!(matches!(client.next().await, (1, Event::Connected(_))));
    let mut created = false;
    let mut confirmed = false;
    while !(created && confirmed) {
        match client.next().await {
            (2, Event::Created(_)) => created = true,
            (0, Event::Confirm(confirm)) => confirmed = confirm.entries[0].tail == 1,
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn nothing_behind_a_refused_connect_is_begun() {
    let fixture = Fixture::start_with(|_, server| {
        server.session.tokens = vec![Token::new("secret")];
    })
    .await;
    let mut client = fixture.raw().await;
    let mut bytes = encoded(1, &connect(1, Some(b"guess")));
    bytes.extend_from_slice(&encoded(2, &create("s")));
    client.send_bytes(&bytes).await;
    client.expect_fatal(ErrorCode::Unauthorized).await;
    let mut client = fixture.raw().await;
    client.send(1, &connect(1, Some(b"secret"))).await;
    client.next().await;
    assert!(matches!(client.next().await, (1, Event::Connected(_))));
    client.send(2, &append("s", &[b"a"])).await;
    assert_eq!(
        client.next_err().await.1.error_code(),
        Some(ErrorCode::NotFound)
    );
}

#[tokio::test]
async fn a_command_before_connect_ends_the_connection() {
    let fixture = Fixture::start().await;
    let mut client = fixture.raw().await;
    client.send(1, &create("s")).await;
    client.expect_fatal(ErrorCode::NotConnected).await;
}

#[tokio::test]
async fn a_second_connect_ends_the_connection() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    client.send(2, &connect(1, None)).await;
    client.expect_fatal(ErrorCode::AlreadyConnected).await;
}

#[tokio::test]
async fn another_version_ends_the_connection() {
    let fixture = Fixture::start().await;
    let mut client = fixture.raw().await;
    client.send(1, &connect(VERSION + 1, None)).await;
    client.expect_fatal(ErrorCode::UnsupportedVersion).await;
}

#[tokio::test]
async fn a_peer_that_does_not_connect_in_time_is_ended() {
    let fixture = Fixture::start_with(|_, server| {
        server.connection.connect_timeout = Duration::from_secs(2);
    })
    .await;
    let mut silent = fixture.raw().await;
    let mut chatty = fixture.raw().await;
    chatty.send(1, &Command::Ping).await;
    silent.expect_fatal(ErrorCode::Timeout).await;
    chatty.next().await;
    assert!(matches!(chatty.next().await, (1, Event::Pong)));
    chatty.expect_fatal(ErrorCode::Timeout).await;
}

#[tokio::test]
async fn before_connect_frames_are_small() {
    let fixture = Fixture::start().await;
    let mut client = fixture.raw().await;
    let mut frame = encoded(1, &connect(1, None));
    let too_long = UNAUTHENTICATED_FRAME_BYTES_MAX + 1;
    frame[..4].copy_from_slice(&too_long.to_be_bytes());
    client.send_bytes(&frame).await;
    client.expect_fatal(ErrorCode::FrameTooLarge).await;
    let mut client = fixture.client().await;
    client.create("s").await;
    let payload = vec![0; usize::try_from(too_long).expect("small")];
    assert_eq!(client.append("s", &[&payload]).await, 1);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_a_freed_place_is_taken() {
    let fixture = Fixture::start_with(|_, server| server.connections_max = 2).await;
    let first = fixture.client().await;
    let mut second = fixture.client().await;
    for _ in 0..3 {
        let mut third = fixture.raw().await;
        third.send(1, &connect(1, None)).await;
        third.expect_fatal(ErrorCode::TooManyConnections).await;
    }
    assert_eq!(fixture.metric("connections_refused_total"), 3);
    second.expect_alive().await;
    drop(first);
    // The place is free as soon as the server has noticed.
    loop {
        let mut client = fixture.raw().await;
        match client.next().await {
            (0, Event::Info(_)) => break,
            (0, Event::Err(_)) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}
