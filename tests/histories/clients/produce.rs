//! Producers: one that does its retries by hand and takes its own place in a new epoch, and the client library's.

use std::collections::VecDeque;

use streamkeeper_client::{Client, Receipt};

use super::{Peer, is_over};
use crate::history::{AttemptId, Batch, BatchId, Outcome, Stamp};
use crate::recorder::payload;

/// Most batches under way.
const WINDOW: usize = 4;

/// A producer that keeps its own numbers.
struct Stamped {
    peer: Peer,
    next: Stamp,
    /// Sent and not confirmed, in order.
    unconfirmed: VecDeque<(BatchId, Batch)>,
}

/// Sends batches in order and sends again whatever is not answered, until it is.
pub async fn stamped(mut peer: Peer, producer: u32) {
    let next = Stamp {
        producer,
        epoch: 0,
        seq: 0,
    };
    let Some(mut client) = peer.connect().await else {
        return;
    };
    let mut stamped = Stamped {
        peer,
        next,
        unconfirmed: VecDeque::new(),
    };
    while stamped.work(&client).await {
        match stamped.peer.connect().await {
            Some(another) => client = another,
            None => return,
        }
    }
}

impl Stamped {
    /// Works until the connection breaks; false if the stream takes nothing more.
    async fn work(&mut self, client: &Client) -> bool {
        let mut closed = 0;
        loop {
            let resent = !self.unconfirmed.is_empty();
            while self.unconfirmed.len() < WINDOW && !resent && !self.peer.stop.is_cancelled() {
                self.extend();
                if self.peer.random.chance(40) {
                    break;
                }
            }
            if self.unconfirmed.is_empty() {
                return false;
            }
            let mut sent = Vec::new();
            for (number, batch) in &self.unconfirmed {
                sent.push(self.peer.send_again(client, batch, *number).await);
            }
            let mut broken = false;
            for sent in sent {
                match self.peer.answer(sent).await {
                    Outcome::Confirmed { .. } if !broken => {
                        self.unconfirmed.pop_front();
                    }
                    Outcome::Unknown => broken = true,
                    outcome if is_over(outcome, &mut closed) => return false,
                    // Behind a batch whose answer was lost; or the stream is being closed.
                    Outcome::Confirmed { .. } | Outcome::Closed { .. } => {}
                    // Nothing that a producer in order meets: the checker will say so.
                    _ => return false,
                }
            }
            if broken {
                return true;
            }
            if closed > 0 {
                self.peer.pause(5, 10).await;
            } else if self.peer.random.chance(8) {
                self.take_over(client).await;
            }
            self.peer.pause(0, 3).await;
            // One of the two rests until what the broker knows of it has been folded: after a crash no journal row tells.
            if self.next.producer == 1 && self.peer.random.chance(5) {
                self.peer.pause(300, 600).await;
            }
        }
    }

    fn extend(&mut self) {
        let records = self.peer.records(3);
        let stamp = Some(self.next);
        self.next.seq += 1;
        let batch = Batch {
            records,
            stamp,
            ..Batch::default()
        };
        let number = self.peer.recorder.batch(batch.clone());
        self.unconfirmed.push_back((number, batch));
    }

    /// Begins a new epoch, and then sends a batch that the old one would have sent next: it must be fenced.
    async fn take_over(&mut self, client: &Client) {
        let old = self.next;
        self.next = Stamp {
            epoch: old.epoch + 1,
            seq: 0,
            ..old
        };
        self.extend();
        let Some((number, first)) = self.unconfirmed.back().cloned() else {
            return;
        };
        let sent = self.peer.send_again(client, &first, number).await;
        if !matches!(self.peer.answer(sent).await, Outcome::Confirmed { .. }) {
            return;
        }
        self.unconfirmed.pop_back();
        let records = self.peer.records(2);
        let late = Batch {
            records,
            stamp: Some(old),
            ..Batch::default()
        };
        let sent = self.peer.send(client, &late).await;
        let outcome = self.peer.answer(sent).await;
        assert!(
            !matches!(outcome, Outcome::Confirmed { .. }),
            "{}: {old:?} was confirmed after {:?}",
            self.peer.recorder.stream,
            self.next
        );
    }
}

/// The library's producer, which batches, sends again and reconnects by itself.
pub async fn library(mut peer: Peer) {
    let Some(client) = peer.lasting().await else {
        return;
    };
    let stream = peer.recorder.stream.clone();
    let opened = client
        .producer(stream.as_str())
        .id("library")
        .epoch(1)
        .open();
    let producer = opened.await.expect("the stream is there");
    let mut receipts: VecDeque<(AttemptId, Receipt)> = VecDeque::new();
    while !peer.stop.is_cancelled() {
        let id = peer.recorder.clock.record();
        let batch = Batch {
            records: vec![id],
            resent: true,
            ..Batch::default()
        };
        let number = peer.recorder.batch(batch);
        let attempt = peer.recorder.begin(number);
        match producer.send(payload(id)).await {
            Ok(receipt) => receipts.push_back((attempt, receipt)),
            Err(_) => break,
        }
        if receipts.len() > 8 && !settle(&peer, receipts.pop_front()).await {
            break;
        }
        if peer.random.chance(30) {
            peer.pause(0, 3).await;
        }
    }
    while let Some(receipt) = receipts.pop_front() {
        settle(&peer, Some(receipt)).await;
    }
}

/// False if the producer ended: its stream is closed.
async fn settle(peer: &Peer, receipt: Option<(AttemptId, Receipt)>) -> bool {
    let Some((attempt, receipt)) = receipt else {
        return true;
    };
    let Ok(stored) = receipt.await else {
        return false;
    };
    let outcome = Outcome::Confirmed {
        // It names the record's own place; the attempt was of this record alone.
        tail: stored.offset.map(|offset| offset + 1),
        duplicate: stored.duplicate,
    };
    peer.recorder.end(attempt, outcome);
    true
}
