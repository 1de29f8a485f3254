//! The oracle: a stream as the list of everything that ever happened to it.
//!
//! Written from the contract alone and for plainness: every answer is recomputed from the history, with no counters, no
//! cached state and no shared code with the rules. It knows what a JSON input means because the generator says so,
//! not by parsing.

mod stream;

use bytes::Bytes;
use streamkeeper::rules::{Answer, RuleLimits};
use streamkeeper::types::{
    AppendOptions, CreateOptions, Created, Expiry, Metadata, Position, Refusal, Timestamp,
};

use stream::Stream;

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
                closed: stream.closed(),
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
            closed: false,
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
            let goes = old || many || (large && kept.len() > 1);
            if !goes {
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
