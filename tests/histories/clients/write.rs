//! Writers without a producer: plain ones that pipeline, ones with a seq, ones that expect a tail, and the one that closes.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use streamkeeper_client::{AppendOptions, Client, Ticket};
use tokio_util::sync::CancellationToken;

use super::{Peer, is_over};
use crate::history::{AttemptId, Batch, Outcome, RecordId};
use crate::recorder::{outcome, payload};

impl Peer {
    pub(super) fn records(&mut self, max: u64) -> Vec<RecordId> {
        let count = if self.random.chance(60) {
            1
        } else {
            self.random.between(1, max)
        };
        (0..count).map(|_| self.recorder.clock.record()).collect()
    }

    /// Sends a batch without waiting for its answer.
    pub(super) async fn send(&self, client: &Client, batch: &Batch) -> (AttemptId, Option<Ticket>) {
        let number = self.recorder.batch(batch.clone());
        self.send_again(client, batch, number).await
    }

    pub(super) async fn send_again(
        &self,
        client: &Client,
        batch: &Batch,
        number: usize,
    ) -> (AttemptId, Option<Ticket>) {
        let mut options = AppendOptions::new();
        if let Some(tail) = batch.expected_tail {
            options = options.expected_tail(tail);
        }
        if let Some(seq) = batch.seq {
            options = options.seq(seq.to_be_bytes().to_vec());
        }
        if let Some(stamp) = batch.stamp {
            let id = stamp.producer.to_string();
            options = options.producer(&id, stamp.epoch, stamp.seq);
        }
        if batch.close {
            options = options.close_after();
        }
        let payloads = batch.records.iter().map(|id| payload(*id));
        let attempt = self.recorder.begin(number);
        let stream = self.recorder.stream.as_str();
        let sent = client
            .append_batch_pipelined(stream, payloads, options)
            .await;
        (attempt, sent.ok())
    }

    /// Waits for an answer and writes it down.
    pub(super) async fn answer(&self, sent: (AttemptId, Option<Ticket>)) -> Outcome {
        let (attempt, ticket) = sent;
        let outcome = match ticket {
            Some(ticket) => outcome(ticket.await),
            None => Outcome::Unknown,
        };
        self.recorder.end(attempt, outcome);
        outcome
    }

    async fn ask(&self, client: &Client, batch: Batch) -> Outcome {
        let sent = self.send(client, &batch).await;
        self.answer(sent).await
    }
}

/// Appends, several at a time, on one connection after the other.
pub async fn plain(mut peer: Peer) {
    let mut closed = 0;
    while let Some(client) = peer.connect().await {
        let window = peer.random.between(1, 6);
        let mut sent = VecDeque::new();
        loop {
            if !peer.stop.is_cancelled() && (sent.len() as u64) < window {
                let records = peer.records(4);
                let batch = Batch {
                    records,
                    ..Batch::default()
                };
                sent.push_back(peer.send(&client, &batch).await);
                if peer.random.chance(20) {
                    peer.pause(0, 3).await;
                }
                continue;
            }
            let Some(first) = sent.pop_front() else { break };
            let outcome = peer.answer(first).await;
            if outcome == Outcome::Unknown {
                break;
            }
            if is_over(outcome, &mut closed) {
                return;
            }
        }
        for rest in sent {
            peer.answer(rest).await;
        }
    }
}

/// Appends with the next seq of the stream; whoever comes late with a seq is refused.
pub async fn with_seq(mut peer: Peer) {
    let mut closed = 0;
    while let Some(client) = peer.connect().await {
        while !peer.stop.is_cancelled() {
            let seq = Some(peer.seqs.fetch_add(1, Ordering::Relaxed));
            if peer.random.chance(30) {
                peer.pause(0, 2).await;
            }
            let records = peer.records(3);
            let batch = Batch {
                records,
                seq,
                ..Batch::default()
            };
            let outcome = peer.ask(&client, batch).await;
            if outcome == Outcome::Unknown {
                break;
            }
            if is_over(outcome, &mut closed) {
                return;
            }
            peer.pause(0, 4).await;
        }
    }
}

/// Appends where it believes the tail to be, and learns from refusals where it is.
pub async fn conditional(mut peer: Peer) {
    let (mut closed, mut believed) = (0, 0);
    while let Some(client) = peer.connect().await {
        while !peer.stop.is_cancelled() {
            let records = peer.records(3);
            let expected_tail = Some(believed);
            let batch = Batch {
                records,
                expected_tail,
                ..Batch::default()
            };
            let outcome = peer.ask(&client, batch).await;
            match outcome {
                Outcome::Unknown => break,
                Outcome::Confirmed {
                    tail: Some(tail), ..
                }
                | Outcome::TailMismatch { tail } => {
                    believed = tail;
                }
                outcome if is_over(outcome, &mut closed) => return,
                _ => {}
            }
            if peer.random.chance(50) {
                peer.pause(0, 4).await;
            }
        }
    }
}

/// Closes the stream with a last batch, once it is told to.
pub async fn close(mut peer: Peer, when: CancellationToken) {
    when.cancelled().await;
    while let Some(client) = peer.connect().await {
        let records = peer.records(3);
        let batch = Batch {
            records,
            close: true,
            ..Batch::default()
        };
        if peer.ask(&client, batch).await != Outcome::Unknown {
            return;
        }
    }
}
