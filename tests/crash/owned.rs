//! A stream with one writer: what it is, what its writer does next, and what a crash must have left of it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use streamkeeper_client::{
    AppendOptions, Appended, Client, CreateOptions, Error, ErrorCode, Ticket,
};

use crate::found::{Found, fail, find};
use crate::history::{Batch, Delivered, History, Op, Summary, Written};
use crate::payload::Tag;
use crate::random::Random;

/// Records after which a stream is closed or deleted, so that the data stays small.
const RECORDS_MAX: u64 = 4000;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// Each append has a seq.
    Seq,
    /// Each append has the stamp of an idempotent producer.
    Stamped,
    /// Deleted and created again all the time.
    Churning,
    /// Closed after a while; another one takes its place.
    Closing,
    MaxRecords,
    MaxBytes,
    Ttl,
}

/// All of them.
pub const KINDS: [Kind; 8] = [
    Kind::Plain,
    Kind::Seq,
    Kind::Stamped,
    Kind::Churning,
    Kind::Closing,
    Kind::MaxRecords,
    Kind::MaxBytes,
    Kind::Ttl,
];

const TTL: Duration = Duration::from_secs(3600);

/// The connection is lost: the round is over.
#[derive(Debug)]
pub struct Lost;

/// See the module.
#[derive(Debug)]
pub struct Owned {
    pub number: u16,
    pub kind: Kind,
    pub name: String,
    pub history: History,
    lives: u32,
    counter: u32,
    next_seq: u64,
    stamp: (u64, u64),
    /// Appends of the last round to be sent again, and whether each survived.
    again: Vec<(Batch, bool)>,
    earliest: u64,
}

impl Owned {
    pub fn new(number: u16, kind: Kind) -> Self {
        Self {
            number,
            kind,
            name: format!("{kind:?}-{number}"),
            history: History::default(),
            lives: 0,
            counter: 0,
            next_seq: 1,
            stamp: (0, 0),
            again: Vec::new(),
            earliest: 0,
        }
    }

    /// Whether its life is over for good.
    pub fn is_retired(&self) -> bool {
        self.kind == Kind::Closing && self.history.state.closed
    }

    fn options(&self) -> CreateOptions {
        let options = CreateOptions::new();
        match self.kind {
            Kind::MaxRecords => options.max_records(100 + u64::from(self.number)),
            Kind::MaxBytes => options.max_bytes(20_000),
            Kind::Ttl => options.ttl(TTL),
            _ => options,
        }
    }

    // ---- after a crash

    /// Compares what is there with the history, and with what subscribers were given.
    pub async fn check(&mut self, client: &Client, delivered: &[Delivered]) {
        let found = find(client, &self.name).await;
        let summary = found.as_ref().map(|found| Summary {
            life: found.records.first().map(|record| record.tag.life),
            tail: found.status.tail,
            closed: found.status.closed,
        });
        let settled = self.history.settle(summary, delivered);
        let fates = settled.unwrap_or_else(|why| fail(&format!("{}: {why}", self.name)));
        if let Some(found) = &found {
            self.check_records(found);
            self.check_status(found);
            delivered
                .iter()
                .for_each(|given| self.check_given(found, given));
        }
        self.resume(fates);
    }

    fn check_records(&self, found: &Found) {
        let name = &self.name;
        let known = self.history.records.iter().skip(usize_of(found.first));
        let mut offset = found.first;
        for (there, known) in found.records.iter().zip(known) {
            assert_eq!(
                there, known,
                "{name}@{offset}: not what was confirmed there"
            );
            offset += 1;
        }
        assert_eq!(offset, found.tail(), "{name}: more than was ever sent");
        assert_eq!(
            offset,
            self.history.records.len() as u64,
            "{name}: less than confirmed"
        );
    }

    fn check_status(&mut self, found: &Found) {
        let (name, status) = (&self.name, &found.status);
        let last_seq = self.history.last_seq.map(seq_text);
        assert_eq!(status.last_seq, last_seq, "{name}: the last seq");
        assert_eq!(
            status.ttl,
            (self.kind == Kind::Ttl).then_some(TTL),
            "{name}: the ttl"
        );
        let tail = status.tail;
        let earliest = match status.max_records {
            Some(max) => tail.saturating_sub(max),
            None if self.kind == Kind::MaxBytes => status.earliest,
            None => 0,
        };
        assert_eq!(
            status.earliest, earliest,
            "{name}: the earliest of {tail} records"
        );
        if let Some(max) = status.max_bytes {
            let records = self
                .history
                .records
                .iter()
                .skip(usize_of(earliest.saturating_sub(1)));
            let one_more: u64 = records.map(|record| u64::from(record.length)).sum();
            assert!(
                earliest == 0 || one_more > max,
                "{name}: trimmed for no reason"
            );
        }
        assert!(
            status.earliest >= self.earliest,
            "{name}: trimmed records are back"
        );
        self.earliest = status.earliest;
    }

    /// Everything a subscriber was given of the present incarnation is there, as it was given.
    fn check_given(&self, found: &Found, given: &Delivered) {
        if given.life() != Some(self.history.state.life) {
            return;
        }
        for (offset, record) in (given.first..).zip(&given.records) {
            let there = found.at(offset);
            assert!(
                there == Some(record) || offset < found.first,
                "{}@{offset}: delivered {record:?}, there is {there:?}",
                self.name
            );
        }
    }

    /// Prepares the next round: a producer sends again what was not confirmed, others go on.
    fn resume(&mut self, fates: Vec<(Op, bool)>) {
        self.again.clear();
        if !self.history.state.exists {
            return;
        }
        // Of the present incarnation, from the last create on.
        let begun = fates
            .iter()
            .rposition(|(op, kept)| *kept && matches!(op, Op::Create { .. }));
        let rest = fates.into_iter().skip(begun.map_or(0, |at| at + 1));
        for (op, kept) in rest {
            let Op::Append(batch) = op else { break };
            self.again.push((batch, kept));
        }
        let last = self.again.last().map(|(batch, _)| batch);
        let last_seq = last.and_then(|batch| batch.seq).max(self.history.last_seq);
        let last_stamp = last
            .and_then(|batch| batch.stamp)
            .or(self.history.last_stamp);
        self.next_seq = last_seq.map_or(1, |seq| seq + 1);
        self.stamp = last_stamp.map_or((self.stamp.0, 0), |(epoch, seq)| (epoch, seq + 1));
        if !matches!(self.kind, Kind::Seq | Kind::Stamped) {
            self.again.clear();
        }
    }

    // ---- under load

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
        if self.is_retired() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            return client.server().await.map(drop).map_err(|_| Lost);
        }
        if tickets.len() >= window || (self.history.ahead.closed && !tickets.is_empty()) {
            return self.take(tickets).await;
        }
        let (ahead, full) = (self.history.ahead, self.history.ahead.tail >= RECORDS_MAX);
        let op = if !ahead.exists {
            self.lives += 1;
            self.next_seq = 1;
            self.stamp.1 = 0;
            self.earliest = 0;
            Op::Create { life: self.lives }
        } else if self.kind == Kind::Closing && (ahead.tail > 300 || random.chance(1)) {
            if random.chance(50) {
                Op::Close
            } else {
                self.append(random, true)
            }
        } else if full || (self.kind == Kind::Churning && random.chance(3)) {
            Op::Delete
        } else {
            self.append(random, false)
        };
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

fn seq_text(seq: u64) -> Bytes {
    Bytes::from(format!("{seq:012}"))
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
