//! Creating a stream: are the options possible, and is there one already?
//!
//! Called by [`decide`](super::decide()). Creating twice with the same configuration is one creation; an expired stream
//! makes room for a new one in the same step. Which storage kinds are configured is not known here.

use std::sync::Arc;

use streamkeeper_protocol::limits::CONTENT_TYPE_BYTES_MAX;

use super::Context;
use crate::rules::effect::{Answer, Decision, Effect, Effects};
use crate::rules::state::StreamState;
use crate::types::{
    CreateOptions, Created, DeleteReason, Expiry, Position, Refusal, Str, Timestamp,
};

/// `live` is the stream that exists and has not expired; `occupied` says that one exists at all.
pub(super) fn create(
    live: Option<&StreamState>,
    occupied: bool,
    mut options: CreateOptions,
    context: &Context,
) -> Result<Decision, Refusal> {
    let now = context.now;
    validate(&options, now)?;
    if let Some(stream) = live {
        if !is_same_configuration(&stream.options, &options) {
            return Err(Refusal::AlreadyExists);
        }
        let created = Created {
            existed: true,
            tail: stream.tail,
        };
        return Ok(Decision::unchanged(Answer::Created(created)));
    }
    let mut effects = Effects::new();
    if occupied {
        effects.push(Effect::Deleted {
            reason: DeleteReason::Expired,
            at: now,
        });
    }
    // The content type is copied: a slice would keep the whole frame it came in alive as long as the stream.
    options.content_type = Str::from(&*options.content_type);
    let options = Arc::new(options);
    effects.push(Effect::Created {
        id: context.next_id,
        options,
        at: now,
    });
    let created = Created {
        existed: false,
        tail: Position::START,
    };
    Ok(Decision {
        effects,
        answer: Answer::Created(created),
    })
}

fn validate(options: &CreateOptions, now: Timestamp) -> Result<(), Refusal> {
    let refuse = |option, reason| Err(Refusal::InvalidOption { option, reason });
    let content_type = &*options.content_type;
    if content_type.is_empty() {
        return refuse("content_type", "must not be empty");
    }
    if content_type.len() > CONTENT_TYPE_BYTES_MAX {
        return refuse("content_type", "must have at most 255 bytes");
    }
    if !content_type.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return refuse("content_type", "must be printable ASCII");
    }
    match options.expiry {
        Expiry::Ttl(0) => return refuse("ttl_seconds", "must be at least 1"),
        Expiry::At(at) if at <= now => return refuse("expires_at", "must lie in the future"),
        Expiry::Never | Expiry::Ttl(_) | Expiry::At(_) => {}
    }
    let retention = &options.retention;
    if retention.max_age.is_some_and(|age| age.is_zero()) {
        return refuse("max_age", "must be longer than zero");
    }
    if retention.max_records == Some(0) {
        return refuse("max_records", "must be at least 1");
    }
    if retention.max_bytes == Some(0) {
        return refuse("max_bytes", "must be at least 1");
    }
    Ok(())
}

fn is_same_configuration(one: &CreateOptions, other: &CreateOptions) -> bool {
    is_same_content_type(&one.content_type, &other.content_type)
        && one.expiry == other.expiry
        && one.retention == other.retention
        && one.storage == other.storage
}

/// Media types compare without regard to case; their parameters may be case-sensitive, so they compare as given.
fn is_same_content_type(one: &str, other: &str) -> bool {
    let (one, one_parameters) = split_parameters(one);
    let (other, other_parameters) = split_parameters(other);
    one.eq_ignore_ascii_case(other) && one_parameters == other_parameters
}

fn split_parameters(content_type: &str) -> (&str, Option<&str>) {
    match content_type.split_once(';') {
        Some((media_type, parameters)) => (media_type.trim(), Some(parameters.trim())),
        None => (content_type.trim(), None),
    }
}
