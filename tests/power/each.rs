//! Whatever the disk is asked under a load, that one thing fails: every write and every sync in turn, and whatever else there is. The broker
//! confirms nothing that is not there, now and after every loss of power from then on; then it refuses writes for good, or
//! goes on since it can do without.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use streamkeeper::storage::Storage as _;
use streamkeeper::store::Readiness;
use streamkeeper::types::{CreateOptions, Error, Fault};

use crate::disk::{Act, Plan, Tried};
use crate::found::name;
use crate::history::Setup;
use crate::random::seeds;
use crate::run::{Run, runtime};

/// Loads, each of which is run once for every operation of it. Those of odd seeds end with the removal of all segments.
const LOADS: [u64; 2] = [2, 7];

/// Fewer runs would be for want of operations that fail.
const RUNS_LEAST: usize = 400;

/// Runs at a time: most of one is waiting for the broker to look for room, or to find that it faulted.
const AT_ONCE: usize = 4;

/// Commands before anything fails, and after. Files are made longer by the first ones.
const BEFORE: usize = 12;
const COMMANDS: usize = 24;

/// At most so many operations of one kind fail in turn: of chunks and the store there can be hundreds.
const OF_A_KIND: usize = 40;

/// What fails, and how.
const FAILURES: [(Act, ErrorKind); 10] = [
    (Act::Write, ErrorKind::Other),
    (Act::Sync, ErrorKind::Other),
    (Act::Resize, ErrorKind::Other),
    (Act::Create, ErrorKind::Other),
    (Act::Remove, ErrorKind::Other),
    (Act::SyncNames, ErrorKind::Other),
    (Act::Read, ErrorKind::Other),
    (Act::Open, ErrorKind::Other),
    (Act::Write, ErrorKind::QuotaExceeded),
    (Act::Resize, ErrorKind::QuotaExceeded),
];

/// One run to be made.
#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    failure: (Act, ErrorKind),
    files: &'static str,
    after: usize,
}

impl Case {
    fn kind(&self) -> String {
        let (act, error) = self.failure;
        format!("{act:?} {error:?} {}", self.files)
    }
}

/// What became of one run.
struct Ran {
    /// The operation came, and failed.
    met: bool,
    /// It failed while the streams were deleted, or not at all.
    late: bool,
    /// What a client was told.
    fault: Option<Fault>,
}

/// What became of the runs of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    runs: usize,
    met: usize,
    /// Of those that did not come late, a client was told.
    told: usize,
    late: usize,
    faulted: usize,
    full: usize,
}

#[test]
fn each_operation_that_fails_under_load_is_told_and_nothing_confirmed_is_lost() {
    let begun = Instant::now();
    let all = seeds(&LOADS);
    let cases: Vec<Case> = all.iter().flat_map(|seed| cases(*seed)).collect();
    let next = AtomicUsize::new(0);
    let counted = Mutex::new(BTreeMap::<String, Counted>::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    println!("STREAMKEEPER_SEED={} {case:?}", case.seed);
                    let Ran { met, late, fault } = runtime().block_on(run(*case));
                    let mut counted = counted.lock();
                    let kind = counted.entry(case.kind()).or_default();
                    kind.runs += 1;
                    kind.met += usize::from(met);
                    kind.late += usize::from(late);
                    kind.told += usize::from(!late && fault.is_some());
                    kind.faulted += usize::from(matches!(fault, Some(Fault::StoreFaulted { .. })));
                    kind.full += usize::from(matches!(fault, Some(Fault::StoreFull { .. })));
                }
            });
        }
    });
    let counted = counted.into_inner();
    for (kind, counted) in &counted {
        println!("{kind}: {counted:?}");
    }
    println!("{} runs in {:?}", cases.len(), begun.elapsed());
    assert!(all.len() == 1 || cases.len() >= RUNS_LEAST, "too few runs");
    for (act, error) in FAILURES {
        let kind = format!("{act:?} {error:?} ");
        let alike = counted.iter().filter(|(name, _)| name.starts_with(&kind));
        let met: usize = alike.map(|(_, counted)| counted.met).sum();
        assert!(met > 0 || all.len() == 1, "no {kind}failed");
    }
    let reads = counted.get("Read Other chunks");
    let in_the_folder = reads.is_some_and(|reads| reads.faulted > 0);
    assert!(
        in_the_folder || all.len() == 1,
        "no fold met a read that failed"
    );
    // One of the broker's own commits is told to nobody if no command follows it, and a removal is told of no lack of room.
    let journal = |kind: &str| {
        let counted = counted.get(kind).copied().unwrap_or_default();
        let early = counted.runs - counted.late;
        early > 0 && counted.told * 10 >= early * 9
    };
    for kind in [
        "Write Other journal",
        "Sync Other journal",
        "Write QuotaExceeded journal",
    ] {
        assert!(
            journal(kind),
            "{kind}: each is told to the client that it hits"
        );
    }
}

/// Every operation of the load of `seed`, as far as it asks for the same each time.
fn cases(seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for failure in FAILURES {
        let tried = tried(seed, failure.0);
        for files in ["journal", "store", "chunks", ""] {
            // Names are synced without one.
            let counts = |tried: &&Tried| {
                tried.act == failure.0
                    && tried.name.starts_with(files)
                    && tried.name.is_empty() == files.is_empty()
            };
            let count = tried.iter().filter(counts).count();
            cases.extend((0..count.min(OF_A_KIND)).map(|after| Case {
                seed,
                failure,
                files,
                after,
            }));
        }
    }
    cases
}

fn before(act: Act) -> usize {
    if act == Act::Resize { 0 } else { BEFORE }
}

/// The broker for the load of `seed`, with the first commands behind it. Before a removal they are in two segments, however slow the folder
/// is: the last one stays, so there is one to remove.
async fn begun(seed: u64, act: Act) -> Run {
    let setup = |setup: Setup| {
        if removes(seed) {
            setup.a_segment_for_each_fold()
        } else {
            setup
        }
    };
    let mut run = Run::with(seed, setup).await;
    if removes(seed) {
        for _ in 0..2 {
            run.load(before(act) / 2).await;
            run.until_folded().await;
        }
    } else {
        run.load(before(act)).await;
    }
    run
}

fn removes(seed: u64) -> bool {
    seed % 2 == 1
}

/// The load of `seed`, up to the first fault that a command meets, and whether that came before the removal, if there is one.
async fn go_on(run: &mut Run, seed: u64) -> (Option<Fault>, bool) {
    let fault = run.until_fault(COMMANDS).await;
    let late = run.disk.is_planned();
    if fault.is_some() || !removes(seed) {
        return (fault, late);
    }
    (run.empty().await, late)
}

/// What the disk is asked by a load that goes well.
fn tried(seed: u64, act: Act) -> Vec<Tried> {
    runtime().block_on(async {
        let mut run = begun(seed, act).await;
        run.disk.note_tries();
        let (fault, _) = go_on(&mut run, seed).await;
        assert_eq!(fault, None, "the disk works");
        let tried = run.disk.tried();
        run.close().await;
        tried
    })
}

async fn run(case: Case) -> Ran {
    let Case {
        seed,
        failure: (act, error),
        files,
        after,
    } = case;
    let mut run = begun(seed, act).await;
    let begin = run.disk.now();
    run.disk.plan(Some(Plan {
        act: Some(act),
        files,
        after,
        error,
        lasts: false,
    }));
    let (fault, late) = go_on(&mut run, seed).await;
    let met = !run.disk.is_planned();
    assert!(met || fault.is_none(), "{case:?}: {fault:?} for nothing");
    run.disk.plan(None);
    match &fault {
        None if !met => {}
        // Retention does without, and tries again with the next commit. A fork within a record reads that first.
        None | Some(Fault::Read { .. }) if matches!(act, Act::Read | Act::Open) => {}
        None | Some(Fault::StoreFaulted { .. }) if error == ErrorKind::Other => {
            faulted_for_good(&run).await;
        }
        None | Some(Fault::StoreFull { .. }) if error == ErrorKind::QuotaExceeded => {
            run.until("ready", |now| *now == Readiness::Ready).await;
        }
        other => panic!("{case:?}: {other:?}"),
    }
    run.compare().await;
    run.cut(begin, seed).await;
    run.close().await;
    Ran { met, late, fault }
}

async fn faulted_for_good(run: &Run) {
    let faulted = |now: &Readiness| matches!(now, Readiness::Faulted { .. });
    run.until("faulted", faulted).await;
    let more = name("more");
    let created = run.broker.create(&more, CreateOptions::default());
    let refused = created.await.expect_err("it is faulted");
    let by_fault = matches!(refused, Error::Fault(Fault::StoreFaulted { .. }));
    assert!(by_fault, "{refused}");
}
