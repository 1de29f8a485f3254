//! Finding peers that are gone without having said so.

use std::time::Duration;

use streamkeeper_protocol::command::Start;
use streamkeeper_protocol::{Command, ErrorCode, Event};

use crate::fixture::{Fixture, append, encoded};

async fn with_heartbeat(millis: u64) -> Fixture {
    Fixture::start_with(|_, server| {
        server.session.heartbeat = Duration::from_millis(millis);
    })
    .await
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_then_ended() {
    let fixture = with_heartbeat(50).await;
    let mut client = fixture.client().await;
    let (_, Event::Ping) = client.next().await else {
        panic!("not PING")
    };
    client.expect_fatal(ErrorCode::Timeout).await;
}

#[tokio::test]
async fn a_peer_that_answers_stays() {
    let fixture = with_heartbeat(2_000).await;
    let mut client = fixture.client().await;
    for _ in 0..3 {
        let (correlation, Event::Ping) = client.next().await else {
            panic!("not PING")
        };
        client.send(correlation, &Command::Pong).await;
    }
    client.expect_alive().await;
}

#[tokio::test]
async fn a_subscriber_that_only_listens_must_still_answer() {
    let fixture = with_heartbeat(2_000).await;
    let mut writer = fixture.client().await;
    writer.create("s").await;
    let mut listener = fixture.client().await;
    listener.subscribe(1, "s", Start::Now, u64::MAX).await;
    let ended = loop {
        writer.append("s", &[b"x"]).await;
        match listener.next().await {
            (0, Event::Deliver(_) | Event::Ping) => {}
            (0, Event::Err(err)) => break err,
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!(ended.error_code(), Some(ErrorCode::Timeout));
    writer.expect_alive().await;
}

#[tokio::test]
async fn a_frame_that_comes_byte_by_byte_runs_out_of_time() {
    let fixture = Fixture::start_with(|_, server| {
        server.connection.frame_timeout = Duration::from_millis(200);
    })
    .await;
    let mut steady = fixture.client().await;
    steady.create("s").await;
    let mut trickling = fixture.client().await;
    let frame = encoded(2, &append("s", &[&vec![7; 100_000]]));
    // Far more bytes than fit into the time, at a pace that never lets the connection fall silent.
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for byte in &frame[..frame.len() - 1] {
        pace.tick().await;
        if tokio::io::AsyncWriteExt::write_all(&mut trickling.stream, &[*byte])
            .await
            .is_err()
        {
            break;
        }
        if fixture.metric("refusals_total{code=\"TIMEOUT\"}") > 0 {
            break;
        }
    }
    trickling.expect_fatal(ErrorCode::Timeout).await;
    assert_eq!(steady.append("s", &[b"x"]).await, 1);
}
