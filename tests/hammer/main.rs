//! Ordered, no gap, no duplicate, under concurrent appends, trims, closes and deletes.
//!
//! A real broker on real files, with bounds so small that records leave memory all the time, is written to, read,
//! followed and inspected by many tasks at once. An oracle knows what every offset of every incarnation must hold, since
//! commands to one stream are applied in the order of their submission (`model`, `commands`). Everything anybody
//! is told is held against it: answers, records, positions, ends, refusals, notifications. At the end every stream is
//! read whole, twice: before the broker closes, and after it opened again.
//!
//! Random but seeded: `STREAMKEEPER_SEED=n` runs one seed again. The scheduler still mixes the tasks as it likes.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test helper fails as a test does, and says which seed it ran"
)]

mod commands;
mod follower;
mod model;
mod payload;
mod random;
mod reader;
mod run;
mod writer;

use std::sync::atomic::Ordering;
use std::time::Duration;

use streamkeeper::broker::Broker;
use streamkeeper::storage::{ReadLimits, Storage};
use streamkeeper::types::{Error, Refusal, Start, StorageKind};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use commands::{Intent, submit};
use follower::Follower;
use model::{Sighting, Slot};
use random::{Random, seeds};
use run::{Kind, PATIENCE, Run};
use writer::Writer;

/// How long the writers of one seed write.
const WRITING: Duration = Duration::from_secs(2);

/// Seeds that always run.
const SEEDS: [u64; 4] = [1, 2, 3, 4];

#[test]
fn readers_see_every_record_once_and_in_order_whatever_happens_to_the_stream() {
    for seed in seeds(&SEEDS) {
        println!("STREAMKEEPER_SEED={seed}");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(hammer(seed));
    }
}

async fn hammer(seed: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = Random::new(seed);
    let options = run::options(directory.path(), &mut random);
    println!(
        "folds of {} within {:?}, hot tail of {}, commits of {}, {:?}",
        options.fold_bytes,
        options.fold_interval,
        options.hot_tail_bytes_max,
        options.commit_bytes_max,
        options.queues
    );
    let run = Run::open(options.clone()).await;
    let mut writers = JoinSet::new();
    let mut readers = JoinSet::new();
    start_writers(&run, &random, &mut writers);
    start_readers(&run, &random, &mut readers);

    let deadline = Instant::now() + WRITING;
    tokio::select! {
        () = tokio::time::sleep_until(deadline) => {}
        () = end_of(&mut readers) => panic!("a reader ended before the writers"),
        () = end_of(&mut writers) => panic!("a writer ended by itself"),
    }
    run.writing.cancel();
    timeout(PATIENCE, end_of(&mut writers))
        .await
        .expect("the writers end in time");
    end_streams(&run, &mut random).await;
    run.settled.cancel();
    timeout(PATIENCE, end_of(&mut readers))
        .await
        .expect("the readers end in time");
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} appends; {} records followed, {} read; {} loads from the store; {:?}",
        count(&run.counts.appends),
        count(&run.counts.followed),
        count(&run.counts.read),
        count(&run.counts.from_store),
        run.counts.ends.lock(),
    );
    check_all(&run.broker, &run, true).await;
    run.broker.close_all().await;
    let reopened = Broker::open(options).await.expect("the broker opens again");
    check_all(&reopened, &run, false).await;
    reopened.close_all().await;
}

/// Waits for every task; panics as the first one that did.
async fn end_of(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

fn start_writers(run: &Run, random: &Random, tasks: &mut JoinSet<()>) {
    for (kind, slot) in run.slots.iter() {
        let writers = if *kind == Kind::Bursty { 1 } else { 3 };
        for number in 0..writers {
            let writer = Writer {
                run: run.clone(),
                kind: *kind,
                slot: slot.clone(),
                number,
                random: random.fork(u64::from(slot.number) << 16 | u64::from(number)),
            };
            tasks.spawn(writer.run());
        }
    }
}

fn start_readers(run: &Run, random: &Random, tasks: &mut JoinSet<()>) {
    for number in 0..24 {
        let random = random.fork(1 << 32 | number);
        let run = run.clone();
        match number {
            0..14 => tasks.spawn(Follower { run, random }.run()),
            14..20 => tasks.spawn(reader::read(run, random)),
            20..22 => tasks.spawn(reader::watch(run, random)),
            _ => tasks.spawn(reader::inspect(run, random)),
        };
    }
}

/// Closes or deletes every stream, so that whoever follows one must come to an end.
async fn end_streams(run: &Run, random: &mut Random) {
    for (_, slot) in run.slots.iter() {
        if slot.mark().alive {
            let intent = if random.chance(70) {
                Intent::Close
            } else {
                Intent::Delete
            };
            let pending = submit(&run.broker, slot, &intent).await;
            pending.settle().await;
        }
    }
}

/// Reads every stream whole and holds it against the oracle.
async fn check_all(broker: &Broker, run: &Run, with_memory: bool) {
    for (_, slot) in run.slots.iter() {
        let mark = slot.mark();
        let kept = with_memory || slot.storage == StorageKind::Durable;
        if mark.alive && kept {
            check_whole(broker, slot, slot.since(mark)).await;
        } else {
            let answer = broker.get_metadata(&slot.name).await;
            let gone = answer == Err(Error::Refused(Refusal::NotFound));
            assert!(gone, "{}: there after its end: {answer:?}", slot.name);
        }
    }
}

async fn check_whole(broker: &Broker, slot: &Slot, mut seen: Sighting) {
    let name = &slot.name;
    let deadline = Instant::now() + PATIENCE;
    // Retention may still be at work when the last append is answered.
    let first = loop {
        let known = broker
            .get_metadata(name)
            .await
            .expect("the stream is there");
        let earliest = known.earliest.offset.0;
        assert!(known.closed, "{name}: open again");
        let tail = slot.any(seen, |life| life.tail() == known.tail);
        assert!(tail, "{name}: the tail is {}", known.tail);
        if slot.any(seen, |life| life.has_trimmed_enough(earliest)) {
            break earliest;
        }
        assert!(
            Instant::now() < deadline,
            "{name}: {earliest} is still kept"
        );
        sleep(Duration::from_millis(2)).await;
    };
    let mut next = None;
    loop {
        let from = next.map_or(Start::Beginning, Start::At);
        let read = broker
            .read_messages(name, from, ReadLimits::default())
            .await;
        let page = match read {
            Ok(page) => page,
            // Retention by age goes on.
            Err(Error::Refused(Refusal::Trimmed { earliest })) => {
                assert!(slot.any(seen, |life| life.may_have_trimmed_to(earliest.0)));
                next = Some(earliest);
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        for message in &page.messages {
            let at = next.unwrap_or(message.position.offset);
            assert_eq!(message.position.offset, at, "{name}: a gap or a duplicate");
            assert!(at.0 >= first, "{name}: {at} is back");
            slot.check(&mut seen, message.position, &message.payload);
            next = Some(message.next());
        }
        if page.closed {
            let whole = slot.any(seen, |life| life.tail() == page.next);
            assert!(whole, "{name}: ends at {}", page.next);
            return;
        }
    }
}
