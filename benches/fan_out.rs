//! One run to many cursors: what it costs to wake them, and what each takes to get the records and rest again.
//!
//! `cargo bench --bench fan_out`. The stream is in memory; throughput is in deliveries.

mod fixture;

use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fixture::{Fixture, Quiet};
use streamkeeper::fanout::{Cursor, Step, Watcher};

/// Polls each cursor until it is idle.
fn drain(cursors: &mut [Cursor]) -> usize {
    let mut delivered = 0;
    for cursor in cursors {
        while let Step::Runs(runs) = cursor.poll(64 << 10) {
            delivered += runs.len();
        }
    }
    delivered
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out of a run");
    for readers in [1, 100, 1000] {
        let fixture = Fixture::new();
        let batch = fixture::batch(1);
        let watcher: Arc<dyn Watcher> = Arc::new(Quiet);
        let mut cursors: Vec<_> = (0..readers)
            .map(|_| fixture.cursor_at_start(Arc::clone(&watcher)))
            .collect();
        drain(&mut cursors);
        group.throughput(Throughput::Elements(readers));
        group.bench_function(BenchmarkId::new("append and wake", readers), |bencher| {
            bencher.iter(|| {
                fixture.append(&batch);
                // Only a cursor that rests is woken by the next append; this poll is the price of resting.
                drain(&mut cursors)
            });
        });
        group.bench_function(BenchmarkId::new("take and rest", readers), |bencher| {
            bencher.iter_batched(
                || fixture.append(&batch),
                |()| assert_eq!(drain(&mut cursors), cursors.len()),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
