//! The three frames of the hot paths, both ways: APPEND and CONFIRM for each record, DELIVER for each subscriber.
//!
//! `cargo bench --bench codec`. Throughput is in records: an APPEND holds 1 or 100 of 256 bytes, a CONFIRM answers 256 appends, a
//! DELIVER carries a run of 100.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use streamkeeper_protocol::command::Append;
use streamkeeper_protocol::event::{ConfirmEntry, Deliver, confirm, deliver};
use streamkeeper_protocol::limits::Limits;
use streamkeeper_protocol::{Command, Event, Frame, RecordBlock, Run, frame};

const RECORD: [u8; 256] = [0x5A; 256];

fn block(records: usize) -> RecordBlock {
    RecordBlock::from_payloads(std::iter::repeat_n(RECORD, records))
}

fn append(records: usize) -> Append {
    let block = block(records);
    Append {
        stream: "orders".into(),
        seq: None,
        producer: None,
        expected_tail: None,
        close_after: false,
        no_confirm: false,
        count: block.count(),
        records: block.into_bytes(),
    }
}

/// The one frame that `bytes` hold.
fn split(bytes: &Bytes) -> Frame {
    let mut bytes = BytesMut::from(&bytes[..]);
    let split = frame::split(&mut bytes, u32::MAX).expect("a sound frame");
    split.expect("a whole frame")
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::new();
    encode(&mut bytes);
    bytes.freeze()
}

fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("APPEND");
    for records in [1, 100] {
        group.throughput(Throughput::Elements(records as u64));
        let command = Command::Append(append(records));
        let mut out = BytesMut::with_capacity(64 << 10);
        group.bench_function(BenchmarkId::new("encode", records), |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&command).encode(1, &mut out);
            });
        });
        let frame = split(&encoded(|out| command.encode(1, out)));
        // Checksums are part of it: the session takes no record without.
        group.bench_function(BenchmarkId::new("decode and verify", records), |bencher| {
            bencher.iter(|| {
                let Ok(Command::Append(append)) = Command::decode(black_box(&frame)) else {
                    unreachable!("it is an APPEND")
                };
                RecordBlock::parse(append.records, append.count, &Limits::default())
            });
        });
    }
    group.finish();
}

fn confirms(criterion: &mut Criterion) {
    let entry = |at: u32| ConfirmEntry {
        correlation: at + 1,
        duplicate: false,
        closed: false,
        tail: u64::from(at) + 1,
    };
    let entries: Vec<_> = (0..256).map(entry).collect();
    let mut group = criterion.benchmark_group("CONFIRM");
    group.throughput(Throughput::Elements(entries.len() as u64));
    let mut out = BytesMut::with_capacity(64 << 10);
    group.bench_function("encode/256", |bencher| {
        bencher.iter(|| {
            out.clear();
            confirm::encode(black_box(&entries), &mut out);
        });
    });
    let frame = split(&encoded(|out| confirm::encode(&entries, out)));
    group.bench_function("decode/256", |bencher| {
        bencher.iter(|| Event::decode(black_box(&frame)).expect("a CONFIRM"));
    });
    group.finish();
}

fn deliveries(criterion: &mut Criterion) {
    let run = Run::new(&block(100), 0, 0, 1);
    let mut group = criterion.benchmark_group("DELIVER");
    group.throughput(Throughput::Elements(100));
    let mut out = BytesMut::with_capacity(64 << 10);
    // What the broker does for each subscriber: the records are shared, so the header is all.
    group.bench_function("encode header", |bencher| {
        bencher.iter(|| {
            out.clear();
            deliver::encode_header(black_box(1), run.encoded_bytes(), &mut out);
        });
    });
    let runs = encoded(|out| run.encode(out));
    let event = Event::Deliver(Deliver {
        subscription: 1,
        runs,
    });
    let frame = split(&encoded(|out| event.encode(0, out)));
    group.bench_function("decode and verify/100", |bencher| {
        bencher.iter(|| {
            let Ok(Event::Deliver(deliver)) = Event::decode(black_box(&frame)) else {
                unreachable!("it is a DELIVER")
            };
            let runs = deliver.runs().map(|run| run.expect("a sound run"));
            runs.map(|run| run.records_verified().count())
                .sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, appends, confirms, deliveries);
criterion_main!(benches);
