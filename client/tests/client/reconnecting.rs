//! Lost connections: what is repeated, what is not, what waits, and when it is for good.

use std::time::Duration;

use streamkeeper_client::{
    Advice, Client, Doubt, Error, ErrorCode, ReadOptions, Reconnect, SubscribeOptions,
};
use streamkeeper_protocol::event::{Confirm, Draining, ErrorEvent, Info};
use streamkeeper_protocol::{Command, Event};

use crate::support::{connected, connected_with, entry, info, payloads, pipes, records, soon};

#[tokio::test]
async fn an_append_in_flight_is_unconfirmed_and_never_repeated() {
    let (server, client, mut peer) = connected().await;
    let script = async {
        peer.append().await;
        drop(peer);
        server.accept().await
    };
    let (append, mut peer) = tokio::join!(client.append("orders", "lost"), script);
    let error = append.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Unconfirmed {
                request: "append",
                doubt: Doubt::ConnectionLost
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.advice(), Advice::Check);
    let _ticket = client.append_pipelined("orders", "later").await.unwrap();
    assert_eq!(payloads(&peer.append().await.1), ["later"]);
}

#[tokio::test]
async fn a_delete_in_flight_is_unconfirmed() {
    let (server, client, mut peer) = connected().await;
    let script = async {
        peer.command().await;
        drop(peer);
        server.accept().await
    };
    let (delete, _peer) = tokio::join!(client.delete("orders"), script);
    assert!(matches!(
        delete,
        Err(Error::Unconfirmed {
            request: "delete",
            ..
        })
    ));
}

#[tokio::test]
async fn a_read_in_flight_is_repeated() {
    let (server, client, mut peer) = connected().await;
    let script = async {
        for _ in 0..3 {
            peer.read().await;
            drop(peer);
            peer = server.accept().await;
        }
        let (correlation, _) = peer.read().await;
        peer.send(correlation, &Event::Records(records(0, &["found"])))
            .await;
        peer
    };
    let (page, _peer) = tokio::join!(client.read("orders", ReadOptions::new()), script);
    assert_eq!(page.unwrap().records[0].payload, "found");
}

#[tokio::test]
async fn requests_wait_for_the_next_connection() {
    let (server, client, peer) = connected().await;
    drop(peer);
    let script = async {
        let mut peer = server.accept().await;
        let (correlation, _) = peer.append().await;
        peer.confirm(&[(correlation, 4)]).await;
        peer
    };
    // The first may still meet the old connection; the second cannot.
    let work = async {
        let first = client.append("orders", "x").await;
        if let Ok(appended) = first {
            return appended;
        }
        client.append("orders", "x").await.unwrap()
    };
    let (appended, _peer) = tokio::join!(work, script);
    assert_eq!(appended.tail, 4);
}

#[tokio::test(start_paused = true)]
async fn a_request_gives_up_after_its_timeout_without_a_connection() {
    let (dial, ends) = pipes(1024);
    let connecting = Client::builder()
        .request_timeout(Duration::from_secs(3))
        .connect_with(dial);
    let (client, peer) = tokio::join!(connecting, async {
        let mut peer = ends.accept_silent().await;
        peer.shake_hands().await;
        peer
    });
    let client = client.unwrap();
    drop(peer);
    drop(ends);
    // Notice the loss first.
    drop(client.append("orders", "x").await);
    let error = client.append("orders", "x").await.unwrap_err();
    assert!(
        matches!(error, Error::Disconnected { .. } | Error::TimedOut { .. }),
        "{error:?}"
    );
    assert_eq!(error.advice(), Advice::Retry);
}

#[tokio::test]
async fn without_a_policy_to_reconnect_everything_ends_with_the_cause() {
    let (_server, client, mut peer) =
        connected_with(|builder| builder.reconnect(Reconnect::never())).await;
    let (subscription, _) = tokio::join!(
        client.subscribe("orders", SubscribeOptions::new()),
        peer.accept_subscribe(0)
    );
    let mut subscription = subscription.unwrap();
    drop(peer);
    let error = soon(subscription.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    assert_eq!(error.advice(), Advice::Reconnect);
    let error = soon(client.stat("orders")).await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    let error = client
        .subscribe("orders", SubscribeOptions::new())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
}

#[tokio::test]
async fn a_token_refused_on_reconnect_ends_the_client() {
    let (server, client, peer) = connected().await;
    drop(peer);
    let mut peer = server.accept_silent().await;
    peer.send(0, &Event::Info(info())).await;
    peer.command().await;
    peer.send(
        0,
        &Event::Err(ErrorEvent::new(ErrorCode::Unauthorized, "revoked")),
    )
    .await;
    loop {
        match soon(client.append("orders", "x")).await.unwrap_err() {
            Error::Unconfirmed { .. } => {}
            Error::Lost { cause } => {
                assert_eq!(cause.code(), Some(ErrorCode::Unauthorized));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_full_server_is_tried_again() {
    let (server, client, peer) = connected().await;
    drop(peer);
    for _ in 0..3 {
        let mut peer = server.accept_silent().await;
        let full = ErrorEvent::new(ErrorCode::TooManyConnections, "later");
        peer.send(0, &Event::Err(full)).await;
    }
    let _peer = server.accept().await;
    soon(client.server()).await.unwrap();
}

#[tokio::test]
async fn while_the_server_drains_answers_come_and_new_requests_wait() {
    let (server, client, mut peer) = connected().await;
    let before = client.append_pipelined("orders", "before").await.unwrap();
    let (correlation, _) = peer.append().await;
    peer.send(0, &Event::Draining(Draining { grace_ms: 60_000 }))
        .await;
    peer.send(0, &Event::Ping).await;
    assert!(
        matches!(peer.command().await, (_, Command::Pong)),
        "DRAINING was read before"
    );
    let after = tokio::spawn({
        let client = client.clone();
        async move { client.append("orders", "after").await }
    });
    peer.confirm(&[(correlation, 1)]).await;
    assert_eq!(soon(before).await.unwrap().tail, 1);
    drop(peer);
    let mut peer = server.accept().await;
    let (correlation, append) = peer.append().await;
    assert_eq!(payloads(&append), ["after"]);
    peer.send(
        0,
        &Event::Confirm(Confirm {
            entries: vec![entry(correlation, 2)],
        }),
    )
    .await;
    assert_eq!(soon(after).await.unwrap().unwrap().tail, 2);
}

#[tokio::test]
async fn a_waiting_read_refused_by_a_draining_server_is_repeated_on_the_next_connection() {
    let (server, client, mut peer) = connected().await;
    let script = async {
        let (correlation, _) = peer.read().await;
        let draining = ErrorEvent::new(ErrorCode::Draining, "shutting down");
        peer.send(correlation, &Event::Err(draining)).await;
        peer.send(0, &Event::Ping).await;
        assert!(
            matches!(peer.command().await, (_, Command::Pong)),
            "nothing before"
        );
        drop(peer);
        let mut peer = server.accept().await;
        let (correlation, _) = peer.read().await;
        peer.send(correlation, &Event::Records(records(0, &["found"])))
            .await;
        peer
    };
    let (page, _peer) = tokio::join!(client.read("orders", ReadOptions::new()), script);
    assert_eq!(page.unwrap().records[0].payload, "found");
}

#[tokio::test]
async fn garbage_ends_the_connection_and_the_client_goes_on_with_a_new_one() {
    let (server, client, mut peer) = connected().await;
    let ticket = client.append_pipelined("orders", "x").await.unwrap();
    peer.append().await;
    peer.send_bytes(&[0, 0, 0, 7, 0x77, 0, 0, 0, 0, 0, 0]).await;
    assert!(matches!(soon(ticket).await, Err(Error::Unconfirmed { .. })));
    assert!(
        soon(peer.try_command()).await.is_none(),
        "the client hangs up"
    );
    let (_peer, server_info) = tokio::join!(server.accept(), client.server());
    server_info.unwrap();
}

#[tokio::test]
async fn limits_are_learnt_anew_with_each_connection() {
    let (server, client, peer) = connected().await;
    drop(peer);
    let mut peer = server.accept_silent().await;
    let mut smaller: Info = info();
    smaller.limits.record_bytes_max = 3;
    peer.shake_hands_as(smaller).await;
    // The status may lag behind the scripted handshake.
    loop {
        match soon(client.append_pipelined("orders", "four")).await {
            Ok(ticket) => drop(ticket),
            Err(error) => {
                assert!(
                    matches!(error, Error::TooLarge { limit: 3, .. }),
                    "{error:?}"
                );
                break;
            }
        }
        tokio::task::yield_now().await;
    }
}
