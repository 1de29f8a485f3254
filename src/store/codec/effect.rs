//! The body of a journal entry, one layout per kind of effect. Runs are laid out by [`super::journal`].
//!
//! A kind's number is on disk for ever: it is never given to another kind, and a retired one stays retired.

use std::sync::Arc;

use bytes::BufMut;

use super::reader::{Reader, put_bytes, put_position};
use super::{CodecError, fork, options};
use crate::rules::Effect;
use crate::types::{DeleteReason, Str, StreamId, Timestamp};

/// What kind of entry it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Created = 1,
    Run = 2,
    ProducerAdvanced = 3,
    ProducersEvicted = 4,
    SeqAdvanced = 5,
    Closed = 6,
    Touched = 7,
    Trimmed = 8,
    Deleted = 9,
    /// As `Created`, with where it forks off another stream.
    Forked = 10,
    ForkTaken = 11,
    ForkReleased = 12,
    Retired = 13,
}

impl Kind {
    pub(super) fn of(effect: &Effect) -> Self {
        match effect {
            Effect::Created { fork: None, .. } => Self::Created,
            Effect::Created { fork: Some(_), .. } => Self::Forked,
            Effect::Appended { .. } => Self::Run,
            Effect::ProducerAdvanced { .. } => Self::ProducerAdvanced,
            Effect::ProducersEvicted { .. } => Self::ProducersEvicted,
            Effect::SeqAdvanced { .. } => Self::SeqAdvanced,
            Effect::Closed { .. } => Self::Closed,
            Effect::Touched { .. } => Self::Touched,
            Effect::Trimmed { .. } => Self::Trimmed,
            Effect::ForkTaken { .. } => Self::ForkTaken,
            Effect::ForkReleased => Self::ForkReleased,
            Effect::Retired { .. } => Self::Retired,
            Effect::Deleted { .. } => Self::Deleted,
        }
    }
}

impl TryFrom<u8> for Kind {
    type Error = CodecError;

    fn try_from(kind: u8) -> Result<Self, CodecError> {
        Ok(match kind {
            1 => Self::Created,
            2 => Self::Run,
            3 => Self::ProducerAdvanced,
            4 => Self::ProducersEvicted,
            5 => Self::SeqAdvanced,
            6 => Self::Closed,
            7 => Self::Touched,
            8 => Self::Trimmed,
            9 => Self::Deleted,
            10 => Self::Forked,
            11 => Self::ForkTaken,
            12 => Self::ForkReleased,
            13 => Self::Retired,
            _ => return Err(CodecError::UnknownKind { kind }),
        })
    }
}

/// Writes the body of `effect`; `name` only if it is a creation.
pub(super) fn put(out: &mut impl BufMut, name: &str, effect: &Effect) {
    match effect {
        // The id is the entry's.
        Effect::Created {
            id: _,
            options,
            at,
            fork,
        } => {
            out.put_u64(at.0);
            put_bytes(out, name.as_bytes());
            options::put(out, options);
            if let Some(fork) = fork {
                fork::put(out, fork);
            }
        }
        Effect::Appended { .. } => unreachable!("records go through begin_run and push_records"),
        Effect::ProducerAdvanced { id, epoch, seq, at } => {
            out.put_u64(*epoch);
            out.put_u64(*seq);
            out.put_u64(at.0);
            put_bytes(out, id.as_bytes());
        }
        Effect::ProducersEvicted { idle_since } => out.put_u64(idle_since.0),
        Effect::SeqAdvanced { seq } => put_bytes(out, seq),
        Effect::Closed { at } | Effect::Touched { at } => out.put_u64(at.0),
        Effect::Trimmed { to } => put_position(out, *to),
        Effect::ForkTaken { until } => out.put_u64(until.0),
        Effect::ForkReleased => {}
        Effect::Retired { reason, at } | Effect::Deleted { reason, at } => {
            out.put_u64(at.0);
            out.put_u8(match reason {
                DeleteReason::Requested => 0,
                DeleteReason::Expired => 1,
            });
        }
    }
}

/// Reads the body of a creation: the effect and the stream's name.
pub(super) fn read_created(
    stream: StreamId,
    body: &mut Reader<'_>,
    forked: bool,
) -> Result<(Effect, Str), CodecError> {
    let at = Timestamp(body.u64()?);
    let name = Str::from(body.text("name")?);
    let options = Arc::new(options::read(body)?);
    let fork = if forked {
        Some(Arc::new(fork::read(body)?))
    } else {
        None
    };
    Ok((
        Effect::Created {
            id: stream,
            options,
            at,
            fork,
        },
        name,
    ))
}

pub(super) fn read_producer_advanced(body: &mut Reader<'_>) -> Result<Effect, CodecError> {
    let (epoch, seq, at) = (body.u64()?, body.u64()?, Timestamp(body.u64()?));
    let id = Str::from(body.text("producer id")?);
    Ok(Effect::ProducerAdvanced { id, epoch, seq, at })
}

/// Reads the end of a stream: why and when.
pub(super) fn read_end(body: &mut Reader<'_>) -> Result<(DeleteReason, Timestamp), CodecError> {
    let at = Timestamp(body.u64()?);
    let reason = match body.u8()? {
        0 => DeleteReason::Requested,
        1 => DeleteReason::Expired,
        _ => {
            return Err(CodecError::Value {
                field: "delete reason",
            });
        }
    };
    Ok((reason, at))
}
