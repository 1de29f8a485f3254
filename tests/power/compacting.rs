//! `compact` is cut off anywhere, or meets a disk that fails: whatever is left opens, and is exactly what it was.
//!
//! A broker leaves a disk, closed or killed, so that not even all of that need be durable. Then the tool runs on it alone: folds, moved and
//! removed segments, and redb's compaction of its own file. Power is lost at every sync of it and at random points between; each
//! operation of it fails in turn. What is left is compacted again now and then, compared with the mirrors, and gone on with.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use streamkeeper::store::Files;
use streamkeeper::store::shrink::shrink;

use crate::disk::{Contents, Disk, Event, Plan};
use crate::history::check;
use crate::image::{self, Film};
use crate::opening::{errors, is_left_out, survived};
use crate::random::{Random, seeds};
use crate::run::{Left, Run, runtime};

/// Disks that are compacted.
const DISKS: u64 = 6;

/// Commands to a broker that folds, and then to one that does not.
const COMMANDS: usize = 120;

/// Of a hundred points that are no sync, so many are cut at.
const BETWEEN: u64 = 3;

/// Of a hundred operations so many fail, each in a run of its own.
const FAILING: u64 = 12;

/// What compactions did, so that it is known that there was something to cut.
#[derive(Debug, Default)]
struct Counted {
    cuts: AtomicU64,
    failures: usize,
    refused: usize,
    removed: usize,
    written: usize,
    store_cut: usize,
}

#[test]
fn a_compaction_that_is_cut_off_or_fails_anywhere_leaves_what_was_there() {
    let begun = Instant::now();
    let mut counted = Counted::default();
    let all = seeds(&(1..=DISKS).collect::<Vec<_>>());
    for seed in &all {
        println!("STREAMKEEPER_SEED={seed}");
        let ran = runtime().block_on(every(*seed, &mut counted));
        ran.unwrap_or_else(|reason| panic!("STREAMKEEPER_SEED={seed}: {reason}"));
    }
    println!("{counted:?} in {:?}", begun.elapsed());
    let did_all = counted.removed > 0 && counted.written > 0 && counted.store_cut > 0;
    assert!(all.len() == 1 || did_all, "{counted:?}");
    assert!(
        all.len() == 1 || counted.refused > 20 * all.len(),
        "{counted:?}"
    );
}

/// One disk, all cuts and some failures.
pub async fn one(seed: u64) -> Result<(), String> {
    every(seed, &mut Counted::default()).await
}

async fn every(seed: u64, counted: &mut Counted) -> Result<(), String> {
    let mut run = Run::new(seed).await;
    run.load(COMMANDS).await;
    // One that folds nothing any more: trims and deletions are left to the tool.
    run.broker.close_all().await;
    run.disk = run.disk.kill();
    let again = run.setup.resting().open(&run.disk, run.clock.clone()).await;
    run.broker = again?;
    run.load(COMMANDS).await;
    let left = run.leave(seed.is_multiple_of(2)).await;
    let mut random = Random::new(seed).fork(1);
    cuts(&left, &mut random, counted).await?;
    failures(&left, &mut random, counted).await
}

fn compact(disk: &Disk) -> Result<(), String> {
    let files: Arc<dyn Files> = Arc::new(disk.clone());
    shrink(&files)
        .map(drop)
        .map_err(|error| format!("it is not compacted: {error}"))
}

/// Loses power at each sync, and at some points between.
async fn cuts(left: &Left, random: &mut Random, counted: &mut Counted) -> Result<(), String> {
    let disk = left.disk();
    let begin = disk.now();
    compact(&disk)?;
    let trace = disk.trace();
    for event in &trace[begin..] {
        let is = |name: &Arc<str>, file: &str| usize::from(name.starts_with(file));
        match event {
            Event::Removed(name) => counted.removed += is(name, "chunks"),
            Event::Written(name, ..) => counted.written += is(name, "chunks"),
            Event::Resized(name, _) => counted.store_cut += is(name, "store"),
            _ => {}
        }
    }
    let contents = Contents::new();
    let mut film = Film::new(&contents, &trace);
    for cut in begin..=trace.len() {
        let sync = matches!(trace.get(cut), Some(Event::Synced(_) | Event::NamesSynced));
        if !sync && cut != trace.len() && !random.chance(BETWEEN) {
            continue;
        }
        film.forward(cut);
        let (image, random) = (film.image(random), random.fork(cut as u64));
        let same = same(left, image, random, &counted.cuts).await;
        same.map_err(|reason| format!("cut {cut} of {begin} to {}: {reason}", trace.len()))?;
    }
    Ok(())
}

/// Lets operations fail, each in a run of its own; then the process ends, or power is lost.
async fn failures(left: &Left, random: &mut Random, counted: &mut Counted) -> Result<(), String> {
    let disk = left.disk();
    disk.note_tries();
    compact(&disk)?;
    for (number, tried) in disk.tried().into_iter().enumerate() {
        if is_left_out(&tried, random) || !random.chance(FAILING) {
            continue;
        }
        for error in errors(tried.act) {
            let (disk, told) = fail(left, number, *error);
            counted.failures += 1;
            counted.refused += usize::from(told.is_err());
            let at = |reason| format!("{error:?} at operation {number}, {tried:?}: {reason}");
            told.or_else(|reason| survived(&reason)).map_err(at)?;
            let image = image::left(&Contents::new(), &disk, random);
            let same = same(left, image, random.fork(number as u64), &AtomicU64::new(0)).await;
            same.map_err(at)?;
        }
    }
    Ok(())
}

fn fail(left: &Left, number: usize, error: ErrorKind) -> (Disk, Result<(), String>) {
    let disk = left.disk();
    disk.plan(Some(Plan::at(number, error)));
    let told = compact(&disk);
    disk.plan(None);
    (disk, told)
}

/// Opens what is left, compacted once more or not: it is what was there, and goes on.
async fn same(
    left: &Left,
    mut image: Contents,
    mut random: Random,
    cases: &AtomicU64,
) -> Result<(), String> {
    if random.chance(30) {
        let disk = Disk::new(image);
        compact(&disk).map_err(|reason| format!("again: {reason}"))?;
        image = disk.contents();
    }
    check(left.setup, &image, &left.allowed, random, cases).await
}
