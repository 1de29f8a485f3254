//! The rules over one append, and the effects on the state: plain, from a producer, in JSON mode, and refused.
//!
//! `cargo bench --bench decide`. Pure: no I/O, no clock, no locks.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use streamkeeper::rules::{self, Command, Context, Decision, RuleLimits, StreamState};
use streamkeeper::types::{
    AppendOptions, CreateOptions, ProducerStamp, RecordBlock, StreamId, Timestamp,
};

fn context() -> Context {
    Context {
        now: Timestamp(1_000_000_000),
        next_id: StreamId(1),
        limits: RuleLimits::default(),
    }
}

fn applied(mut state: Option<StreamState>, decision: &Decision) -> Option<StreamState> {
    for effect in &decision.effects {
        rules::apply(&mut state, effect);
    }
    state
}

fn stream(options: CreateOptions) -> Option<StreamState> {
    let created = rules::decide(None, Command::create(options), &context());
    applied(None, &created.expect("the options are possible"))
}

fn append(payload: &[u8], options: AppendOptions) -> Command {
    let batch = RecordBlock::from_payloads([payload]);
    Command::Append { batch, options }
}

/// A producer's append.
fn stamped(epoch: u64, seq: u64) -> AppendOptions {
    AppendOptions {
        producer: Some(ProducerStamp {
            id: "writer".into(),
            epoch,
            seq,
        }),
        ..AppendOptions::default()
    }
}

fn decides(criterion: &mut Criterion) {
    let record = [0x5A; 256];
    let json = CreateOptions {
        content_type: "application/json".into(),
        ..CreateOptions::default()
    };
    let array = format!("[{}]", [r#"{"id":12345,"name":"an element"}"#; 8].join(","));
    let plain = || stream(CreateOptions::default());
    let cases = [
        ("plain", plain(), append(&record, AppendOptions::default())),
        ("producer", plain(), append(&record, stamped(0, 0))),
        (
            "json, 8 elements",
            stream(json),
            append(array.as_bytes(), AppendOptions::default()),
        ),
        (
            "refused: a gap in a producer's seq",
            plain(),
            append(&record, stamped(0, 5)),
        ),
    ];
    let mut group = criterion.benchmark_group("decide and apply");
    let context = context();
    for (name, state, command) in cases {
        // The state is cloned beforehand: appends change it.
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (state.clone(), command.clone()),
                |(state, command)| {
                    let decision = rules::decide(state.as_ref(), black_box(command), &context);
                    decision.map(|decision| applied(state, &decision))
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, decides);
criterion_main!(benches);
