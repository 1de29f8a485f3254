//! The pipeline: outcomes in bulk, under the caller's tags, within a window.

use futures_util::FutureExt;
use streamkeeper_client::{Error, ErrorCode};
use streamkeeper_protocol::Event;
use streamkeeper_protocol::event::ErrorEvent;

use crate::support::{connected, payloads, soon};

#[tokio::test]
async fn outcomes_come_in_bulk_under_their_tags() {
    let (_server, client, mut peer) = connected().await;
    let (pipeline, mut confirms) = client.pipeline("orders", 100);
    for tag in 10..13 {
        pipeline.append(format!("{tag}"), tag).await.unwrap();
    }
    drop(pipeline);
    let mut correlations = Vec::new();
    for tag in 10..13 {
        let (correlation, append) = peer.append().await;
        assert_eq!(payloads(&append), [format!("{tag}")]);
        correlations.push((correlation, tag));
    }
    peer.send(
        correlations[1].0,
        &Event::Err(ErrorEvent::new(ErrorCode::StreamClosed, "")),
    )
    .await;
    peer.confirm(&[correlations[0], correlations[2]]).await;
    let mut outcomes = Vec::new();
    while soon(confirms.take(&mut outcomes)).await > 0 {}
    outcomes.sort_by_key(|outcome| outcome.tag);
    let tags: Vec<_> = outcomes.iter().map(|outcome| outcome.tag).collect();
    assert_eq!(tags, [10, 11, 12]);
    assert_eq!(outcomes[0].outcome.as_ref().unwrap().tail, 10);
    let refused = outcomes[1].outcome.as_ref().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::StreamClosed));
    assert_eq!(outcomes[2].outcome.as_ref().unwrap().tail, 12);
}

#[tokio::test]
async fn outcomes_not_taken_stop_the_sender() {
    let (_server, client, mut peer) = connected().await;
    let (pipeline, mut confirms) = client.pipeline("orders", 2);
    pipeline.append("a", 0).await.unwrap();
    pipeline.append("b", 1).await.unwrap();
    let (first, _) = peer.append().await;
    let (second, _) = peer.append().await;
    peer.confirm(&[(first, 1), (second, 2)]).await;
    let mut outcomes = Vec::new();
    assert!(
        pipeline.append("c", 2).now_or_never().is_none(),
        "confirmed, but not taken"
    );
    while outcomes.len() < 2 {
        soon(confirms.take(&mut outcomes)).await;
    }
    soon(pipeline.append("c", 2)).await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_is_an_outcome_of_each_append() {
    let (server, client, mut peer) = connected().await;
    let (pipeline, mut confirms) = client.pipeline("orders", 100);
    pipeline.append("a", 0).await.unwrap();
    pipeline.append("b", 1).await.unwrap();
    peer.append().await;
    drop(peer);
    let mut outcomes = Vec::new();
    while outcomes.len() < 2 {
        soon(confirms.take(&mut outcomes)).await;
    }
    for outcome in &outcomes {
        assert!(
            matches!(outcome.outcome, Err(Error::Unconfirmed { .. })),
            "{outcome:?}"
        );
    }
    let (_peer, ()) = tokio::join!(server.accept(), async {
        soon(pipeline.append("c", 2)).await.unwrap();
    });
}

#[tokio::test]
async fn without_a_taker_nothing_is_sent() {
    let (_server, client, _peer) = connected().await;
    let (pipeline, confirms) = client.pipeline("orders", 100);
    drop(confirms);
    assert!(matches!(pipeline.append("a", 0).await, Err(Error::Closed)));
}
