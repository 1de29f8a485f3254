//! The oracle's stream: its history, and what follows from it.
//!
//! Nothing is remembered but what happened. Each question walks the history again.

use std::collections::BTreeSet;

use bytes::Bytes;
use streamkeeper::rules::{Answer, RuleLimits};
use streamkeeper::types::{
    AppendOptions, Appended, Closed, CreateOptions, Expiry, Offset, Position, ProducerStamp,
    Refusal,
};

use super::{Asked, Input};

/// One accepted append or close.
pub(super) struct Accepted {
    pub(super) at: u64,
    pub(super) producer: Option<ProducerStamp>,
    pub(super) seq: Option<Vec<u8>>,
    pub(super) closed: bool,
}

pub(super) struct Record {
    pub(super) payload: Vec<u8>,
    pub(super) at: u64,
}

pub(super) struct Stream {
    pub(super) options: CreateOptions,
    pub(super) created: u64,
    pub(super) touches: Vec<u64>,
    pub(super) history: Vec<Accepted>,
    pub(super) records: Vec<Record>,
    pub(super) trimmed: usize,
}

impl Stream {
    /// The answer, and whether the stream is gone after it.
    pub(super) fn run(
        &mut self,
        asked: &Asked,
        limits: &RuleLimits,
        now: u64,
    ) -> Result<(Answer, bool), Refusal> {
        let tail = self.position(self.records.len());
        match asked {
            Asked::Append { inputs, options } => {
                let appended = self.append(inputs, options, limits, now)?;
                Ok((Answer::Appended(appended), false))
            }
            Asked::Close => {
                if !self.closed() {
                    self.history.push(Accepted {
                        at: now,
                        producer: None,
                        seq: None,
                        closed: true,
                    });
                }
                Ok((Answer::Closed(Closed { tail }), false))
            }
            Asked::Delete => Ok((Answer::Deleted, true)),
            Asked::Touch => {
                self.touches.push(now);
                Ok((Answer::Done, false))
            }
            Asked::Trim(to) => {
                let to = usize::try_from(*to)
                    .unwrap_or(usize::MAX)
                    .min(self.records.len());
                self.trimmed = self.trimmed.max(to);
                Ok((Answer::Done, false))
            }
            Asked::Create(_) | Asked::Expire => unreachable!("answered by the model itself"),
        }
    }

    fn append(
        &mut self,
        inputs: &[Input],
        options: &AppendOptions,
        limits: &RuleLimits,
        now: u64,
    ) -> Result<Appended, Refusal> {
        let tail = self.position(self.records.len());
        let accepted = match &options.producer {
            Some(stamp) => self.has_accepted(stamp, limits, now),
            None => Ok(None),
        };
        if let Ok(Some(last)) = accepted {
            return Ok(Appended {
                tail,
                duplicate: true,
                closed: self.closed(),
                producer_seq: Some(last),
            });
        }
        if self.closed() {
            return Err(Refusal::StreamClosed { tail: tail.offset });
        }
        accepted?;
        if options
            .expected_tail
            .is_some_and(|expected| expected.0 != tail.offset.0)
        {
            return Err(Refusal::TailMismatch {
                actual: tail.offset,
            });
        }
        if let (Some(seq), Some(last)) = (&options.seq, self.last_seq())
            && seq.to_vec() <= last
        {
            return Err(Refusal::SeqConflict {
                last: Bytes::from(last),
            });
        }
        if inputs.is_empty() && !options.close {
            return Err(Refusal::EmptyBatch);
        }
        let payloads = self.payloads(inputs)?;
        for payload in &payloads {
            let have = payload.len() as u64;
            if have > limits.record_bytes_max {
                return Err(Refusal::RecordTooLarge {
                    have,
                    limit: limits.record_bytes_max,
                });
            }
        }
        self.make_room(options.producer.as_ref(), limits, now);
        self.records.extend(
            payloads
                .into_iter()
                .map(|payload| Record { payload, at: now }),
        );
        self.history.push(Accepted {
            at: now,
            producer: options.producer.clone(),
            seq: options.seq.as_ref().map(|seq| seq.to_vec()),
            closed: options.close,
        });
        let tail = self.position(self.records.len());
        Ok(Appended {
            tail,
            duplicate: false,
            closed: options.close,
            producer_seq: options.producer.as_ref().map(|stamp| stamp.seq),
        })
    }

    /// True if the stamped append was accepted before; a refusal if it may not be accepted now.
    fn has_accepted(
        &self,
        stamp: &ProducerStamp,
        limits: &RuleLimits,
        now: u64,
    ) -> Result<Option<u64>, Refusal> {
        let received = stamp.seq;
        match self.last_stamp(&stamp.id) {
            None if received > 0 => Err(Refusal::ProducerGap {
                expected: 0,
                received,
            }),
            None => {
                let known = self.producer_ids().len();
                let idle = self.idle_producers(limits, now).len();
                if known >= limits.producers_max && idle == 0 {
                    return Err(Refusal::TooManyProducers {
                        limit: limits.producers_max,
                    });
                }
                Ok(None)
            }
            Some((last, _)) if stamp.epoch < last.epoch => Err(Refusal::ProducerFenced {
                current: last.epoch,
            }),
            Some((last, _)) if stamp.epoch > last.epoch => {
                if received > 0 {
                    Err(Refusal::ProducerEpochStart { received })
                } else {
                    Ok(None)
                }
            }
            Some((last, _)) if received <= last.seq => Ok(Some(last.seq)),
            Some((last, _)) if received > last.seq + 1 => Err(Refusal::ProducerGap {
                expected: last.seq + 1,
                received,
            }),
            Some(_) => Ok(None),
        }
    }

    /// The records that the inputs stand for on this stream.
    fn payloads(&self, inputs: &[Input]) -> Result<Vec<Vec<u8>>, Refusal> {
        if !self
            .options
            .content_type
            .to_lowercase()
            .starts_with("application/json")
        {
            return Ok(inputs.iter().map(|input| input.bytes.clone()).collect());
        }
        let mut payloads = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            match &input.values {
                None => return Err(Refusal::InvalidJson { index }),
                Some(values) if values.is_empty() => return Err(Refusal::EmptyBatch),
                Some(values) => {
                    payloads.extend(values.iter().map(|value| value.clone().into_bytes()));
                }
            }
        }
        Ok(payloads)
    }

    /// Forgets the idle producers if a new one comes while the stream remembers as many as it may.
    fn make_room(&mut self, stamp: Option<&ProducerStamp>, limits: &RuleLimits, now: u64) {
        let Some(stamp) = stamp else { return };
        let full = self.producer_ids().len() >= limits.producers_max;
        if !full || self.last_stamp(&stamp.id).is_some() {
            return;
        }
        let idle = self.idle_producers(limits, now);
        for accepted in &mut self.history {
            if accepted
                .producer
                .as_ref()
                .is_some_and(|stamp| idle.contains(&*stamp.id))
            {
                accepted.producer = None;
            }
        }
    }

    fn idle_producers(&self, limits: &RuleLimits, now: u64) -> BTreeSet<String> {
        let idle = limits.producer_idle.as_micros();
        let mut ids = self.producer_ids();
        ids.retain(|id| {
            self.last_stamp(id)
                .is_some_and(|(_, at)| u128::from(at) + idle <= u128::from(now))
        });
        ids
    }

    pub(super) fn producer_ids(&self) -> BTreeSet<String> {
        let stamps = self
            .history
            .iter()
            .filter_map(|accepted| accepted.producer.as_ref());
        stamps.map(|stamp| stamp.id.to_string()).collect()
    }

    pub(super) fn last_stamp(&self, id: &str) -> Option<(&ProducerStamp, u64)> {
        self.history.iter().rev().find_map(|accepted| {
            let stamp = accepted
                .producer
                .as_ref()
                .filter(|stamp| &*stamp.id == id)?;
            Some((stamp, accepted.at))
        })
    }

    pub(super) fn last_seq(&self) -> Option<Vec<u8>> {
        self.history
            .iter()
            .rev()
            .find_map(|accepted| accepted.seq.clone())
    }

    pub(super) fn closed(&self) -> bool {
        self.history.iter().any(|accepted| accepted.closed)
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let before = self.records.iter().take(offset);
        let byte = before
            .clone()
            .map(|record| record.payload.len() as u64)
            .sum();
        Position {
            offset: Offset(before.count() as u64),
            byte,
        }
    }

    pub(super) fn end(&self) -> Option<u64> {
        match self.options.expiry {
            Expiry::Never => None,
            Expiry::At(at) => Some(at.0),
            Expiry::Ttl(seconds) => {
                // Every accepted append or close is a write, even one that stores no record.
                let writes = self.history.iter().map(|accepted| accepted.at);
                let last = writes
                    .chain(self.touches.iter().copied())
                    .chain([self.created])
                    .max();
                last.map(|at| at + seconds * 1_000_000)
            }
        }
    }

    pub(super) fn ends_by(&self, now: u64) -> bool {
        self.end().is_some_and(|end| end <= now)
    }
}
