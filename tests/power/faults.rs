//! The disk fails by plan under a load: nobody is told that something is stored that is not, or the other way round; a full disk
//! refuses, is read from, and is written to again when there is room.
//!
//! One command at a time, so that it is known which one met the failure. What it was answered decides what must be there: at once, and after
//! every power cut from then on.

use std::io::ErrorKind;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use streamkeeper::broker::Broker;
use streamkeeper::store::Readiness;
use streamkeeper::types::{Clock, Fault};

use crate::disk::{Act, Contents, Disk, Plan};
use crate::found::judge;
use crate::history::{BEGIN, Setup, check};
use crate::image::Film;
use crate::load::{Load, Met};
use crate::model::World;
use crate::random::Random;

/// Longer than a broker takes to find that there is room again.
const PATIENCE: Duration = Duration::from_secs(20);

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// A broker on a disk of its own, under load.
struct Run {
    setup: Setup,
    disk: Disk,
    clock: Clock,
    load: Load,
    broker: Broker,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let setup = Setup::of(&mut random);
        let (clock, hand) = Clock::manual(BEGIN);
        let disk = Disk::new(Contents::new());
        let mut load = Load::new(random, BEGIN, hand, setup.large);
        load.at_once = 1;
        let broker = setup.open(&disk, clock.clone()).await;
        let broker = broker.expect("it opens");
        load.settle(&disk, World::new());
        Self {
            setup,
            disk,
            clock,
            load,
            broker,
        }
    }

    /// One command: what it met.
    async fn one(&mut self) -> Result<(), Fault> {
        let met = self.load.one(&self.broker, &self.disk).await;
        match met.expect("the answer is right") {
            Met::Answer => Ok(()),
            Met::Fault(fault) => Err(fault),
        }
    }

    async fn load(&mut self, commands: usize) {
        for _ in 0..commands {
            self.one().await.expect("the disk works");
        }
    }

    /// The first fault that one of `commands` commands meets.
    async fn until_fault(&mut self, commands: usize) -> Option<Fault> {
        for _ in 0..commands {
            if let Err(fault) = self.one().await {
                return Some(fault);
            }
        }
        None
    }

    async fn until(&self, what: &str, holds: impl Fn(&Readiness) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.broker.readiness()) {
            let is = self.broker.readiness();
            assert!(Instant::now() < deadline, "never {what}: {is:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Reads everything: it is what was confirmed.
    async fn compare(&self) {
        let allowed = self.load.timeline.allowed(usize::MAX);
        let judged = judge(&self.broker, &allowed).await;
        judged.expect("it reads as confirmed");
    }

    /// Loses power at random points from `begin` on.
    async fn cut(&self, begin: usize, seed: u64) {
        let trace = self.disk.trace();
        let contents = Contents::new();
        let mut film = Film::new(&contents, &trace);
        let mut random = Random::new(seed);
        let mut cuts: Vec<usize> = (0..6)
            .map(|_| {
                begin
                    + usize::try_from(random.below((trace.len() - begin) as u64 + 1))
                        .expect("small")
            })
            .collect();
        cuts.sort_unstable();
        for cut in cuts {
            film.forward(cut);
            let image = film.image(&mut random);
            let allowed = self.load.timeline.allowed(cut);
            let random = random.fork(cut as u64);
            let checked = check(self.setup, &image, &allowed, random, &AtomicU64::new(0)).await;
            assert_eq!(checked, Ok(()), "seed {seed}, cut {cut}");
        }
    }

    async fn close(self) {
        self.disk.kill();
        self.broker.close_all().await;
    }
}

#[test]
fn a_write_without_room_is_refused_once_and_tried_again() {
    let mut met = 0;
    for seed in 0..120_usize {
        let act = [Act::Write, Act::Write, Act::Resize][seed % 3];
        let files = ["journal", "store", "chunks", ""][seed % 4];
        runtime().block_on(async {
            let mut run = Run::new(seed as u64).await;
            run.load(20).await;
            let begin = run.disk.now();
            run.disk.plan(Some(Plan {
                act,
                files,
                after: seed % 7,
                error: ErrorKind::StorageFull,
                lasts: false,
            }));
            for _ in 0..30 {
                match run.one().await {
                    Ok(()) => {}
                    Err(Fault::StoreFull { .. }) => {
                        met += 1;
                        run.compare().await;
                        run.until("ready", |now| *now == Readiness::Ready).await;
                    }
                    Err(other) => panic!("seed {seed}: {other}"),
                }
            }
            run.compare().await;
            assert_eq!(run.broker.readiness(), Readiness::Ready, "seed {seed}");
            run.cut(begin, seed as u64).await;
            run.close().await;
        });
    }
    assert!(met > 10, "only {met} writes were refused");
}

#[test]
fn a_full_disk_refuses_is_read_and_resumes_when_there_is_room() {
    for seed in 0..16_usize {
        runtime().block_on(async {
            let mut run = Run::new(seed as u64).await;
            run.load(40).await;
            let files = ["", "store", "chunks", "journal"][seed % 4];
            run.disk.plan(Some(Plan {
                act: Act::Write,
                files,
                after: 0,
                error: ErrorKind::StorageFull,
                lasts: true,
            }));
            let refused = match run.until_fault(400).await {
                None => false,
                Some(Fault::StoreFull { .. }) => true,
                Some(other) => panic!("seed {seed}: {other}"),
            };
            assert!(
                refused || !matches!(files, "" | "journal"),
                "seed {seed}: never refused"
            );
            if refused {
                let full = |now: &Readiness| matches!(now, Readiness::Full { .. });
                run.until("full", full).await;
            }
            run.compare().await;
            run.disk.plan(None);
            run.until("ready", |now| *now == Readiness::Ready).await;
            run.load(20).await;
            run.compare().await;
            run.broker.close_all().await;
            let again = run.setup.open(&run.disk.kill(), run.clock.clone()).await;
            run.broker = again.expect("it opens");
            run.compare().await;
            run.close().await;
        });
    }
}

#[test]
fn a_failed_sync_or_write_refuses_writes_for_good_and_confirms_nothing() {
    let mut met = 0;
    for seed in 0..60_usize {
        let act = [Act::Sync, Act::Write][seed % 2];
        let files = ["journal", "store", "chunks"][seed % 3];
        runtime().block_on(async {
            let mut run = Run::new(seed as u64).await;
            run.load(20).await;
            let begin = run.disk.now();
            run.disk.plan(Some(Plan {
                act,
                files,
                after: seed % 5,
                error: ErrorKind::Other,
                lasts: false,
            }));
            match run.until_fault(40).await {
                None => {}
                Some(Fault::StoreFaulted { .. }) => {
                    met += 1;
                    let faulted = |now: &Readiness| matches!(now, Readiness::Faulted { .. });
                    run.until("faulted", faulted).await;
                }
                Some(other) => panic!("seed {seed}: {other}"),
            }
            run.compare().await;
            run.cut(begin, seed as u64).await;
            run.close().await;
        });
    }
    assert!(met > 10, "only {met} failures were met");
}

#[test]
fn a_failed_read_fails_one_request_and_no_other() {
    for seed in 0..30_usize {
        let files = ["store", "chunks"][seed % 2];
        let error = [ErrorKind::Other, ErrorKind::UnexpectedEof][seed / 2 % 2];
        runtime().block_on(async {
            let mut run = Run::new(seed as u64).await;
            run.load(60).await;
            run.broker.close_all().await;
            let again = run.setup.open(&run.disk.kill(), run.clock.clone()).await;
            run.broker = again.expect("it opens");
            run.disk.plan(Some(Plan {
                act: Act::Read,
                files,
                after: 0,
                error,
                lasts: false,
            }));
            let allowed = run.load.timeline.allowed(usize::MAX);
            if let Err(reason) = judge(&run.broker, &allowed).await {
                assert!(reason.contains("cannot be read"), "seed {seed}: {reason}");
            }
            run.disk.plan(None);
            run.compare().await;
            run.close().await;
        });
    }
}

#[test]
fn a_damaged_segment_is_told_and_never_delivered_and_everything_else_goes_on() {
    let mut told = 0;
    for seed in 0..60_usize {
        runtime().block_on(async {
            let mut run = Run::new(seed as u64).await;
            run.load(60).await;
            run.broker.close_all().await;
            let mut contents = run.disk.contents();
            let is_segment = |name: &&std::sync::Arc<str>| name.starts_with("chunks");
            // The newest: a fold goes on writing where it ends.
            let Some(name) = contents.keys().rfind(is_segment).cloned() else {
                return;
            };
            let segment = contents.get_mut(&name).expect("it is there");
            let at = Random::new(seed as u64).below(segment.length());
            if seed % 3 == 2 {
                segment.set_length(at);
            } else {
                let mut byte = [0];
                segment.read(at, &mut byte).expect("within the file");
                segment.write(at, &[byte[0] ^ 0x10]);
            }
            run.disk = Disk::new(contents);
            let broker = run.setup.open(&run.disk, run.clock.clone()).await;
            run.broker = broker.expect("it opens");
            let allowed = run.load.timeline.allowed(usize::MAX);
            if let Err(reason) = judge(&run.broker, &allowed).await {
                assert!(reason.contains("corrupt"), "seed {seed}: {reason}");
                told += 1;
            }
            // Small chunks that end a stream are read again, to be written anew with more in them.
            for _ in 0..60 {
                match run.load.one(&run.broker, &run.disk).await {
                    Ok(Met::Answer | Met::Fault(Fault::Corrupt { .. })) => {}
                    Ok(Met::Fault(other)) => panic!("seed {seed}: {other}"),
                    Err(wrong) => assert!(wrong.contains("corrupt"), "seed {seed}: {wrong}"),
                }
            }
            assert_eq!(run.broker.readiness(), Readiness::Ready, "seed {seed}");
            run.close().await;
        });
    }
    assert!(told > 5, "only {told} were told");
}
