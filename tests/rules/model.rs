//! The oracle: a stream as the list of everything that ever happened to it.
//!
//! Written from the contract alone and for plainness: every answer is recomputed from the history, with no counters, no
//! cached state and no shared code with the rules. It knows what a JSON input means because the generator says so,
//! not by parsing.

use std::collections::BTreeSet;

use bytes::Bytes;
use streamkeeper::rules::{Answer, RuleLimits};
use streamkeeper::types::{
    AppendOptions, Appended, Closed, CreateOptions, Created, Expiry, Metadata, Offset, Position,
    ProducerStamp, Refusal, Timestamp,
};

/// One record as a client sends it.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// Its payload.
    pub bytes: Vec<u8>,
    /// What the payload means in JSON mode: the records it stands for, or `None` if it is not JSON.
    pub values: Option<Vec<String>>,
}

/// What is asked of the stream.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Create(CreateOptions),
    Append {
        inputs: Vec<Input>,
        options: AppendOptions,
    },
    Close,
    Delete,
    Touch,
    /// Trim up to this offset.
    Trim(u64),
    Expire,
}

/// One accepted append or close.
struct Accepted {
    at: u64,
    producer: Option<ProducerStamp>,
    seq: Option<Vec<u8>>,
    closed: bool,
}

struct Record {
    payload: Vec<u8>,
    at: u64,
}

struct Stream {
    options: CreateOptions,
    created: u64,
    touches: Vec<u64>,
    history: Vec<Accepted>,
    records: Vec<Record>,
    trimmed: usize,
}

/// At most one stream, and all that happened to it.
pub(crate) struct Model {
    stream: Option<Stream>,
    limits: RuleLimits,
}

impl Model {
    pub(crate) fn new(limits: RuleLimits) -> Self {
        Self {
            stream: None,
            limits,
        }
    }

    /// What the contract says to `asked` at `now`, in microseconds.
    pub(crate) fn run(&mut self, asked: &Asked, now: u64) -> Result<Answer, Refusal> {
        let expired = self
            .stream
            .as_ref()
            .is_some_and(|stream| stream.ends_by(now));
        match asked {
            Asked::Create(options) => self.create(options, expired, now),
            Asked::Expire => {
                if expired {
                    self.stream = None;
                }
                Ok(Answer::Done)
            }
            _ => match self.stream.as_mut().filter(|_| !expired) {
                Some(stream) => {
                    let (answer, gone) = stream.run(asked, &self.limits, now)?;
                    if gone {
                        self.stream = None;
                    }
                    Ok(answer)
                }
                None if matches!(asked, Asked::Touch | Asked::Trim(_)) => Ok(Answer::Done),
                None => Err(Refusal::NotFound),
            },
        }
    }

    fn create(
        &mut self,
        options: &CreateOptions,
        expired: bool,
        now: u64,
    ) -> Result<Answer, Refusal> {
        if let Some((option, reason)) = complaint(options, now) {
            return Err(Refusal::InvalidOption { option, reason });
        }
        if let Some(stream) = self.stream.as_ref().filter(|_| !expired) {
            if normalised(&stream.options) != normalised(options) {
                return Err(Refusal::AlreadyExists);
            }
            let tail = stream.position(stream.records.len());
            return Ok(Answer::Created(Created {
                existed: true,
                tail,
            }));
        }
        self.stream = Some(Stream {
            options: options.clone(),
            created: now,
            touches: Vec::new(),
            history: Vec::new(),
            records: Vec::new(),
            trimmed: 0,
        });
        Ok(Answer::Created(Created {
            existed: false,
            tail: Position::START,
        }))
    }

    /// What a client may know of the stream, expired or not.
    pub(crate) fn metadata(&self) -> Option<Metadata> {
        self.stream.as_ref().map(|stream| Metadata {
            options: stream.options.clone(),
            created_at: Timestamp(stream.created),
            last_append_at: stream.records.last().map(|record| Timestamp(record.at)),
            closed: stream.closed(),
            earliest: stream.position(stream.trimmed),
            tail: stream.position(stream.records.len()),
            last_seq: stream.last_seq().map(Bytes::from),
        })
    }

    /// When the stream goes away.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        self.stream.as_ref().and_then(Stream::end)
    }

    /// Every producer remembered, with its epoch, seq and time.
    pub(crate) fn producers(&self) -> Vec<(String, u64, u64, u64)> {
        let Some(stream) = &self.stream else {
            return Vec::new();
        };
        let ids = stream.producer_ids();
        ids.iter()
            .filter_map(|id| {
                let (stamp, at) = stream.last_stamp(id)?;
                Some((id.clone(), stamp.epoch, stamp.seq, at))
            })
            .collect()
    }

    /// Up to which offset retention trims, if anywhere.
    pub(crate) fn retention_point(&self, now: u64) -> Option<Position> {
        let stream = self.stream.as_ref()?;
        let retention = stream.options.retention;
        let mut first = stream.trimmed;
        while let Some(record) = stream.records.get(first) {
            let kept = stream.records.get(first..).unwrap_or_default();
            let bytes: usize = kept.iter().map(|record| record.payload.len()).sum();
            let old = retention
                .max_age
                .is_some_and(|age| u128::from(record.at) + age.as_micros() <= u128::from(now));
            let many = retention
                .max_records
                .is_some_and(|max| kept.len() as u64 > max);
            let large = retention.max_bytes.is_some_and(|max| bytes as u64 > max);
            if !old && !many && !(large && kept.len() > 1) {
                break;
            }
            first += 1;
        }
        (first > stream.trimmed).then(|| stream.position(first))
    }

    /// The position at `offset`, clamped to the tail.
    pub(crate) fn position(&self, offset: u64) -> Position {
        self.stream.as_ref().map_or(Position::START, |stream| {
            stream.position(usize::try_from(offset).unwrap_or(usize::MAX))
        })
    }

    /// The payloads kept, in order.
    pub(crate) fn kept(&self) -> Vec<Vec<u8>> {
        self.stream.as_ref().map_or_else(Vec::new, |stream| {
            stream
                .records
                .iter()
                .skip(stream.trimmed)
                .map(|record| record.payload.clone())
                .collect()
        })
    }
}

impl Stream {
    /// The answer, and whether the stream is gone after it.
    fn run(
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
        if let Some(stamp) = &options.producer
            && self.has_accepted(stamp, limits, now)?
        {
            return Ok(Appended {
                tail,
                duplicate: true,
                closed: self.closed(),
            });
        }
        if self.closed() {
            return Err(Refusal::StreamClosed { tail: tail.offset });
        }
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
        })
    }

    /// True if the stamped append was accepted before; a refusal if it may not be accepted now.
    fn has_accepted(
        &self,
        stamp: &ProducerStamp,
        limits: &RuleLimits,
        now: u64,
    ) -> Result<bool, Refusal> {
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
                Ok(false)
            }
            Some((last, _)) if stamp.epoch < last.epoch => Err(Refusal::ProducerFenced {
                current: last.epoch,
            }),
            Some((last, _)) if stamp.epoch > last.epoch => {
                if received > 0 {
                    Err(Refusal::ProducerEpochStart { received })
                } else {
                    Ok(false)
                }
            }
            Some((last, _)) if received <= last.seq => Ok(true),
            Some((last, _)) if received > last.seq + 1 => Err(Refusal::ProducerGap {
                expected: last.seq + 1,
                received,
            }),
            Some(_) => Ok(false),
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
                    payloads.extend(values.iter().map(|value| value.clone().into_bytes()))
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

    fn producer_ids(&self) -> BTreeSet<String> {
        let stamps = self
            .history
            .iter()
            .filter_map(|accepted| accepted.producer.as_ref());
        stamps.map(|stamp| stamp.id.to_string()).collect()
    }

    fn last_stamp(&self, id: &str) -> Option<(&ProducerStamp, u64)> {
        self.history.iter().rev().find_map(|accepted| {
            let stamp = accepted
                .producer
                .as_ref()
                .filter(|stamp| &*stamp.id == id)?;
            Some((stamp, accepted.at))
        })
    }

    fn last_seq(&self) -> Option<Vec<u8>> {
        self.history
            .iter()
            .rev()
            .find_map(|accepted| accepted.seq.clone())
    }

    fn closed(&self) -> bool {
        self.history.iter().any(|accepted| accepted.closed)
    }

    fn position(&self, offset: usize) -> Position {
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

    fn end(&self) -> Option<u64> {
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

    fn ends_by(&self, now: u64) -> bool {
        self.end().is_some_and(|end| end <= now)
    }
}

/// The first thing wrong with the options.
fn complaint(options: &CreateOptions, now: u64) -> Option<(&'static str, &'static str)> {
    let content_type = options.content_type.to_string();
    let retention = options.retention;
    let complaints = [
        (content_type.is_empty(), "content_type", "must not be empty"),
        (
            content_type.len() > 255,
            "content_type",
            "must have at most 255 bytes",
        ),
        (
            content_type
                .chars()
                .any(|c| c != ' ' && !c.is_ascii_graphic()),
            "content_type",
            "must be printable ASCII",
        ),
        (
            options.expiry == Expiry::Ttl(0),
            "ttl_seconds",
            "must be at least 1",
        ),
        (
            matches!(options.expiry, Expiry::At(at) if at.0 <= now),
            "expires_at",
            "must lie in the future",
        ),
        (
            retention.max_age.is_some_and(|age| age.as_nanos() == 0),
            "max_age",
            "must be longer than zero",
        ),
        (
            retention.max_records == Some(0),
            "max_records",
            "must be at least 1",
        ),
        (
            retention.max_bytes == Some(0),
            "max_bytes",
            "must be at least 1",
        ),
    ];
    complaints
        .into_iter()
        .find(|(wrong, ..)| *wrong)
        .map(|(_, option, reason)| (option, reason))
}

/// The options with what does not count taken out: the case of the media type.
fn normalised(options: &CreateOptions) -> CreateOptions {
    let text = options.content_type.to_string();
    let (media_type, parameters) = text.split_at(text.find(';').unwrap_or(text.len()));
    let content_type = format!("{}{parameters}", media_type.to_lowercase());
    CreateOptions {
        content_type: content_type.as_str().into(),
        ..options.clone()
    }
}
