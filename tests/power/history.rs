//! One history: a few lives of a broker on one disk, and every cut of each.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::store::check::Event as Found;
use streamkeeper::stream::QueueLimits;
use streamkeeper::types::{Clock, Timestamp};

use crate::disk::{Contents, Disk, Event};
use crate::found::judge;
use crate::image::Film;
use crate::load::Load;
use crate::model::{Allowed, World};
use crate::random::Random;

/// Disks in a row: each begins with what a power cut left of the one before.
const DISKS: u64 = 3;

/// Rounds of commands in one life.
const ROUNDS: u64 = 14;

pub const BEGIN: Timestamp = Timestamp(1_700_000_000_000_000);

/// Small, for the sake of what traces take in memory.
const RESERVE_BYTES: u64 = 256 << 10;

/// Cuts of a hundred after which `check` goes through all that is left.
const CHECKED: u64 = 10;

/// A round of the largest records fits, though nobody takes from the queues meanwhile.
const QUEUES: QueueLimits = QueueLimits {
    total_bytes_max: 32 << 20,
    stream_bytes_max: 8 << 20,
};

/// How the broker of a history is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    fold_bytes: usize,
    hot_tail_bytes_max: usize,
    fold_interval: Duration,
    commit_bytes_max: usize,
    segment_bytes: u64,
    store_cache_bytes: usize,
    pub large: u64,
}

impl Setup {
    pub fn of(random: &mut Random) -> Self {
        let pick = |random: &mut Random, of: [usize; 3]| match random.below(3) {
            0 => of[0],
            1 => of[1],
            _ => of[2],
        };
        let large = pick(random, [200, 9_000, 120_000]);
        Self {
            fold_bytes: pick(random, [1, 2_000, 60_000]),
            hot_tail_bytes_max: pick(random, [100_000, 400_000, 4_000_000]),
            fold_interval: Duration::from_millis(pick(random, [1, 20, 3_600_000]) as u64),
            commit_bytes_max: pick(random, [100, 4_000, 1_000_000]),
            segment_bytes: pick(random, [1, 20_000, 200_000]) as u64,
            store_cache_bytes: 1 << 20,
            large: large as u64,
        }
    }

    /// For a broker that is only read from: it folds nothing, and keeps no page of the store in memory.
    pub fn resting(self) -> Self {
        Self {
            fold_bytes: usize::MAX,
            hot_tail_bytes_max: 64 << 20,
            fold_interval: Duration::from_secs(3_600),
            ..self.uncached()
        }
    }

    /// Keeps no page of the store in memory.
    pub fn uncached(self) -> Self {
        Self {
            store_cache_bytes: 0,
            ..self
        }
    }

    /// Folds at once, and each fold into a segment of its own.
    pub fn a_segment_for_each_fold(self) -> Self {
        Self {
            fold_bytes: 1,
            fold_interval: Duration::from_millis(1),
            segment_bytes: 1,
            ..self
        }
    }

    /// Takes appends for as long as the folder is stuck.
    pub fn patient(self) -> Self {
        Self {
            hot_tail_bytes_max: 64 << 20,
            ..self
        }
    }

    pub async fn open(&self, disk: &Disk, clock: Clock) -> Result<Broker, String> {
        let mut options = BrokerOptions::in_directory("simulated");
        options.files = Arc::new(disk.clone());
        options.clock = clock;
        options.fold_bytes = self.fold_bytes;
        options.hot_tail_bytes_max = self.hot_tail_bytes_max;
        options.fold_interval = self.fold_interval;
        options.commit_bytes_max = self.commit_bytes_max;
        options.store_cache_bytes = self.store_cache_bytes;
        options.segment_bytes = self.segment_bytes;
        options.reserve_bytes = RESERVE_BYTES;
        options.queues = QUEUES;
        let opened = Broker::open(options).await;
        opened.map_err(|error| format!("it does not open: {error}"))
    }
}

/// Runs the history of `seed`; counts the cuts.
pub async fn run(seed: u64, cases: &AtomicU64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let setup = Setup::of(&mut random);
    let mut contents = Contents::new();
    let mut allowed = Allowed::only(BEGIN, World::new());
    for number in 0..DISKS {
        let at = |reason: String| format!("disk {number} of {setup:?}: {reason}");
        let random = random.fork(number);
        let (load, trace) = lives(setup, &contents, &allowed, random.fork(1))
            .await
            .map_err(at)?;
        let mut film = Film::new(&contents, &trace);
        let mut random = random.fork(2);
        let last = random.below(trace.len() as u64 + 1);
        let mut left = None;
        for cut in 0..=trace.len() {
            let sync = matches!(trace.get(cut), Some(Event::Synced(_) | Event::NamesSynced));
            let chosen = cut as u64 == last;
            if !sync && !chosen && !random.chance(2) {
                continue;
            }
            film.forward(cut);
            let image = film.image(&mut random);
            let allowed = load.timeline.allowed(cut);
            let seed = random.fork(cut as u64);
            let checked = check(setup, &image, &allowed, seed, cases).await;
            checked
                .map_err(|reason| at(format!("cut {cut} of {} events: {reason}", trace.len())))?;
            if chosen {
                left = Some((image, allowed));
            }
        }
        (contents, allowed) = left.expect("one of the cuts was chosen");
    }
    Ok(())
}

/// Lives of a broker on one disk, each ended by a kill: what was written stays, synced or not.
async fn lives(
    setup: Setup,
    contents: &Contents,
    allowed: &Allowed,
    random: Random,
) -> Result<(Load, Vec<Event>), String> {
    let (clock, hand) = Clock::manual(allowed.now);
    let mut disk = Disk::new(contents.clone());
    let mut load = Load::new(random, allowed.now, hand, setup.large);
    let mut allowed = allowed.clone();
    for life in 0..=load.random.below(3) {
        let at = |reason: String| format!("life {life}: {reason}");
        let broker = setup.open(&disk, clock.clone()).await.map_err(at)?;
        let world = judge(&broker, &allowed).await.map_err(at)?;
        if life == 0 {
            // Before it was read too: what is durable does not change by being read.
            let beginning = Disk::new(Contents::new());
            load.settle(&beginning, world.clone());
        }
        load.settle(&disk, world);
        load.retry(&broker).await.map_err(at)?;
        for _ in 0..load.random.between(1, ROUNDS) {
            load.round(&broker, &disk).await.map_err(at)?;
        }
        if load.random.chance(25) {
            broker.close_all().await;
            disk = disk.kill();
        } else {
            // A small round takes a write and a sync.
            let events = load.random.below(load.random.clone().between(3, 12));
            disk.kill_after(usize::try_from(events).expect("a small number"));
            let round = load.begin(&broker, &disk);
            load.end(round, &broker, &disk, true).await.map_err(at)?;
            let killed = disk.kill();
            broker.close_all().await;
            disk = killed;
        }
        allowed = load.timeline.allowed(disk.now());
    }
    let trace = disk.trace();
    Ok((load, trace))
}

/// What `check` tells of a broker.
fn find_nothing(broker: &Broker) -> Result<(), String> {
    let mut found = Vec::new();
    let report = broker.check(&mut |event| {
        if let Found::Problem(problem) = event {
            found.push(problem);
        }
        ControlFlow::Continue(())
    });
    let report = report.map_err(|error| format!("it cannot be checked: {error}"))?;
    if found.is_empty() && report.problems == 0 {
        return Ok(());
    }
    Err(format!("it is checked: {found:?}"))
}

/// Opens what a cut left, compares it, and goes on.
pub async fn check(
    setup: Setup,
    image: &Contents,
    allowed: &Allowed,
    random: Random,
    cases: &AtomicU64,
) -> Result<(), String> {
    cases.fetch_add(1, Ordering::Relaxed);
    let (clock, hand) = Clock::manual(allowed.now);
    let disk = Disk::new(image.clone());
    let broker = setup.open(&disk, clock.clone()).await?;
    let world = judge(&broker, allowed).await?;
    if random.fork(CHECKED).chance(CHECKED) {
        find_nothing(&broker)?;
    }
    let mut load = Load::new(random, allowed.now, hand, setup.large);
    load.settle(&disk, world);
    load.retry(&broker).await?;
    for _ in 0..load.random.below(3) {
        let going_on = load.round(&broker, &disk).await;
        going_on.map_err(|reason| format!("going on: {reason}"))?;
    }
    let clean = load.random.chance(20);
    let mut next = disk.clone();
    if clean {
        broker.close_all().await;
        next = disk.kill();
    } else {
        next = next.kill();
        broker.close_all().await;
    }
    if clean || load.random.chance(10) {
        let again = setup.open(&next, clock).await?;
        let allowed = load.timeline.allowed(next.now());
        let judged = judge(&again, &allowed).await;
        judged.map_err(|reason| format!("opened again: {reason}"))?;
        next.kill();
        again.close_all().await;
    }
    Ok(())
}
