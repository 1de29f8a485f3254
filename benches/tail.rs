//! The hot tail: appends published to it, and cursors that read from it.
//!
//! `cargo bench --bench tail`. Streams in memory: no disk is in the way of what is measured. An append goes through the
//! queue, the committer's thread and back; a read is a cursor's poll, which shares the records and copies none.

mod fixture;

use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fixture::{Fixture, Quiet};
use streamkeeper::fanout::Step;

fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append to a stream in memory");
    for records in [1, 100] {
        let fixture = Fixture::new();
        let batch = fixture::batch(records);
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(BenchmarkId::from_parameter(records), |bencher| {
            bencher.iter(|| fixture.append(&batch));
        });
    }
    group.finish();
}

/// One poll takes up to 64 KiB of what lies before the cursor, in runs of different size.
fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("poll up to 64 KiB of the tail");
    for records in [1, 10, 100] {
        let fixture = Fixture::new();
        let batch = fixture::batch(records);
        for _ in 0..1000 / records {
            fixture.append(&batch);
        }
        group.bench_function(BenchmarkId::new("records a run", records), |bencher| {
            bencher.iter_batched(
                || fixture.cursor_at_start(Arc::new(Quiet)),
                |mut cursor| match cursor.poll(64 << 10) {
                    Step::Runs(runs) => runs,
                    other => unreachable!("records are there: {other:?}"),
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, appends, reads);
criterion_main!(benches);
