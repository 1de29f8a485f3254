//! Between the words of the wire and the words of the house. Pure, and the only place that knows both.
//!
//! Every match is exhaustive and without wildcard: a new refusal or reason does not compile until it has its code.
//! What is kept for long (a content type, a `seq`) is copied here, so that a few bytes never pin a read buffer.

use std::time::Duration;

use bytes::Bytes;
use streamkeeper_protocol::command::{self, Append, Create, Read, Storage, Str};
use streamkeeper_protocol::event::confirm::ConfirmEntry;
use streamkeeper_protocol::event::{self, Listed, ListedStream, Status};
use streamkeeper_protocol::{ErrorCode, Event};

use super::SessionOptions;
use super::failure::{Detail, Failure};
use crate::broker::{Listing, Runs};
use crate::fanout;
use crate::rules::Answer;
use crate::storage::ReadLimits;
use crate::types::{
    AppendOptions, Appended, CreateOptions, Expiry, Fault, Metadata, Offset, ProducerStamp,
    Refusal, Retention, Start, StorageKind, Timestamp,
};

/// When a client should try again after the broker could not serve it.
const RETRY_LATER: Detail = Detail::RetryAfterMs(1000);

/// What READ asks for, within what one answer may hold.
pub(super) fn read_limits(read: &Read, options: &SessionOptions) -> ReadLimits {
    let at_most = |asked: u32, limit: u32| if asked == 0 { limit } else { asked.min(limit) };
    let bytes = at_most(read.max_bytes, options.read_bytes_max());
    ReadLimits {
        max_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        max_records: at_most(read.max_records, u32::MAX),
        wait: Duration::from_millis(read.wait_ms.into()).min(options.read_wait_max),
    }
}

/// Where a READ or SUBSCRIBE begins.
pub(super) fn start(start: command::Start) -> Start {
    match start {
        command::Start::Beginning => Start::Beginning,
        command::Start::Now => Start::Now,
        command::Start::Offset(offset) => Start::At(Offset(offset)),
        command::Start::Time(micros) => Start::Time(Timestamp(micros)),
    }
}

/// What CREATE asks for; an option left out has its default.
pub(super) fn create_options(
    create: &Create,
    default_storage: StorageKind,
) -> Result<CreateOptions, Failure> {
    let expiry = match (create.ttl_seconds, create.expires_at) {
        (None, None) => Expiry::Never,
        (Some(seconds), None) => Expiry::Ttl(seconds),
        (None, Some(micros)) => Expiry::At(Timestamp(micros)),
        (Some(_), Some(_)) => {
            let message = "a stream has a ttl or a time at which it expires, not both";
            return Err(Failure::new(ErrorCode::InvalidOptions, message));
        }
    };
    let defaults = CreateOptions::default();
    let content_type = create
        .content_type
        .as_ref()
        .map(|text| Str::from(text.as_str()));
    Ok(CreateOptions {
        content_type: content_type.unwrap_or(defaults.content_type),
        expiry,
        retention: Retention {
            max_age: create.max_age_ms.map(Duration::from_millis),
            max_records: create.max_records,
            max_bytes: create.max_bytes,
        },
        storage: create
            .storage
            .map_or(default_storage, |storage| match storage {
                Storage::Durable => StorageKind::Durable,
                Storage::Memory => StorageKind::Memory,
            }),
    })
}

/// What accompanies an APPEND. A plain append copies and allocates nothing.
pub(super) fn append_options(append: &Append) -> AppendOptions {
    AppendOptions {
        content_type: None,
        seq: append.seq.as_deref().map(Bytes::copy_from_slice),
        producer: append.producer.as_ref().map(|producer| ProducerStamp {
            id: Str::from(producer.id.as_str()),
            epoch: producer.epoch,
            seq: producer.seq,
        }),
        expected_tail: append.expected_tail.map(Offset),
        close: append.close_after,
    }
}

/// The entry of an append in CONFIRM.
pub(super) fn confirm(correlation: u32, appended: &Appended) -> ConfirmEntry {
    ConfirmEntry {
        correlation,
        duplicate: appended.duplicate,
        closed: appended.closed,
        tail: appended.tail.offset.0,
    }
}

/// The reply to a submission, or none for those that no peer can submit.
pub(super) fn answer(correlation: u32, answer: &Answer) -> Option<Event> {
    Some(match answer {
        Answer::Created(created) => Event::Created(event::Created {
            exists: created.existed,
            tail: created.tail.offset.0,
        }),
        Answer::Appended(appended) => Event::Confirm(event::Confirm {
            entries: vec![confirm(correlation, appended)],
        }),
        Answer::Closed(closed) => Event::Closed(event::Closed {
            tail: closed.tail.offset.0,
        }),
        Answer::Deleted => Event::Deleted,
        Answer::Done => return None,
    })
}

/// The answer to STAT.
pub(super) fn status(metadata: Metadata) -> Event {
    let CreateOptions {
        content_type,
        expiry,
        retention,
        storage,
    } = metadata.options;
    let (ttl_seconds, expires_at) = match expiry {
        Expiry::Never => (None, None),
        Expiry::Ttl(seconds) => (Some(seconds), None),
        Expiry::At(at) => (None, Some(at.0)),
    };
    let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Event::Status(Status {
        content_type,
        created_at: metadata.created_at.0,
        closed: metadata.closed,
        storage: match storage {
            StorageKind::Durable => Storage::Durable,
            StorageKind::Memory => Storage::Memory,
        },
        earliest: metadata.earliest.offset.0,
        earliest_byte: metadata.earliest.byte,
        tail: metadata.tail.offset.0,
        tail_byte: metadata.tail.byte,
        ttl_seconds,
        expires_at,
        max_age_ms: retention.max_age.map(millis),
        max_records: retention.max_records,
        max_bytes: retention.max_bytes,
        last_seq: metadata.last_seq,
        last_append_at: metadata.last_append_at.map(|at| at.0),
    })
}

/// The answer to LIST, cut to `bytes_max` of frame body.
pub(super) fn listed(listing: &Listing, bytes_max: usize) -> Event {
    let mut left = bytes_max;
    let mut more = listing.more;
    let mut streams = Vec::with_capacity(listing.streams.len());
    for stream in &listing.streams {
        let cost = stream.name.as_str().len() + 32;
        let Some(rest) = left.checked_sub(cost) else {
            more = true;
            break;
        };
        left = rest;
        streams.push(ListedStream {
            stream: Str::from(stream.name.as_str()),
            tail: stream.tail.offset.0,
            earliest: stream.earliest.offset.0,
            closed: stream.closed,
        });
    }
    Event::Listed(Listed { more, streams })
}

/// The head of the answer to READ; the runs follow it apart.
pub(super) fn records_head(runs: &Runs) -> event::Records {
    event::Records {
        more: runs.has_more,
        closed: runs.closed,
        next: runs.next.offset.0,
        next_byte: runs.next.byte,
        tail: runs.tail.offset.0,
        runs: Bytes::new(),
    }
}

/// Why a subscription is over.
pub(super) fn end_reason(reason: fanout::EndReason) -> event::EndReason {
    match reason {
        fanout::EndReason::Closed => event::EndReason::Closed,
        fanout::EndReason::Deleted => event::EndReason::Deleted,
        fanout::EndReason::Expired => event::EndReason::Expired,
        fanout::EndReason::Trimmed => event::EndReason::TrimmedPast,
    }
}

/// Why a subscription is over whose stream could not be read.
pub(super) fn fault_reason(fault: &Fault) -> event::EndReason {
    match fault {
        Fault::Corrupt { .. } => event::EndReason::Corrupt,
        Fault::StoreFaulted { .. }
        | Fault::StoreFull { .. }
        | Fault::Starting { .. }
        | Fault::Draining
        | Fault::Read { .. } => event::EndReason::Unavailable,
    }
}

/// The ERR for a refusal, with its details.
pub(super) fn refusal(refusal: &Refusal) -> Failure {
    let (code, detail) = match refusal {
        // To a client of this protocol, which cannot fork, a stream kept for its forks alone is not there.
        Refusal::NotFound | Refusal::Gone | Refusal::SourceGone => {
            (ErrorCode::NotFound, Detail::None)
        }
        Refusal::AlreadyExists => (ErrorCode::AlreadyExists, Detail::None),
        Refusal::StreamClosed { tail } => (ErrorCode::StreamClosed, Detail::Tail(tail.0)),
        Refusal::SeqConflict { last } => (ErrorCode::SeqConflict, Detail::LastSeq(last.clone())),
        Refusal::ProducerFenced { current } => {
            (ErrorCode::ProducerFenced, Detail::CurrentEpoch(*current))
        }
        Refusal::ProducerGap {
            expected,
            received: _,
        } => (ErrorCode::ProducerGap, Detail::ExpectedSeq(*expected)),
        Refusal::ProducerEpochStart { received: _ } => {
            (ErrorCode::ProducerEpochStart, Detail::ExpectedSeq(0))
        }
        Refusal::TooManyProducers { limit: _ } => (ErrorCode::TooManyProducers, Detail::None),
        Refusal::TailMismatch { actual } => (ErrorCode::TailMismatch, Detail::Tail(actual.0)),
        Refusal::Trimmed { earliest } => (ErrorCode::OffsetTrimmed, Detail::Earliest(earliest.0)),
        Refusal::PastTail { tail } => (ErrorCode::OffsetPastTail, Detail::Tail(tail.0)),
        Refusal::InvalidJson { index: _ } => (ErrorCode::InvalidJson, Detail::None),
        Refusal::EmptyBatch => (ErrorCode::EmptyBatch, Detail::None),
        Refusal::InvalidName(_) => (ErrorCode::InvalidName, Detail::None),
        Refusal::InvalidOption {
            option: _,
            reason: _,
        }
        | Refusal::ContentTypeMismatch { expected: _ } => (ErrorCode::InvalidOptions, Detail::None),
        Refusal::RecordTooLarge { have: _, limit: _ } => (ErrorCode::RecordTooLarge, Detail::None),
    };
    Failure::with(code, refusal.to_string(), detail)
}

/// The ERR for a fault.
pub(super) fn fault(fault: &Fault) -> Failure {
    let (code, detail) = match fault {
        Fault::StoreFaulted { reason: _ } => (ErrorCode::StoreFaulted, Detail::None),
        Fault::StoreFull { reason: _ } => (ErrorCode::StoreFull, RETRY_LATER),
        Fault::Starting { reason: _ } => (ErrorCode::Unavailable, RETRY_LATER),
        Fault::Draining => (ErrorCode::Draining, Detail::None),
        Fault::Corrupt {
            offset: _,
            reason: _,
        } => (ErrorCode::Corrupt, Detail::None),
        Fault::Read { reason: _ } => (ErrorCode::Internal, Detail::None),
    };
    Failure::with(code, fault.to_string(), detail)
}

/// The ERR for one READ more than a connection may have waiting.
pub(super) fn too_many_reads(limit: usize) -> Failure {
    let message = format!("{limit} READs of this connection wait already");
    Failure::with(ErrorCode::TooManyRequests, message, RETRY_LATER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NameError;

    fn err(error: impl Into<crate::types::Error>) -> event::ErrorEvent {
        match Failure::from(error.into()).into_event() {
            Event::Err(event) => event,
            other => panic!("not an ERR: {other:?}"),
        }
    }

    #[test]
    fn a_refusal_carries_what_the_client_needs_to_correct_itself() {
        let closed = err(Refusal::StreamClosed { tail: Offset(7) });
        assert_eq!(
            (closed.code, closed.tail, closed.fatal),
            (102, Some(7), false)
        );
        let last = Bytes::from_static(b"b");
        assert_eq!(
            err(Refusal::SeqConflict { last: last.clone() }).last_seq,
            Some(last)
        );
        let fenced = err(Refusal::ProducerFenced { current: 4 });
        assert_eq!((fenced.code, fenced.current_epoch), (104, Some(4)));
        let gap = err(Refusal::ProducerGap {
            expected: 5,
            received: 9,
        });
        assert_eq!((gap.code, gap.expected_seq), (105, Some(5)));
        let epoch = err(Refusal::ProducerEpochStart { received: 3 });
        assert_eq!((epoch.code, epoch.expected_seq), (106, Some(0)));
        let trimmed = err(Refusal::Trimmed {
            earliest: Offset(11),
        });
        assert_eq!((trimmed.code, trimmed.earliest), (108, Some(11)));
        assert_eq!(err(Refusal::InvalidName(NameError::Empty)).code, 112);
    }

    #[test]
    fn a_fault_that_may_pass_says_when_to_try_again() {
        let full = err(Fault::StoreFull {
            reason: String::from("disk"),
        });
        assert_eq!((full.code, full.retry_after_ms), (203, Some(1000)));
        let faulted = err(Fault::StoreFaulted {
            reason: String::from("fsync"),
        });
        assert_eq!(
            (faulted.code, faulted.retry_after_ms, faulted.fatal),
            (202, None, false)
        );
    }

    #[test]
    fn a_create_with_a_ttl_and_an_expiry_is_refused() {
        let create = Create {
            ttl_seconds: Some(1),
            expires_at: Some(1),
            stream: Str::from("s"),
            content_type: None,
            max_age_ms: None,
            max_records: None,
            max_bytes: None,
            storage: None,
        };
        let refused =
            create_options(&create, StorageKind::Durable).expect_err("contradicts itself");
        assert_eq!(refused.code(), ErrorCode::InvalidOptions);
        let create = Create {
            expires_at: None,
            ..create
        };
        let options = create_options(&create, StorageKind::Durable).expect("in order");
        assert_eq!(
            options,
            CreateOptions {
                expiry: Expiry::Ttl(1),
                ..CreateOptions::default()
            }
        );
    }

    #[test]
    fn a_listing_is_cut_to_what_a_frame_holds() {
        let name = |index: u32| format!("{index:0100}").parse().expect("a name");
        let streams = (0..10).map(|index| crate::broker::Listed {
            name: name(index),
            earliest: crate::types::Position::START,
            tail: crate::types::Position::START,
            closed: false,
        });
        let listing = Listing {
            streams: streams.collect(),
            more: false,
        };
        let Event::Listed(cut) = listed(&listing, 500) else {
            panic!("not LISTED")
        };
        assert_eq!((cut.streams.len(), cut.more), (3, true));
        let Event::Listed(whole) = listed(&listing, 5000) else {
            panic!("not LISTED")
        };
        assert_eq!((whole.streams.len(), whole.more), (10, false));
    }
}
