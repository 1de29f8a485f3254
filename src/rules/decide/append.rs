//! Appending: the checks in the order that [`Storage::append`](crate::storage::Storage::append) promises.
//!
//! Called by [`decide`](super::decide()) for a stream that exists. The producer comes first, so that a retry of an append
//! that was accepted is confirmed whatever happened to the stream since. An append without conditions allocates
//! nothing and does not look at its records: their lengths and checksums were verified when the batch was made.

use std::ops::ControlFlow;

use super::{Context, create};
use crate::rules::effect::{Answer, Decision, Effect, Effects};
use crate::rules::json;
use crate::rules::state::StreamState;
use crate::types::{AppendOptions, Appended, ProducerStamp, RecordBlock, Refusal, Timestamp};

pub(super) fn append(
    stream: &StreamState,
    batch: RecordBlock,
    options: AppendOptions,
    context: &Context,
) -> Result<Decision, Refusal> {
    let mut evicted = None;
    if let Some(stamp) = &options.producer {
        match check_producer(stream, stamp, context) {
            Ok(ControlFlow::Break(Duplicate { last })) => return Ok(duplicate(stream, last)),
            Ok(ControlFlow::Continue(idle_since)) => evicted = idle_since,
            // That it is closed is what the producer must know: no other stamp would help.
            Err(_) if stream.closed => return Err(closed(stream)),
            Err(refusal) => return Err(refusal),
        }
    }
    check_stream(stream, &options)?;
    if batch.is_empty() && !options.close {
        return Err(Refusal::EmptyBatch);
    }
    let batch = if stream.is_json() {
        json::flatten(batch)?
    } else {
        batch
    };
    check_record_sizes(&batch, context.limits.record_bytes_max)?;
    Ok(accept(stream, batch, options, evicted, context.now))
}

/// The append was accepted before; `last` is the producer's last accepted seq.
struct Duplicate {
    last: u64,
}

/// Judges the producer's stamp. Going on may mean that producers idle since some time must be forgotten to make room.
fn check_producer(
    stream: &StreamState,
    stamp: &ProducerStamp,
    context: &Context,
) -> Result<ControlFlow<Duplicate, Option<Timestamp>>, Refusal> {
    let Some(known) = stream.producers.get(&stamp.id) else {
        return check_new_producer(stream, stamp, context).map(ControlFlow::Continue);
    };
    if stamp.epoch < known.epoch {
        return Err(Refusal::ProducerFenced {
            current: known.epoch,
        });
    }
    if stamp.epoch > known.epoch {
        return match stamp.seq {
            0 => Ok(ControlFlow::Continue(None)),
            received => Err(Refusal::ProducerEpochStart { received }),
        };
    }
    if stamp.seq <= known.seq {
        return Ok(ControlFlow::Break(Duplicate { last: known.seq }));
    }
    // `known.seq` is less than another u64, so it has a successor.
    let expected = known.seq.saturating_add(1);
    if stamp.seq != expected {
        return Err(Refusal::ProducerGap {
            expected,
            received: stamp.seq,
        });
    }
    Ok(ControlFlow::Continue(None))
}

fn check_new_producer(
    stream: &StreamState,
    stamp: &ProducerStamp,
    context: &Context,
) -> Result<Option<Timestamp>, Refusal> {
    if stamp.seq != 0 {
        return Err(Refusal::ProducerGap {
            expected: 0,
            received: stamp.seq,
        });
    }
    let limits = &context.limits;
    if stream.producers.len() < limits.producers_max {
        return Ok(None);
    }
    match stream
        .producers
        .idle_since(context.now, limits.producer_idle)
    {
        Some(idle_since) => Ok(Some(idle_since)),
        None => Err(Refusal::TooManyProducers {
            limit: limits.producers_max,
        }),
    }
}

fn check_stream(stream: &StreamState, options: &AppendOptions) -> Result<(), Refusal> {
    if stream.closed {
        return Err(closed(stream));
    }
    if let Some(content_type) = &options.content_type {
        let expected = &stream.options.content_type;
        if !create::is_same_media_type(content_type, expected) {
            let expected = expected.clone();
            return Err(Refusal::ContentTypeMismatch { expected });
        }
    }
    if options
        .expected_tail
        .is_some_and(|expected| expected != stream.tail.offset)
    {
        return Err(Refusal::TailMismatch {
            actual: stream.tail.offset,
        });
    }
    match (&options.seq, &stream.last_seq) {
        (Some(seq), Some(last)) if seq <= last => Err(Refusal::SeqConflict { last: last.clone() }),
        _ => Ok(()),
    }
}

fn closed(stream: &StreamState) -> Refusal {
    Refusal::StreamClosed {
        tail: stream.tail.offset,
    }
}

pub(super) fn check_record_sizes(batch: &RecordBlock, limit: u64) -> Result<(), Refusal> {
    // Cheap and almost always enough: no record is larger than all of them together.
    if batch.payload_bytes() <= limit {
        return Ok(());
    }
    let lengths = batch.payloads().map(|payload| payload.len() as u64);
    match lengths.into_iter().find(|&have| have > limit) {
        Some(have) => Err(Refusal::RecordTooLarge { have, limit }),
        None => Ok(()),
    }
}

fn duplicate(stream: &StreamState, last: u64) -> Decision {
    Decision::unchanged(Answer::Appended(Appended {
        tail: stream.tail,
        duplicate: true,
        closed: stream.closed,
        producer_seq: Some(last),
    }))
}

fn accept(
    stream: &StreamState,
    batch: RecordBlock,
    options: AppendOptions,
    evicted: Option<Timestamp>,
    now: Timestamp,
) -> Decision {
    let tail = stream
        .tail
        .advanced(u64::from(batch.count()), batch.payload_bytes());
    let producer_seq = options.producer.as_ref().map(|stamp| stamp.seq);
    let mut effects = Effects::new();
    if !batch.is_empty() {
        effects.push(Effect::Appended { batch, at: now });
    }
    if let Some(idle_since) = evicted {
        effects.push(Effect::ProducersEvicted { idle_since });
    }
    if let Some(ProducerStamp { id, epoch, seq }) = options.producer {
        effects.push(Effect::ProducerAdvanced {
            id,
            epoch,
            seq,
            at: now,
        });
    }
    if let Some(seq) = options.seq {
        effects.push(Effect::SeqAdvanced { seq });
    }
    if options.close {
        effects.push(Effect::Closed { at: now });
    }
    let appended = Appended {
        tail,
        duplicate: false,
        closed: options.close,
        producer_seq,
    };
    Decision {
        effects,
        answer: Answer::Appended(appended),
    }
}
