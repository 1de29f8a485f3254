//! The history of one stream that has one writer: every operation in order, and how many of them are confirmed.
//!
//! Operations go over one connection, so they are applied in order, and what a crash leaves must be the state after
//! some number of them: at least those that were confirmed, and what subscribers were given, at most all.

use std::collections::VecDeque;

use crate::payload::Tag;

/// A record as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub tag: Tag,
    pub length: u32,
}

impl Written {
    /// Its bytes.
    pub fn payload(self) -> Vec<u8> {
        self.tag.payload(self.length)
    }

    /// The record that a payload claims to be, if it is whole.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let tag = Tag::of(payload)?;
        let length = u32::try_from(payload.len()).ok()?;
        (tag.payload(length) == payload).then_some(Self { tag, length })
    }
}

/// One append.
#[derive(Clone, Debug)]
pub struct Batch {
    pub records: Vec<Written>,
    pub seq: Option<u64>,
    /// Epoch and seq of the idempotent producer.
    pub stamp: Option<(u64, u64)>,
    pub close: bool,
}

/// One operation.
#[derive(Clone, Debug)]
pub enum Op {
    Create { life: u32 },
    Append(Batch),
    Close,
    Delete,
}

/// How far a stream has come; what tells the states of one history apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub exists: bool,
    pub life: u32,
    pub tail: u64,
    pub closed: bool,
}

impl Progress {
    fn after(self, op: &Op) -> Self {
        match op {
            Op::Create { life } => Self {
                exists: true,
                life: *life,
                ..Self::default()
            },
            Op::Append(batch) => Self {
                tail: self.tail + batch.records.len() as u64,
                closed: self.closed || batch.close,
                ..self
            },
            Op::Close => Self {
                closed: true,
                ..self
            },
            Op::Delete => Self {
                exists: false,
                closed: false,
                ..self
            },
        }
    }
}

/// What shows of a stream's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Unknown of an empty stream.
    pub life: Option<u32>,
    pub tail: u64,
    pub closed: bool,
}

/// What a subscriber was given.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    pub first: u64,
    pub records: Vec<Written>,
    /// It was told that the stream is closed.
    pub closed: bool,
    /// It was told that the stream is deleted.
    pub deleted: bool,
}

impl Delivered {
    /// The incarnation, if it shows.
    pub fn life(&self) -> Option<u32> {
        self.records.first().map(|record| record.tag.life)
    }

    /// The offset after the last record.
    pub fn tail(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Whether a state holds everything that was given, or has left it behind.
    fn is_in(&self, state: Progress) -> bool {
        let Some(life) = self.life() else {
            return true;
        };
        let there = state.tail >= self.tail() && (state.closed || !self.closed);
        state.life > life || (state.life == life && (!state.exists || (!self.deleted && there)))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    /// After everything confirmed.
    pub state: Progress,
    /// Records of the present incarnation, confirmed, by offset.
    pub records: Vec<Written>,
    pub last_seq: Option<u64>,
    pub last_stamp: Option<(u64, u64)>,
    /// Submitted and not confirmed, in order.
    pub pending: VecDeque<Op>,
    /// After everything submitted.
    pub ahead: Progress,
    /// Operations confirmed over all rounds.
    pub confirmed: u64,
}

impl History {
    /// Notes an operation about to be sent.
    pub fn submit(&mut self, op: Op) {
        self.ahead = self.ahead.after(&op);
        self.pending.push_back(op);
    }

    /// Notes that the oldest pending operation was confirmed; answers the tail it must have led to.
    pub fn confirm(&mut self) -> u64 {
        let op = self.pending.pop_front();
        let op = op.expect("only what was submitted is confirmed");
        self.apply(op);
        self.confirmed += 1;
        self.state.tail
    }

    fn apply(&mut self, op: Op) {
        self.state = self.state.after(&op);
        match op {
            Op::Create { .. } => {
                self.records.clear();
                (self.last_seq, self.last_stamp) = (None, None);
            }
            Op::Append(batch) => {
                self.records.extend(batch.records);
                self.last_seq = batch.seq.or(self.last_seq);
                self.last_stamp = batch.stamp.or(self.last_stamp);
            }
            Op::Close | Op::Delete => {}
        }
    }

    /// After a crash: accepts what was found as the state after some number of pending operations, and forgets the
    /// rest of them. Answers what became of each pending operation, or why the state found cannot be.
    pub fn settle(
        &mut self,
        found: Option<Summary>,
        delivered: &[Delivered],
    ) -> Result<Vec<(Op, bool)>, String> {
        let mut states = vec![self.state];
        for op in &self.pending {
            let last = states.last().copied().unwrap_or_default();
            states.push(last.after(op));
        }
        let is_found = |state: &Progress| match found {
            Some(found) => {
                let same = state.tail == found.tail && state.closed == found.closed;
                state.exists && same && found.life.is_none_or(|life| life == state.life)
            }
            None => !state.exists,
        };
        let holds = |state: &Progress| delivered.iter().all(|given| given.is_in(*state));
        let Some(least) = states.iter().position(holds) else {
            return Err(format!("no state holds what was delivered: {states:?}"));
        };
        let Some(applied) = states.iter().rposition(is_found).filter(|at| *at >= least) else {
            let (from, to) = (states.get(least), states.last());
            return Err(format!(
                "found {found:?}, which is no state from {from:?} (confirmed and delivered) to {to:?} (submitted)"
            ));
        };
        let mut fates = Vec::new();
        for (index, op) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let kept = index < applied;
            fates.push((op.clone(), kept));
            if kept {
                self.apply(op);
            }
        }
        self.ahead = self.state;
        Ok(fates)
    }
}
