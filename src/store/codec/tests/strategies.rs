//! Arbitrary rows, states and effects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::rules::{Effect, StreamState};
use crate::types::{
    CreateOptions, DeleteReason, Expiry, Fork, ForkRequest, Offset, Position, Retention,
    StorageKind, Str, StreamId, StreamName, Timestamp,
};

pub(super) const STREAM: StreamId = StreamId(7);

/// What goes into a row, and should come out again.
#[derive(Clone, Debug)]
pub(super) enum Written {
    /// A run of these batches.
    Run {
        first: Position,
        at: Timestamp,
        batches: Vec<Vec<Vec<u8>>>,
    },
    Effect {
        effect: Effect,
        name: String,
    },
}

pub(super) fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

pub(super) fn position() -> impl Strategy<Value = Position> {
    // Far enough from the end of `u64` for a run to fit behind it.
    (0..u64::MAX / 2, 0..u64::MAX / 2).prop_map(|(offset, byte)| Position {
        offset: Offset(offset),
        byte,
    })
}

pub(super) fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

pub(super) fn small_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

pub(super) fn create_options() -> impl Strategy<Value = CreateOptions> {
    let expiry = prop_oneof![
        Just(Expiry::Never),
        any::<u64>().prop_map(Expiry::Ttl),
        timestamp().prop_map(Expiry::At),
    ];
    let max_age = option::of((any::<u64>(), 0..1_000_000_000_u32))
        .prop_map(|age| age.map(|(seconds, nanos)| Duration::new(seconds, nanos)));
    let retention = (max_age, option::of(any::<u64>()), option::of(any::<u64>())).prop_map(
        |(max_age, max_records, max_bytes)| Retention {
            max_age,
            max_records,
            max_bytes,
        },
    );
    let storage = prop_oneof![Just(StorageKind::Durable), Just(StorageKind::Memory)];
    (text(), expiry, retention, storage).prop_map(|(content_type, expiry, retention, storage)| {
        CreateOptions {
            content_type: Str::from(content_type),
            expiry,
            retention,
            storage,
        }
    })
}

fn fork() -> impl Strategy<Value = Fork> {
    let request = (text(), option::of(position()), any::<u64>());
    let rest = (
        any::<u64>(),
        position(),
        position(),
        any::<bool>(),
        any::<u32>(),
    );
    (request, rest).prop_map(|(request, rest)| {
        let (name, offset, sub_offset) = request;
        let (source, at, earliest, inherits_expiry, depth) = rest;
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        Fork {
            request: ForkRequest {
                source: StreamName::new(&format!("s{name}")).unwrap(),
                offset,
                sub_offset,
            },
            source: StreamId(source),
            at,
            earliest,
            inherits_expiry,
            depth,
        }
    })
}

pub(super) fn effect() -> impl Strategy<Value = Effect> {
    let reason = prop_oneof![Just(DeleteReason::Requested), Just(DeleteReason::Expired)];
    let producer = (text(), any::<u64>(), any::<u64>(), timestamp());
    prop_oneof![
        (create_options(), timestamp(), option::of(fork())).prop_map(|(options, at, fork)| {
            Effect::Created {
                id: STREAM,
                options: Arc::new(options),
                at,
                fork: fork.map(Arc::new),
            }
        }),
        producer.prop_map(|(id, epoch, seq, at)| Effect::ProducerAdvanced {
            id: Str::from(id),
            epoch,
            seq,
            at,
        }),
        timestamp().prop_map(|idle_since| Effect::ProducersEvicted { idle_since }),
        small_bytes().prop_map(|seq| Effect::SeqAdvanced { seq }),
        timestamp().prop_map(|at| Effect::Closed { at }),
        timestamp().prop_map(|at| Effect::Touched { at }),
        position().prop_map(|to| Effect::Trimmed { to }),
        any::<u64>().prop_map(|until| Effect::ForkTaken {
            until: Offset(until)
        }),
        Just(Effect::ForkReleased),
        (reason.clone(), timestamp()).prop_map(|(reason, at)| Effect::Retired { reason, at }),
        (reason, timestamp()).prop_map(|(reason, at)| Effect::Deleted { reason, at }),
    ]
}

pub(super) fn written() -> impl Strategy<Value = Written> {
    let batch = vec(vec(any::<u8>(), 0..10), 1..4);
    prop_oneof![
        (position(), timestamp(), vec(batch, 1..4)).prop_map(|(first, at, batches)| Written::Run {
            first,
            at,
            batches
        }),
        (effect(), text()).prop_map(|(effect, name)| {
            let is_created = matches!(effect, Effect::Created { .. });
            Written::Effect {
                effect,
                name: if is_created { name } else { String::new() },
            }
        }),
    ]
}

pub(super) fn state() -> impl Strategy<Value = StreamState> {
    let times = (timestamp(), timestamp(), option::of(timestamp()));
    let rest = (
        position(),
        position(),
        any::<bool>(),
        option::of(small_bytes()),
    );
    let forks = (option::of(fork()), any::<u64>(), any::<bool>());
    (any::<u64>(), create_options(), times, rest, forks).prop_map(
        |(id, options, times, rest, forks)| {
            let (fork, forks, deleted) = forks;
            let (created_at, touched_at, last_append_at) = times;
            let (earliest, tail, closed, last_seq) = rest;
            StreamState {
                touched_at,
                last_append_at,
                earliest,
                tail,
                closed,
                last_seq,
                forks,
                deleted,
                ..StreamState::new(
                    StreamId(id),
                    Arc::new(options),
                    created_at,
                    fork.map(Arc::new),
                )
            }
        },
    )
}
