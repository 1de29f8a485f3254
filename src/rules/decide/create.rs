//! Creating a stream: are the options possible, and is there one already?
//!
//! Called by [`decide`](super::decide()). Creating twice with the same configuration is one creation; an expired stream
//! makes room for a new one in the same step. Which storage kinds are configured is not known here.

use std::sync::Arc;

use streamkeeper_protocol::limits::CONTENT_TYPE_BYTES_MAX;

use super::Context;
use super::append::check_record_sizes;
use crate::rules::effect::{Answer, Decision, Effect, Effects};
use crate::rules::json;
use crate::rules::state::StreamState;
use crate::types::{
    CreateOptions, Created, Creation, DeleteReason, Expiry, Fork, Position, RecordBlock, Refusal,
    Str, StreamId, Timestamp,
};

/// `live` is the stream that exists and has not expired; `occupied` says that one exists at all.
pub(super) fn create(
    live: Option<&StreamState>,
    occupied: bool,
    creation: Creation,
    context: &Context,
) -> Result<Decision, Refusal> {
    let now = context.now;
    validate(&creation.options, now)?;
    if let Some(stream) = live {
        return confirm(stream, &creation);
    }
    if let Some(fork) = &creation.fork {
        validate_fork(fork, &creation.options)?;
    }
    let batch = first_records(&creation, context)?;
    let mut effects = Effects::new();
    if occupied {
        effects.push(Effect::Deleted {
            reason: DeleteReason::Expired,
            at: now,
        });
    }
    let closed = creation.closed == Some(true);
    let fork = creation.fork.map(Arc::new);
    let start = fork.as_ref().map_or(Position::START, |fork| fork.at);
    let created = Created {
        existed: false,
        tail: start.advanced(u64::from(batch.count()), batch.payload_bytes()),
        closed,
    };
    let mut options = creation.options;
    // The content type is copied: a slice would keep the whole frame it came in alive as long as the stream.
    options.content_type = Str::from(&*options.content_type);
    effects.push(Effect::Created {
        id: context.next_id,
        options: Arc::new(options),
        at: now,
        fork,
    });
    if !batch.is_empty() {
        effects.push(Effect::Appended { batch, at: now });
    }
    if closed {
        effects.push(Effect::Closed { at: now });
    }
    Ok(Decision {
        effects,
        answer: Answer::Created(created),
    })
}

/// The answer if the stream is there already.
fn confirm(stream: &StreamState, creation: &Creation) -> Result<Decision, Refusal> {
    let same = is_same_configuration(stream, creation)
        && creation.closed.is_none_or(|closed| closed == stream.closed);
    if !same {
        return Err(Refusal::AlreadyExists);
    }
    Ok(Decision::unchanged(Answer::Created(Created {
        existed: true,
        tail: stream.tail,
        closed: stream.closed,
    })))
}

/// The records a stream begins with. In JSON mode an empty array is no record, and no error here.
fn first_records(creation: &Creation, context: &Context) -> Result<RecordBlock, Refusal> {
    let mut batch = creation.batch.clone();
    if !batch.is_empty() && json::is_json(creation.options.content_type.as_bytes()) {
        batch = match json::flatten(batch) {
            Err(Refusal::EmptyBatch) => RecordBlock::default(),
            flattened => flattened?,
        };
    }
    check_record_sizes(&batch, context.limits.record_bytes_max)?;
    Ok(batch)
}

fn validate_fork(fork: &Fork, options: &CreateOptions) -> Result<(), Refusal> {
    if fork.source == StreamId::default() {
        // Meant to confirm a fork that is gone by now.
        return Err(Refusal::SourceGone);
    }
    if fork.depth > Fork::DEPTH_MAX {
        return Err(Refusal::InvalidOption {
            option: "fork",
            reason: "the chain of forks is too long: fork one of its earlier streams",
        });
    }
    if !options.retention.is_unlimited() {
        return Err(Refusal::InvalidOption {
            option: "retention",
            reason: "a fork keeps what it shares with its source: it cannot have a retention of its own",
        });
    }
    Ok(())
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

fn is_same_configuration(stream: &StreamState, creation: &Creation) -> bool {
    let (one, other) = (&*stream.options, &creation.options);
    let fork = stream.fork.as_deref();
    // A fork that was created without an expiry has its source's.
    let inherited = fork.is_some_and(|fork| fork.inherits_expiry) && other.expiry == Expiry::Never;
    is_same_content_type(&one.content_type, &other.content_type)
        && (one.expiry == other.expiry || inherited)
        && one.retention == other.retention
        && one.storage == other.storage
        && is_same_fork(fork, creation.fork.as_ref())
}

/// A fork taken at the tail was taken at that offset: saying so is asking for the same.
fn is_same_fork(known: Option<&Fork>, asked: Option<&Fork>) -> bool {
    let (Some(known), Some(asked)) = (known, asked) else {
        return known.is_none() && asked.is_none();
    };
    let at_tail = known.request.offset.is_none() && known.request.source == asked.request.source;
    known.request == asked.request
        || (at_tail && asked.request.sub_offset == 0 && asked.request.offset == Some(known.at))
}

/// Media types compare without regard to case; their parameters may be case-sensitive, so they compare as given.
fn is_same_content_type(one: &str, other: &str) -> bool {
    let (one, one_parameters) = split_parameters(one);
    let (other, other_parameters) = split_parameters(other);
    one.eq_ignore_ascii_case(other) && one_parameters == other_parameters
}

/// As for a record: of the same type, whatever the parameters say.
pub fn is_same_media_type(one: &str, other: &str) -> bool {
    split_parameters(one)
        .0
        .eq_ignore_ascii_case(split_parameters(other).0)
}

fn split_parameters(content_type: &str) -> (&str, Option<&str>) {
    match content_type.split_once(';') {
        Some((media_type, parameters)) => (media_type.trim(), Some(parameters.trim())),
        None => (content_type.trim(), None),
    }
}
