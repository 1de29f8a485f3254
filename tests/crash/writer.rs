//! The writer of a stream with one writer: appends, pipelined, between creates, closes and deletes.
//!
//! Every answer is held against the history, which says what it must be. Ends when the connection does.

use std::collections::VecDeque;
use std::time::Duration;

use streamkeeper_client::{AppendOptions, Appended, Client, Error, ErrorCode, Ticket};

use crate::history::{Batch, Op, Written};
use crate::owned::{Kind, Owned, seq_text, usize_of};
use crate::payload::Tag;
use crate::random::Random;

/// Records after which a stream is closed or deleted, so that the data stays small.
const RECORDS_MAX: u64 = 4000;

/// The connection is lost: the round is over.
#[derive(Debug)]
pub struct Lost;

impl Owned {
    /// Writes until the connection is lost.
    pub async fn write(&mut self, client: &Client, random: &mut Random) -> Lost {
        if let Err(lost) = self.send_again(client).await {
            return lost;
        }
        if self.kind == Kind::Stamped && random.chance(30) {
            self.stamp = (self.stamp.0 + 1, 0);
        }
        let mut tickets = VecDeque::new();
        let window = usize_of(random.between(1, 24));
        loop {
            if self
                .step(client, &mut tickets, window, random)
                .await
                .is_err()
            {
                // Answers that came before the end count.
                self.take_all(&mut tickets).await.ok();
                return Lost;
            }
            if random.chance(30) {
                tokio::time::sleep(Duration::from_millis(random.between(1, 6))).await;
            }
        }
    }

    async fn step(
        &mut self,
        client: &Client,
        tickets: &mut VecDeque<Ticket>,
        window: usize,
        random: &mut Random,
    ) -> Result<(), Lost> {
        if tickets.len() >= window {
            return self.take(tickets).await;
        }
        if self.history.ahead.closed {
            self.take_all(tickets).await?;
            self.probe_closed(client).await?;
            if self.kind == Kind::Closing || random.chance(60) {
                tokio::time::sleep(Duration::from_millis(random.between(1, 20))).await;
                return Ok(());
            }
        }
        let op = self.next_op(random);
        self.history.submit(op.clone());
        if let Op::Append(batch) = &op {
            tickets.push_back(self.send(client, batch).await?);
            return Ok(());
        }
        let done = self.administer(client, &op).await;
        self.take_all(tickets).await?;
        done.map_err(|error| lost(&self.name, &error))?;
        self.history.confirm();
        Ok(())
    }

    fn next_op(&mut self, random: &mut Random) -> Op {
        let ahead = self.history.ahead;
        if !ahead.exists {
            self.lives += 1;
            self.next_seq = 1;
            self.stamp.1 = 0;
            self.earliest = 0;
            return Op::Create { life: self.lives };
        }
        let (closes, deletes) = match self.kind {
            Kind::Closing => (ahead.tail > 300 || random.chance(2), false),
            Kind::Churning => (random.chance(4), random.chance(4)),
            _ => (false, false),
        };
        if deletes || ahead.closed || ahead.tail >= RECORDS_MAX {
            Op::Delete
        } else if closes && random.chance(50) {
            Op::Close
        } else {
            self.append(random, closes)
        }
    }

    /// What is closed takes nothing more.
    async fn probe_closed(&self, client: &Client) -> Result<(), Lost> {
        let name = self.name.as_str();
        match client.append(name, "too late").await {
            Ok(appended) => panic!("{name}: {appended:?} after the close"),
            Err(error) => match error.refusal() {
                Some(refusal) if refusal.code == Some(ErrorCode::StreamClosed) => {
                    assert_eq!(
                        refusal.tail,
                        Some(self.history.ahead.tail),
                        "{name}: {error}"
                    );
                    Ok(())
                }
                _ => Err(lost(name, &error)),
            },
        }
    }

    async fn administer(&self, client: &Client, op: &Op) -> Result<(), Error> {
        let name = self.name.as_str();
        match op {
            Op::Create { .. } => {
                let created = client.create(name, self.options()).await?;
                assert!(!created.existed, "{name}: there before it was created");
                assert_eq!(created.tail, 0, "{name}: not new");
            }
            Op::Close => {
                let tail = client.close_stream(name).await?;
                assert_eq!(tail, self.history.ahead.tail, "{name}: closed elsewhere");
            }
            Op::Delete => client.delete(name).await?,
            Op::Append(_) => {}
        }
        Ok(())
    }

    fn append(&mut self, random: &mut Random, close: bool) -> Op {
        let count = if random.chance(70) {
            1
        } else {
            random.between(1, 12)
        };
        let records = (0..count).map(|_| {
            let tag = Tag {
                slot: self.number,
                life: self.history.ahead.life,
                writer: 0,
                counter: self.counter,
            };
            self.counter += 1;
            let length = random.size().clamp(12, 40_000);
            Written { tag, length }
        });
        let records = records.collect();
        let seq = (self.kind == Kind::Seq).then_some(self.next_seq);
        let stamp = (self.kind == Kind::Stamped).then_some(self.stamp);
        self.next_seq += u64::from(seq.is_some());
        self.stamp.1 += u64::from(stamp.is_some());
        Op::Append(Batch {
            records,
            seq,
            stamp,
            close,
        })
    }

    async fn send(&self, client: &Client, batch: &Batch) -> Result<Ticket, Lost> {
        let mut options = AppendOptions::new();
        if let Some(seq) = batch.seq {
            options = options.seq(seq_text(seq));
        }
        if let Some((epoch, seq)) = batch.stamp {
            options = options.producer("producer", epoch, seq);
        }
        if batch.close {
            options = options.close_after();
        }
        let payloads = batch.records.iter().map(|record| record.payload());
        let sent = client.append_batch_pipelined(self.name.as_str(), payloads, options);
        sent.await.map_err(|error| lost(&self.name, &error))
    }

    /// Takes the oldest answer.
    async fn take(&mut self, tickets: &mut VecDeque<Ticket>) -> Result<(), Lost> {
        let Some(ticket) = tickets.pop_front() else {
            return Ok(());
        };
        let appended = ticket.await.map_err(|error| lost(&self.name, &error))?;
        let closes = matches!(self.history.pending.front(), Some(Op::Append(b)) if b.close);
        let tail = self.history.confirm();
        let expected = (tail, false, closes);
        assert_eq!(parts(appended), expected, "{}: a wrong confirm", self.name);
        Ok(())
    }

    async fn take_all(&mut self, tickets: &mut VecDeque<Ticket>) -> Result<(), Lost> {
        while !tickets.is_empty() {
            self.take(tickets).await?;
        }
        Ok(())
    }

    /// Sends the unconfirmed appends of the last round again: what survived is a duplicate, the rest is new.
    async fn send_again(&mut self, client: &Client) -> Result<(), Lost> {
        let name = self.name.clone();
        for (batch, kept) in std::mem::take(&mut self.again) {
            if !kept {
                self.history.submit(Op::Append(batch.clone()));
            }
            match self.send(client, &batch).await?.await {
                Ok(appended) if kept => {
                    assert!(batch.stamp.is_some(), "{name}: seq {:?} twice", batch.seq);
                    assert!(appended.duplicate, "{name}: {:?} twice", batch.stamp);
                }
                Ok(appended) => {
                    let tail = self.history.confirm();
                    assert_eq!(parts(appended), (tail, false, false), "{name}: sent again");
                }
                Err(error) if kept && error.code() == Some(ErrorCode::SeqConflict) => {
                    assert!(batch.seq.is_some(), "{name}: {error}");
                }
                Err(error) => return Err(lost(&name, &error)),
            }
        }
        Ok(())
    }
}

fn parts(appended: Appended) -> (u64, bool, bool) {
    (appended.tail, appended.duplicate, appended.closed)
}

/// A lost connection is what this test is about; anything else is a failure.
pub fn lost(stream: &str, error: &Error) -> Lost {
    assert!(error.refusal().is_none(), "{stream}: {error}");
    Lost
}
