//! The disk fails by plan under a load: nobody is told that something is stored that is not, or the other way round; a full disk
//! refuses, is read from, and is written to again when there is room.
//!
//! One command at a time, so that it is known which one met the failure. What it was answered decides what must be there: at once, and after
//! every power cut from then on.

use std::io::ErrorKind;

use streamkeeper::store::Readiness;
use streamkeeper::types::Fault;

use crate::disk::{Act, Disk, Plan, Tried};
use crate::found::judge;
use crate::history::Setup;
use crate::load::Met;
use crate::random::Random;
use crate::run::{Run, runtime};

/// Of a store that comes from the disk each time, unless it is `cached`.
fn cached(cached: bool) -> impl Fn(Setup) -> Setup {
    move |setup| if cached { setup } else { setup.uncached() }
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
                act: Some(act),
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
            let mut run = Run::with(seed as u64, cached(seed < 8)).await;
            run.load(40).await;
            let files = ["", "store", "chunks", "journal"][seed % 4];
            run.disk.plan(Some(Plan {
                act: Some(Act::Write),
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
            let mut run = Run::with(seed as u64, cached(seed % 4 < 2)).await;
            run.load(20).await;
            let begin = run.disk.now();
            run.disk.plan(Some(Plan {
                act: Some(act),
                files,
                after: seed % 5,
                error: ErrorKind::Other,
                lasts: seed % 8 < 4,
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
fn a_disk_that_takes_no_writes_any_more_is_read_from() {
    let mut reopened = 0;
    for seed in 0..16 {
        runtime().block_on(async {
            let mut run = Run::new(seed).await;
            run.load(60).await;
            run.broker.close_all().await;
            let setup = run.setup.resting();
            let again = setup.open(&run.disk.kill(), run.clock.clone()).await;
            run.broker = again.expect("it opens");
            run.disk.only_read();
            run.disk.note_tries();
            // What makes the handle useless that was opened while the disk took writes.
            run.disk.plan(Some(Plan {
                act: Some(Act::Read),
                files: "store",
                after: 0,
                error: ErrorKind::Other,
                lasts: false,
            }));
            let allowed = run.load.timeline.allowed(usize::MAX);
            drop(judge(&run.broker, &allowed).await);
            run.disk.plan(None);
            run.compare().await;
            let is_opened = |tried: &Tried| tried.act == Act::Open && &*tried.name == "store.redb";
            reopened += usize::from(run.disk.tried().iter().any(is_opened));
            run.close().await;
        });
    }
    assert!(reopened > 8, "store.redb was opened anew {reopened} times");
}

#[test]
fn a_sync_that_finds_no_room_is_no_lack_of_room() {
    let mut met = 0;
    for seed in 0..60_usize {
        let files = ["store", "chunks", "journal"][seed % 3];
        runtime().block_on(async {
            let mut run = Run::new(seed as u64).await;
            run.load(20).await;
            let begin = run.disk.now();
            run.disk.plan(Some(Plan {
                act: Some(Act::Sync),
                files,
                after: seed / 3 % 5,
                error: ErrorKind::StorageFull,
                lasts: false,
            }));
            // What is in the system's memory must not be gone on with: it need not be on the disk, and is lost with the power.
            match run.until_fault(120).await {
                None if run.disk.is_planned() => {}
                None => {
                    let faulted = |now: &Readiness| matches!(now, Readiness::Faulted { .. });
                    run.until("faulted", faulted).await;
                    met += 1;
                }
                Some(Fault::StoreFaulted { .. }) => met += 1,
                Some(other) => panic!("seed {seed}: {other}"),
            }
            run.compare().await;
            for round in 0..4 {
                run.cut(begin, (seed * 4 + round) as u64).await;
            }
            run.close().await;
        });
    }
    assert!(met > 20, "only {met} failures were met");
}

#[test]
fn a_failed_read_fails_one_request_and_no_other() {
    let (mut met, mut told) = (0, 0);
    for seed in 0..30_usize {
        let files = ["store", "chunks"][seed % 2];
        let error = [ErrorKind::Other, ErrorKind::UnexpectedEof][seed / 2 % 2];
        runtime().block_on(async {
            let mut run = Run::new(seed as u64).await;
            run.load(60).await;
            run.broker.close_all().await;
            let setup = run.setup.uncached();
            let again = setup.open(&run.disk.kill(), run.clock.clone()).await;
            run.broker = again.expect("it opens");
            // The broker's own first looks at the store come before.
            run.until_folded().await;
            run.disk.plan(Some(Plan {
                act: Some(Act::Read),
                files,
                after: 0,
                error,
                lasts: false,
            }));
            let allowed = run.load.timeline.allowed(usize::MAX);
            let judged = judge(&run.broker, &allowed).await;
            let failed = !run.disk.is_planned();
            met += usize::from(failed);
            let by_folder = run.disk.met_in("store/folder.rs");
            // Looks of the broker's own, which come again. A reader may meet the handle that they leave useless.
            let own = by_folder || run.disk.met_in("store/timers.rs");
            assert!(
                !failed || judged.is_err() || own,
                "seed {seed}: nobody was told"
            );
            if let Err(reason) = judged {
                assert!(failed, "seed {seed}: nothing failed: {reason}");
                assert!(reason.contains("cannot be read"), "seed {seed}: {reason}");
                told += 1;
            }
            run.disk.plan(None);
            run.compare().await;
            // What a fold cannot read ends all writes.
            if !by_folder {
                run.load(10).await;
                run.compare().await;
                assert_eq!(run.broker.readiness(), Readiness::Ready, "seed {seed}");
            }
            run.close().await;
        });
    }
    println!("{met} reads failed, {told} of them were told to a reader");
    assert!(met > 25 && told > 15, "{told} of {met} were told");
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
                segment.flip(at, 4);
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
