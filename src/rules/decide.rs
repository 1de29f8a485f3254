//! [`decide`]: what a command does to a stream, and [`apply`]: folding an effect into its state.
//!
//! Both are pure and total. `decide` never changes anything; `apply` never refuses anything: whoever has an effect has
//! been through `decide`. An expired stream counts as absent for every command from the moment its time is over,
//! whether or not its removal has been committed yet.

mod append;
mod create;
mod forks;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::command::Command;
use super::effect::{Answer, Decision, Effect};
use super::producer::ProducerState;
use super::state::StreamState;
use crate::types::{Closed, DeleteReason, Expiry, Offset, Position, Refusal, StreamId, Timestamp};
pub use create::is_same_media_type;
pub use forks::{check_source, released};

/// What a decision depends on besides the stream and the command.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The time now.
    pub now: Timestamp,
    /// The id a stream gets if one is created.
    pub next_id: StreamId,
    /// The bounds the rules enforce.
    pub limits: RuleLimits,
}

/// Bounds of what one stream may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleLimits {
    /// At most this many idempotent producers per stream.
    pub producers_max: usize,
    /// Producers idle for this long may be forgotten when a stream is at the limit.
    pub producer_idle: Duration,
    /// Largest payload of one record, in bytes.
    pub record_bytes_max: u64,
}

impl Default for RuleLimits {
    /// 10,000 producers, forgotten after seven idle days if need be; records of 1 MiB.
    fn default() -> Self {
        Self {
            producers_max: 10_000,
            producer_idle: Duration::from_secs(7 * 24 * 60 * 60),
            record_bytes_max: 1 << 20,
        }
    }
}

/// Says what `command` does to a stream in `state` (`None`: there is no such stream), or why it is refused.
///
/// A plain append allocates nothing. The refusals are those of [`Storage`](crate::storage::Storage), in that order.
pub fn decide(
    state: Option<&StreamState>,
    command: Command,
    context: &Context,
) -> Result<Decision, Refusal> {
    let now = context.now;
    let live = state.filter(|stream| !stream.is_expired(now));
    if let Some(kept) = state.filter(|stream| forks::is_kept(stream, now)) {
        return forks::decide_kept(kept, &command, now);
    }
    match (command, live) {
        (Command::Append { batch, options }, Some(stream)) => {
            append::append(stream, batch, options, context)
        }
        (Command::Create(creation), _) => create::create(live, state.is_some(), *creation, context),
        (Command::Append { .. } | Command::Close | Command::Delete, None) => Err(Refusal::NotFound),
        (Command::Close, Some(stream)) => Ok(close(stream, now)),
        (Command::Delete, Some(stream)) => Ok(Decision::of(
            forks::end(stream, DeleteReason::Requested, now),
            Answer::Deleted,
        )),
        (Command::Touch, Some(stream)) => Ok(touch(stream, now)),
        (Command::Trim { to }, Some(stream)) => Ok(trim(stream, to)),
        (Command::Expire, None) if state.is_some() => Ok(Decision::of(
            Effect::Deleted {
                reason: DeleteReason::Expired,
                at: now,
            },
            Answer::Done,
        )),
        (Command::Expire, _) | (Command::Touch | Command::Trim { .. }, None) => {
            Ok(Decision::unchanged(Answer::Done))
        }
    }
}

/// Folds one effect into a stream's state. An effect on an absent stream, other than its creation, changes nothing.
pub fn apply(state: &mut Option<StreamState>, effect: &Effect) {
    match effect {
        Effect::Created {
            id,
            options,
            at,
            fork,
        } => {
            *state = Some(StreamState::new(
                *id,
                Arc::clone(options),
                *at,
                fork.clone(),
            ));
        }
        Effect::Deleted { .. } => *state = None,
        _ => {
            if let Some(stream) = state {
                advance(stream, effect);
            }
        }
    }
}

fn advance(stream: &mut StreamState, effect: &Effect) {
    match effect {
        Effect::Created { .. } | Effect::Deleted { .. } => {}
        Effect::Appended { batch, at } => {
            stream.appended(batch.count(), batch.payload_bytes(), *at);
        }
        Effect::ProducerAdvanced { id, epoch, seq, at } => {
            stream.producers.advance(
                id,
                ProducerState {
                    epoch: *epoch,
                    seq: *seq,
                    at: *at,
                },
            );
        }
        Effect::ProducersEvicted { idle_since } => stream.producers.evict_idle(*idle_since),
        // Copied: a slice would keep the whole frame or journal row it came in alive.
        Effect::SeqAdvanced { seq } => stream.last_seq = Some(Bytes::copy_from_slice(seq)),
        Effect::Closed { at } => {
            stream.closed = true;
            stream.touch(*at);
        }
        Effect::Touched { at } => stream.touch(*at),
        Effect::Trimmed { to } => stream.earliest = *to,
        Effect::ForkTaken { until } => {
            stream.forks = stream.forks.saturating_add(1);
            stream.shared_until = stream.shared_until.max(*until);
        }
        Effect::ForkReleased => {
            stream.forks = stream.forks.saturating_sub(1);
            if stream.forks == 0 {
                stream.shared_until = Offset(0);
            }
        }
        Effect::Retired { .. } => stream.deleted = true,
    }
}

fn close(stream: &StreamState, now: Timestamp) -> Decision {
    let answer = Answer::Closed(Closed { tail: stream.tail });
    if stream.closed {
        return Decision::unchanged(answer);
    }
    Decision::of(Effect::Closed { at: now }, answer)
}

fn touch(stream: &StreamState, now: Timestamp) -> Decision {
    match stream.options.expiry {
        Expiry::Ttl(_) => Decision::of(Effect::Touched { at: now }, Answer::Done),
        Expiry::Never | Expiry::At(_) => Decision::unchanged(Answer::Done),
    }
}

fn trim(stream: &StreamState, to: Position) -> Decision {
    let to = if to.offset >= stream.tail.offset {
        stream.tail
    } else {
        Position {
            byte: to.byte.max(stream.earliest.byte).min(stream.tail.byte),
            ..to
        }
    };
    if to.offset <= stream.earliest.offset {
        return Decision::unchanged(Answer::Done);
    }
    Decision::of(Effect::Trimmed { to }, Answer::Done)
}
