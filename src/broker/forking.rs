//! Finding where a fork branches off: from what a client asks for to a position between two records of the source.
//!
//! Records never change, so they may be read before the command that creates the fork is decided; there it is checked that
//! the source is still the same stream, and where it begins by then. A fork point within a record copies the part of that record which
//! it inherits: the one case in which a fork copies anything.

use streamkeeper_protocol::RecordBlockBuilder;

use super::{Broker, PutRequest};
use crate::storage::{ReadLimits, Storage};
use crate::stream::View;
use crate::types::{
    CreateOptions, Creation, Error, Expiry, Fork, ForkRequest, Message, Offset, Position,
    RecordBlock, Refusal, Start, StreamId,
};

/// Where a fork branches off, and what it inherits of the record there.
struct ForkPoint {
    at: Position,
    part: Option<Message>,
}

impl Broker {
    /// What creates a fork as asked for.
    pub(super) async fn fork(
        &self,
        request: &PutRequest,
        fork: &ForkRequest,
    ) -> Result<Creation, Error> {
        let source = self.view(&fork.source).await.map_err(|error| match error {
            Error::Refused(Refusal::Gone) => Refusal::SourceGone.into(),
            other => other,
        })?;
        let options = fork_options(request, &source)?;
        let json = crate::rules::is_json(options.content_type.as_bytes());
        let point = self.fork_point(fork, &source, json).await?;
        let mut batch = RecordBlockBuilder::new();
        if let Some(part) = &point.part {
            batch.push(&part.payload);
        }
        for payload in request.body.payloads() {
            batch.push(&payload);
        }
        let inherits_expiry = request.expiry == Expiry::Never && options.expiry != Expiry::Never;
        let depth = source.fork.as_ref().map_or(0, |above| above.depth);
        Ok(Creation {
            options,
            batch: batch.finish(),
            closed: Some(request.closed),
            fork: Some(Fork {
                request: fork.clone(),
                source: source.id,
                at: point.at,
                earliest: source.earliest.min(point.at),
                inherits_expiry,
                depth: depth.saturating_add(1),
            }),
        })
    }

    /// What confirms that a stream which exists is the fork that is asked for. Should it be gone by then, nothing is created:
    /// the source it names is no stream.
    pub(super) fn same_fork(request: &PutRequest, fork: &ForkRequest, existing: &View) -> Creation {
        let known = existing.options.as_ref();
        Creation {
            options: CreateOptions {
                content_type: request
                    .content_type
                    .clone()
                    .filter(|asked| !crate::rules::is_same_media_type(asked, &known.content_type))
                    .unwrap_or_else(|| known.content_type.clone()),
                expiry: request.expiry,
                retention: request.retention,
                storage: request.storage.unwrap_or(known.storage),
            },
            batch: RecordBlock::default(),
            closed: Some(request.closed),
            fork: Some(Fork {
                request: fork.clone(),
                source: StreamId::default(),
                at: Position::START,
                earliest: Position::START,
                inherits_expiry: false,
                depth: 0,
            }),
        }
    }

    async fn fork_point(
        &self,
        fork: &ForkRequest,
        source: &View,
        json: bool,
    ) -> Result<ForkPoint, Error> {
        let anchor = match fork.offset {
            None => source.tail,
            Some(offset) => self.checked(fork, source, offset).await?,
        };
        if fork.sub_offset == 0 {
            return Ok(ForkPoint {
                at: anchor,
                part: None,
            });
        }
        if json {
            self.after_messages(fork, source, anchor).await
        } else {
            self.after_bytes(fork, anchor).await
        }
    }

    /// The offset, if it is a position of the source in both its parts.
    async fn checked(
        &self,
        fork: &ForkRequest,
        source: &View,
        offset: Position,
    ) -> Result<Position, Error> {
        if offset.offset > source.tail.offset {
            return Err(Refusal::PastTail {
                tail: source.tail.offset,
            }
            .into());
        }
        let right = if offset.offset == source.tail.offset {
            source.tail
        } else if offset.offset == source.earliest.offset {
            source.earliest
        } else {
            let next = self.message(fork, offset.offset).await?;
            next.map_or(offset, |message| message.position)
        };
        if offset != right {
            return Err(invalid("must be an offset that this server gave out").into());
        }
        Ok(offset)
    }

    async fn after_messages(
        &self,
        fork: &ForkRequest,
        source: &View,
        anchor: Position,
    ) -> Result<ForkPoint, Error> {
        let offset = Offset(anchor.offset.0.saturating_add(fork.sub_offset));
        if offset > source.tail.offset {
            return Err(past_the_end().into());
        }
        let at = if offset == source.tail.offset {
            source.tail
        } else {
            let next = self.message(fork, offset).await?;
            next.ok_or_else(past_the_end)?.position
        };
        Ok(ForkPoint { at, part: None })
    }

    /// A byte position lies within the next append; one that was too large for a single record goes on in the next.
    async fn after_bytes(&self, fork: &ForkRequest, anchor: Position) -> Result<ForkPoint, Error> {
        let mut at = anchor;
        let mut left = fork.sub_offset;
        loop {
            let Some(mut message) = self.message(fork, at.offset).await? else {
                return Err(past_the_end().into());
            };
            let length = u64::try_from(message.payload.len()).unwrap_or(u64::MAX);
            if left < length {
                message
                    .payload
                    .truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let part = Some(message);
                return Ok(ForkPoint { at, part });
            }
            at = at.advanced(1, length);
            left -= length;
            if left == 0 {
                return Ok(ForkPoint { at, part: None });
            }
            if length < self.inner.record_bytes_max {
                return Err(past_the_end().into());
            }
        }
    }

    /// The record of the source at `offset`, if there is one.
    async fn message(&self, fork: &ForkRequest, offset: Offset) -> Result<Option<Message>, Error> {
        // One record is handed out however few bytes are asked for.
        let limits = ReadLimits {
            max_bytes: 1,
            max_records: 1,
            ..ReadLimits::default()
        };
        let read = self.read_messages(&fork.source, Start::At(offset), limits);
        Ok(read.await?.messages.pop())
    }
}

/// The configuration of a fork: what was asked for, else what its source has.
fn fork_options(request: &PutRequest, source: &View) -> Result<CreateOptions, Refusal> {
    let inherited = source.options.as_ref();
    if let Some(content_type) = &request.content_type
        && !crate::rules::is_same_media_type(content_type, &inherited.content_type)
    {
        let expected = inherited.content_type.clone();
        return Err(Refusal::ContentTypeMismatch { expected });
    }
    if request
        .storage
        .is_some_and(|storage| storage != inherited.storage)
    {
        return Err(Refusal::InvalidOption {
            option: "storage",
            reason: "a fork is kept where its source is",
        });
    }
    let expiry = match request.expiry {
        Expiry::Never => inherited.expiry,
        own => own,
    };
    Ok(CreateOptions {
        content_type: inherited.content_type.clone(),
        expiry,
        retention: request.retention,
        storage: inherited.storage,
    })
}

fn past_the_end() -> Refusal {
    Refusal::InvalidOption {
        option: "fork sub-offset",
        reason: "must not lie past the end of what follows the fork offset",
    }
}

fn invalid(reason: &'static str) -> Refusal {
    Refusal::InvalidOption {
        option: "fork offset",
        reason,
    }
}
