//! Forks: what ties a stream to the one it branched off.
//!
//! A fork shares the records of its source up to the fork point, so a source with forks that is deleted or expires is only
//! retired: gone for clients, its records and its name kept until its last fork goes. [`decide`](super::decide()) looks at one
//! stream; the engine asks [`check_source`] and [`released`] here what a decision means for the source, and puts both into
//! one transaction. Writer state (producers, `seq`) is never inherited.

use crate::rules::command::Command;
use crate::rules::effect::{Answer, Decision, Effect, Effects};
use crate::rules::state::StreamState;
use crate::types::{DeleteReason, Fork, Refusal, Timestamp};

/// True of a stream that is kept only for its forks, be that written down yet or not.
pub(super) fn is_kept(stream: &StreamState, now: Timestamp) -> bool {
    stream.deleted || (stream.forks > 0 && stream.is_expired(now))
}

/// What a command does to a stream that is kept only for its forks: nothing but to say so.
pub(super) fn decide_kept(
    stream: &StreamState,
    command: &Command,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    match command {
        Command::Create(_) => Err(Refusal::AlreadyExists),
        Command::Append { .. } | Command::Close | Command::Delete => Err(Refusal::Gone),
        Command::Expire if !stream.deleted => Ok(Decision::of(
            end(stream, DeleteReason::Expired, now),
            Answer::Done,
        )),
        Command::Touch | Command::Trim { .. } | Command::Expire => {
            Ok(Decision::unchanged(Answer::Done))
        }
    }
}

/// How a stream ends: whole, or for clients only.
pub(super) fn end(stream: &StreamState, reason: DeleteReason, at: Timestamp) -> Effect {
    if stream.forks > 0 {
        Effect::Retired { reason, at }
    } else {
        Effect::Deleted { reason, at }
    }
}

/// Whether `fork` may be taken off its source, as that is now.
///
/// # Errors
/// `NotFound` if there is no source; `SourceGone` if it is gone or not the incarnation that was looked at.
pub fn check_source(
    source: Option<&StreamState>,
    fork: &Fork,
    now: Timestamp,
) -> Result<(), Refusal> {
    let source = source.ok_or(Refusal::NotFound)?;
    let usable = !source.deleted && !source.is_expired(now) && source.id == fork.source;
    if usable {
        Ok(())
    } else {
        Err(Refusal::SourceGone)
    }
}

/// What happens to a source when one of its forks goes: with the last one, a retired source goes too (and then its own
/// source is asked the same).
pub fn released(source: &StreamState, at: Timestamp) -> Effects {
    let mut effects = Effects::new();
    effects.push(Effect::ForkReleased);
    if source.deleted && source.forks <= 1 {
        effects.push(Effect::Deleted {
            reason: DeleteReason::Requested,
            at,
        });
    }
    effects
}
