//! Whoever looks: readers, long-polls, followers over TCP, and one that asks for the tail over HTTP.

use std::time::Duration;

use streamkeeper_client::{ReadOptions, Start, SubscribeOptions};
use tokio::sync::watch;

use super::Peer;
use crate::http::{Http, Request};

/// Reads at random places, waits for records at the end, asks for the tail.
pub async fn read(mut peer: Peer) {
    let stream = peer.recorder.stream.clone();
    let mut known = 0;
    while let Some(client) = peer.connect().await {
        while !peer.stop.is_cancelled() {
            let invoked = peer.recorder.clock.now();
            if peer.random.chance(40) {
                let Ok(status) = client.stat(stream.as_str()).await else {
                    break;
                };
                peer.recorder.saw_tail(invoked, status.tail);
                continue;
            }
            let from = if peer.random.chance(50) {
                known
            } else {
                peer.random.below(known + 1)
            };
            let wait = Duration::from_millis(peer.random.below(30));
            let options = ReadOptions::new()
                .from(Start::Offset(from))
                .wait(wait)
                .max_records(200);
            let Ok(page) = client.read(stream.as_str(), options).await else {
                break;
            };
            peer.recorder.saw(invoked, &page.records);
            peer.recorder.saw_tail(invoked, page.tail);
            known = known.max(page.next);
            peer.pause(0, 3).await;
        }
    }
}

/// Follows from the beginning; now and then lets go and begins again, anywhere.
pub async fn follow(mut peer: Peer) {
    let stream = peer.recorder.stream.clone();
    let Some(client) = peer.lasting().await else {
        return;
    };
    let mut known = 0;
    while !peer.stop.is_cancelled() {
        let from = if peer.random.chance(50) {
            Start::Beginning
        } else {
            Start::Offset(peer.random.below(known + 1))
        };
        let options = SubscribeOptions::new()
            .from(from)
            .window_bytes(peer.random.between(200, 60_000));
        let Ok(mut records) = client.subscribe(stream.as_str(), options).await else {
            continue;
        };
        let mut next = records.next_offset();
        let lets_go = peer.random.between(500, 20_000);
        for _ in 0..lets_go {
            let record = tokio::select! {
                record = records.next() => record,
                () = peer.stop.cancelled() => return,
            };
            let Some(record) = record else { return };
            let record = record.expect("a subscription lives through everything");
            assert_eq!(record.offset, next, "{stream}: a gap or a duplicate");
            next += 1;
            known = known.max(next);
            peer.recorder.saw(0, std::slice::from_ref(&record));
        }
    }
}

/// Asks for the tail over HTTP, at the broker itself.
pub async fn over_http(mut peer: Peer, place: watch::Receiver<Option<String>>) {
    let head = Request::new("HEAD", &peer.recorder.stream);
    while !peer.stop.is_cancelled() {
        let at = place.borrow().clone();
        if let Some(at) = at
            && let Ok(http) = Http::connect(&at).await
        {
            loop {
                let invoked = peer.recorder.clock.now();
                let Ok(answer) = http.ask(&head).await else {
                    break;
                };
                let next = answer.header("stream-next-offset");
                let tail = next.and_then(|next| next.split('_').next()?.parse().ok());
                peer.recorder
                    .saw_tail(invoked, tail.expect("an answer names the tail"));
                if peer.stop.is_cancelled() {
                    return;
                }
                peer.pause(0, 4).await;
            }
        }
        peer.pause(1, 10).await;
    }
}
