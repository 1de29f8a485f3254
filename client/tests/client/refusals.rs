//! Requests that fail: refused by the server, over its limits, or not answered; and what the errors tell.

use std::time::Duration;

use streamkeeper_client::{Advice, AppendOptions, Doubt, Error, ErrorCode, Part, ReadOptions};
use streamkeeper_protocol::Event;
use streamkeeper_protocol::event::ErrorEvent;

use crate::support::{connected, connected_with, payloads};

#[tokio::test]
async fn a_refusal_carries_its_details() {
    let (_server, client, mut peer) = connected().await;
    let script = async {
        let (correlation, _) = peer.append().await;
        let mut error = ErrorEvent::new(ErrorCode::TailMismatch, "the tail is 9");
        error.tail = Some(9);
        error.retry_after_ms = Some(20);
        peer.send(correlation, &Event::Err(error)).await;
        let (correlation, _) = peer.read().await;
        let mut error = ErrorEvent::new(ErrorCode::OffsetTrimmed, "gone");
        error.earliest = Some(3);
        peer.send(correlation, &Event::Err(error)).await;
    };
    let work = async {
        let append = client.append("orders", "x").await.unwrap_err();
        let read = client.read("orders", ReadOptions::new()).await.unwrap_err();
        (append, read)
    };
    let ((append, read), ()) = tokio::join!(work, script);
    let refusal = append.refusal().unwrap();
    assert_eq!(refusal.code, Some(ErrorCode::TailMismatch));
    assert_eq!(
        (refusal.tail, refusal.retry_after),
        (Some(9), Some(Duration::from_millis(20)))
    );
    assert_eq!(append.advice(), Advice::FixTheCall);
    assert_eq!(
        append.to_string(),
        "refused with TAIL_MISMATCH: the tail is 9"
    );
    assert_eq!(read.refusal().unwrap().earliest, Some(3));
}

#[tokio::test]
async fn an_unknown_error_code_is_kept_by_number() {
    let (_server, client, mut peer) = connected().await;
    let script = async {
        let (correlation, _) = peer.append().await;
        let mut error = ErrorEvent::new(ErrorCode::Internal, "from the future");
        error.code = 999;
        peer.send(correlation, &Event::Err(error)).await;
    };
    let (appended, ()) = tokio::join!(client.append("orders", "x"), script);
    let error = appended.unwrap_err();
    assert_eq!((error.code(), error.refusal().unwrap().number), (None, 999));
    assert_eq!(error.advice(), Advice::GiveUp);
}

#[tokio::test]
async fn what_exceeds_the_servers_limits_is_not_sent() {
    let (_server, client, mut peer) = connected().await;
    let error = client
        .append("orders", vec![0; (1 << 20) + 1])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                what: Part::Record,
                have: 1_048_577,
                limit: 1_048_576
            }
        ),
        "{error:?}"
    );
    let many = vec![[0; 0]; 65_537];
    let error = client
        .append_batch("orders", many, AppendOptions::new())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                what: Part::Batch,
                ..
            }
        ),
        "{error:?}"
    );
    let much = vec![vec![0; 1 << 20]; 5];
    let error = client
        .append_batch("orders", much, AppendOptions::new())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                what: Part::Frame,
                ..
            }
        ),
        "{error:?}"
    );
    let _ticket = client.append_pipelined("orders", "small").await.unwrap();
    assert_eq!(payloads(&peer.append().await.1), ["small"]);
}

#[tokio::test]
async fn an_unanswered_append_is_unconfirmed_and_an_unanswered_stat_timed_out() {
    let (_server, client, _peer) =
        connected_with(|builder| builder.request_timeout(Duration::from_millis(50))).await;
    let (append, stat) = tokio::join!(client.append("orders", "x"), client.stat("orders"));
    let append = append.unwrap_err();
    assert!(
        matches!(
            append,
            Error::Unconfirmed {
                request: "append",
                doubt: Doubt::TimedOut
            }
        ),
        "{append:?}"
    );
    assert_eq!(append.advice(), Advice::Check);
    assert!(matches!(stat.unwrap_err(), Error::TimedOut { .. }));
}
