//! The writer of a stream with one writer: appends, pipelined, between creates, closes and deletes.
//!
//! Every answer is held against the history, which says what it must be. Ends when the connection does.

use std::collections::VecDeque;
use std::time::Duration;

use crate::door::{Confirmed, Door, No, Ticket};
use crate::history::{Batch, Op, Written};
use crate::owned::{Kind, Owned, usize_of};
use crate::payload::Tag;
use crate::random::Random;

/// Records after which a stream is closed or deleted, so that the data stays small.
const RECORDS_MAX: u64 = 4000;

/// The connection is lost: the round is over.
#[derive(Debug)]
pub struct Lost;

impl Owned {
    /// Writes until the connection is lost.
    pub async fn write(&mut self, door: &Door, random: &mut Random) -> Lost {
        if let Err(lost) = self.send_again(door).await {
            return lost;
        }
        if self.kind == Kind::Stamped && random.chance(30) {
            self.stamp = (self.stamp.0 + 1, 0);
        }
        let mut tickets = VecDeque::new();
        let window = usize_of(random.between(1, 24));
        loop {
            if self.step(door, &mut tickets, window, random).await.is_err() {
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
        door: &Door,
        tickets: &mut VecDeque<Ticket>,
        window: usize,
        random: &mut Random,
    ) -> Result<(), Lost> {
        if tickets.len() >= window {
            return self.take(tickets).await;
        }
        if self.history.ahead.closed {
            self.take_all(tickets).await?;
            self.probe_closed(door).await?;
            if self.kind == Kind::Closing || random.chance(60) {
                tokio::time::sleep(Duration::from_millis(random.between(1, 20))).await;
                return Ok(());
            }
        }
        let op = self.next_op(door.records_max(), random);
        self.history.submit(op.clone());
        if let Op::Append(batch) = &op {
            tickets.push_back(self.send(door, batch).await?);
            return Ok(());
        }
        let done = self.administer(door, &op).await;
        self.take_all(tickets).await?;
        done.map_err(|no| lost(&self.name, no))?;
        self.history.confirm();
        Ok(())
    }

    fn next_op(&mut self, records_max: usize, random: &mut Random) -> Op {
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
            self.append(records_max, closes, random)
        }
    }

    /// What is closed takes nothing more.
    async fn probe_closed(&self, door: &Door) -> Result<(), Lost> {
        let name = self.name.as_str();
        let tag = Tag {
            slot: self.number,
            life: self.history.ahead.life,
            writer: u16::MAX,
            counter: 0,
        };
        let too_late = Batch {
            records: vec![Written { tag, length: 12 }],
            seq: None,
            stamp: None,
            close: false,
        };
        let sent = door.append(name, &too_late).await;
        match sent.map_err(|no| lost(name, no))?.outcome().await {
            Ok(confirmed) => panic!("{name}: {confirmed:?} after the close"),
            Err(No::Closed(tail)) => {
                assert_eq!(
                    tail, self.history.ahead.tail,
                    "{name}: the tail of the closed"
                );
                Ok(())
            }
            Err(no) => Err(lost(name, no)),
        }
    }

    async fn administer(&self, door: &Door, op: &Op) -> Result<(), No> {
        let name = self.name.as_str();
        match op {
            Op::Create { .. } => {
                let (existed, tail) = door.create(name, self.settings()).await?;
                assert!(!existed, "{name}: there before it was created");
                assert_eq!(tail, 0, "{name}: not new");
            }
            Op::Close => {
                let tail = door.close(name).await?;
                assert_eq!(tail, self.history.ahead.tail, "{name}: closed elsewhere");
            }
            Op::Delete => door.delete(name).await?,
            Op::Append(_) => {}
        }
        Ok(())
    }

    fn append(&mut self, records_max: usize, close: bool, random: &mut Random) -> Op {
        let count = if random.chance(70) {
            1
        } else {
            random.between(1, records_max as u64)
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

    async fn send(&self, door: &Door, batch: &Batch) -> Result<Ticket, Lost> {
        let sent = door.append(&self.name, batch).await;
        sent.map_err(|no| lost(&self.name, no))
    }

    /// Takes the oldest answer.
    async fn take(&mut self, tickets: &mut VecDeque<Ticket>) -> Result<(), Lost> {
        let Some(ticket) = tickets.pop_front() else {
            return Ok(());
        };
        let confirmed = ticket.outcome().await;
        let confirmed = confirmed.map_err(|no| lost(&self.name, no))?;
        let closes = matches!(self.history.pending.front(), Some(Op::Append(b)) if b.close);
        let tail = self.history.confirm();
        let expected = Confirmed {
            tail,
            duplicate: false,
            closed: closes,
        };
        assert_eq!(confirmed, expected, "{}: a wrong confirm", self.name);
        Ok(())
    }

    async fn take_all(&mut self, tickets: &mut VecDeque<Ticket>) -> Result<(), Lost> {
        while !tickets.is_empty() {
            self.take(tickets).await?;
        }
        Ok(())
    }

    /// Sends the unconfirmed appends of the last round again: what survived is a duplicate, the rest is new.
    async fn send_again(&mut self, door: &Door) -> Result<(), Lost> {
        let name = self.name.clone();
        for (batch, kept) in std::mem::take(&mut self.again) {
            if !kept {
                self.history.submit(Op::Append(batch.clone()));
            }
            match self.send(door, &batch).await?.outcome().await {
                Ok(confirmed) if kept => {
                    assert!(batch.stamp.is_some(), "{name}: seq {:?} twice", batch.seq);
                    assert!(confirmed.duplicate, "{name}: {:?} twice", batch.stamp);
                }
                Ok(confirmed) => {
                    let expected = Confirmed {
                        tail: self.history.confirm(),
                        duplicate: false,
                        closed: false,
                    };
                    assert_eq!(confirmed, expected, "{name}: sent again");
                }
                Err(No::SeqConflict) if kept => {
                    assert!(batch.seq.is_some(), "{name}: {batch:?}");
                }
                Err(no) => return Err(lost(&name, no)),
            }
        }
        Ok(())
    }
}

/// A lost connection is what this test is about; anything else is a failure.
pub fn lost(stream: &str, no: No) -> Lost {
    match no {
        No::Lost => Lost,
        No::Refused(why) => panic!("{stream}: {why}"),
        no => panic!("{stream}: {no:?}"),
    }
}
