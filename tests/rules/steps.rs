//! Random steps against one stream, chosen so that most of them come close to a rule.
//!
//! A step says things like "the next seq of this producer"; `ask` turns that into a concrete question once the stream's
//! state is known. Limits, times and sizes are small, so that a few dozen steps meet all of them.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use streamkeeper::rules::{RuleLimits, StreamState};
use streamkeeper::types::{
    AppendOptions, CreateOptions, Expiry, Offset, ProducerStamp, Retention, StorageKind, Str,
    Timestamp,
};

use super::model::{Asked, Input};

/// Limits that a short sequence meets.
pub(crate) const LIMITS: RuleLimits = RuleLimits {
    producers_max: 2,
    producer_idle: Duration::from_secs(4),
    record_bytes_max: 12,
};

/// A step, and how long to wait before it.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub wait_us: u64,
    pub step: Step,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Create; the expiry, if it is a time, counts from then on.
    Create(CreateOptions),
    /// Create with the configuration that the stream has, spelled in capitals.
    CreateAgain,
    Append {
        inputs: Vec<Input>,
        seq: Option<SeqPick>,
        producer: Option<ProducerPick>,
        tail: Option<i64>,
        close: bool,
    },
    Close,
    Delete,
    Touch,
    /// Trim to so many records after the earliest.
    Trim(u64),
    Expire,
    /// Let retention do its work.
    Retain,
}

#[derive(Clone, Debug)]
pub(crate) enum SeqPick {
    Last,
    Greater,
    Any(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(crate) struct ProducerPick {
    pub id: u8,
    pub epoch_change: i64,
    pub seq: ProducerSeq,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ProducerSeq {
    Zero,
    Next,
    Repeat,
    Skip,
}

/// Sequences that begin with a stream.
pub(crate) fn sequence() -> impl Strategy<Value = Vec<Timed>> {
    (create_options(), vec(timed(), 1..60)).prop_map(|(options, mut steps)| {
        steps.insert(
            0,
            Timed {
                wait_us: 0,
                step: Step::Create(options),
            },
        );
        steps
    })
}

/// The question that `step` asks at `now` of a stream in this state; `None` for [`Step::Retain`].
pub(crate) fn ask(step: &Step, state: Option<&StreamState>, now: Timestamp) -> Option<Asked> {
    Some(match step {
        Step::Create(options) => Asked::Create(from_now(options, now)),
        Step::CreateAgain => Asked::Create(in_capitals(state)),
        Step::Append {
            inputs,
            seq,
            producer,
            tail,
            close,
        } => Asked::Append {
            inputs: inputs.clone(),
            options: AppendOptions {
                content_type: None,
                seq: seq.as_ref().map(|pick| pick_seq(pick, state)),
                producer: producer.as_ref().map(|pick| pick_producer(pick, state)),
                expected_tail: tail.map(|change| {
                    let tail = state.map_or(0, |stream| stream.tail.offset.0);
                    Offset(tail.saturating_add_signed(change))
                }),
                close: *close,
            },
        },
        Step::Close => Asked::Close,
        Step::Delete => Asked::Delete,
        Step::Touch => Asked::Touch,
        Step::Trim(records) => {
            let earliest = state.map_or(0, |stream| stream.earliest.offset.0);
            Asked::Trim(earliest + records)
        }
        Step::Expire => Asked::Expire,
        Step::Retain => return None,
    })
}

fn from_now(options: &CreateOptions, now: Timestamp) -> CreateOptions {
    let expiry = match options.expiry {
        Expiry::At(after) => Expiry::At(now.after(Duration::from_micros(after.0))),
        other => other,
    };
    CreateOptions {
        expiry,
        ..options.clone()
    }
}

fn in_capitals(state: Option<&StreamState>) -> CreateOptions {
    let mut options = state
        .map(|stream| CreateOptions::clone(&stream.options))
        .unwrap_or_default();
    let text = options.content_type.to_string();
    let (media_type, parameters) = text.split_at(text.find(';').unwrap_or(text.len()));
    options.content_type = Str::from(format!("{}{parameters}", media_type.to_uppercase()));
    options
}

fn pick_seq(pick: &SeqPick, state: Option<&StreamState>) -> Bytes {
    let last = state
        .and_then(|stream| stream.last_seq.clone())
        .unwrap_or_default();
    match pick {
        SeqPick::Last => last,
        SeqPick::Greater => Bytes::from([&last[..], b"0"].concat()),
        SeqPick::Any(bytes) => Bytes::from(bytes.clone()),
    }
}

fn pick_producer(pick: &ProducerPick, state: Option<&StreamState>) -> ProducerStamp {
    let id = format!("producer-{}", pick.id);
    let known = state.and_then(|stream| stream.producers.get(&id));
    let (epoch, last) = known.map_or((1, None), |known| (known.epoch, Some(known.seq)));
    let seq = match (pick.seq, last) {
        (ProducerSeq::Zero, _) | (ProducerSeq::Next | ProducerSeq::Repeat, None) => 0,
        (ProducerSeq::Next, Some(last)) => last + 1,
        (ProducerSeq::Repeat, Some(last)) => last,
        (ProducerSeq::Skip, last) => last.unwrap_or(0) + 2,
    };
    ProducerStamp {
        id: Str::from(id),
        epoch: epoch.saturating_add_signed(pick.epoch_change),
        seq,
    }
}

fn timed() -> impl Strategy<Value = Timed> {
    let wait_us = prop_oneof![
        3 => Just(0),
        3 => 1..1_000_000_u64,
        1 => (0..6_u64).prop_map(|seconds| seconds * 1_000_000),
    ];
    (wait_us, step()).prop_map(|(wait_us, step)| Timed { wait_us, step })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => create_options().prop_map(Step::Create),
        2 => Just(Step::CreateAgain),
        20 => append(),
        1 => Just(Step::Close),
        1 => Just(Step::Delete),
        2 => Just(Step::Touch),
        2 => (0..5_u64).prop_map(Step::Trim),
        2 => Just(Step::Expire),
        4 => Just(Step::Retain),
    ]
}

fn append() -> impl Strategy<Value = Step> {
    let seq = prop_oneof![
        Just(SeqPick::Last),
        Just(SeqPick::Greater),
        vec(
            prop_oneof![Just(0), Just(b'0'), Just(b'1'), Just(0xFF)],
            0..3
        )
        .prop_map(SeqPick::Any),
    ];
    let producer_seq = prop_oneof![
        2 => Just(ProducerSeq::Zero),
        6 => Just(ProducerSeq::Next),
        2 => Just(ProducerSeq::Repeat),
        1 => Just(ProducerSeq::Skip),
    ];
    let epoch_change = prop_oneof![6 => Just(0_i64), 1 => Just(1), 1 => Just(-1)];
    let producer =
        (0..4_u8, epoch_change, producer_seq).prop_map(|(id, epoch_change, seq)| ProducerPick {
            id,
            epoch_change,
            seq,
        });
    let tail = prop_oneof![4 => Just(0_i64), 1 => -1..2_i64];
    let parts = (
        vec(input(), 0..4),
        option::weighted(0.3, seq),
        option::weighted(0.5, producer),
        option::weighted(0.2, tail),
        prop::bool::weighted(0.03),
    );
    parts.prop_map(|(inputs, seq, producer, tail, close)| Step::Append {
        inputs,
        seq,
        producer,
        tail,
        close,
    })
}

fn create_options() -> impl Strategy<Value = CreateOptions> {
    let content_type = prop_oneof![
        6 => Just("application/octet-stream".to_owned()),
        4 => Just("application/json".to_owned()),
        2 => Just("Application/JSON; charset=UTF-8".to_owned()),
        1 => Just(String::new()),
        1 => Just("text/plain\n".to_owned()),
        1 => Just("x".repeat(256)),
    ];
    let expiry = prop_oneof![
        4 => Just(Expiry::Never),
        3 => (0..4_u64).prop_map(Expiry::Ttl),
        2 => (0..20_000_000_u64).prop_map(|after| Expiry::At(Timestamp(after))),
    ];
    let max_age = option::weighted(0.3, (0..3000_u64).prop_map(Duration::from_millis));
    let max_records = option::weighted(0.3, 0..6_u64);
    let max_bytes = option::weighted(0.3, 0..30_u64);
    let retention =
        (max_age, max_records, max_bytes).prop_map(|(max_age, max_records, max_bytes)| Retention {
            max_age,
            max_records,
            max_bytes,
        });
    let storage = prop_oneof![Just(StorageKind::Durable), Just(StorageKind::Memory)];
    (content_type, expiry, retention, storage).prop_map(
        |(content_type, expiry, retention, storage)| CreateOptions {
            content_type: Str::from(content_type),
            expiry,
            retention,
            storage,
        },
    )
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        2 => vec(any::<u8>(), 0..6).prop_map(not_json),
        4 => spaced_value().prop_map(|(value, bytes)| Input { bytes, values: Some(vec![value]) }),
        4 => (vec(spaced_value(), 0..4), space(), space()).prop_map(json_array),
    ]
}

/// Bytes that are surely not JSON, because of what stands in front.
fn not_json(mut bytes: Vec<u8>) -> Input {
    bytes.insert(0, b'\\');
    Input {
        bytes,
        values: None,
    }
}

fn json_array((values, before, after): (Vec<(String, Vec<u8>)>, String, String)) -> Input {
    let mut bytes = Vec::from(before);
    bytes.push(b'[');
    for (index, (_, text)) in values.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(text);
    }
    bytes.push(b']');
    bytes.extend_from_slice(after.as_bytes());
    Input {
        bytes,
        values: Some(values.into_iter().map(|(value, _)| value).collect()),
    }
}

/// A JSON value that is no array, bare and with white space around it.
fn spaced_value() -> impl Strategy<Value = (String, Vec<u8>)> {
    let value = prop_oneof![
        Just("0"),
        Just("-1.50e+3"),
        Just("null"),
        Just("\"a\\u0062\""),
        Just("{\"k\": [1, 2]}"),
        Just("\"] ,[\""),
        Just("{ }"),
    ];
    (value, space(), space()).prop_map(|(value, before, after)| {
        (
            value.to_owned(),
            format!("{before}{value}{after}").into_bytes(),
        )
    })
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "[ \t\r\n]{1,2}"]
}
