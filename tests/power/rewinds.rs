//! Commits that the disk has no room for, of several streams and with forks among them: they are taken back with all they touched, and what
//! is decided afterwards rests on what was confirmed.
//!
//! Commands of one round go to different streams and may share a commit; those that are refused have not happened, the others have.

use std::io::ErrorKind;
use std::time::Instant;

use streamkeeper::store::Readiness;

use crate::disk::{Act, Plan};
use crate::load::index;
use crate::random::{Random, seeds};
use crate::run::{Run, runtime};

const SEEDS: u64 = 48;

/// Runs at a time: most of a run is waiting for the broker to look for room again.
const AT_ONCE: usize = 8;

/// Times that the disk is full in one run.
const TIMES: usize = 4;

/// Rounds after which a plan that met no commit is given up.
const ROUNDS: usize = 12;

#[test]
fn a_commit_without_room_is_taken_back_with_all_its_streams_and_forks() {
    let begun = Instant::now();
    let all = seeds(&(1..=SEEDS).collect::<Vec<_>>());
    let (mut refused, mut together) = (0, 0);
    for at_once in all.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let runs: Vec<_> = at_once
                .iter()
                .map(|seed| (seed, scope.spawn(|| runtime().block_on(fill(*seed)))))
                .collect();
            for (seed, run) in runs {
                let met = run.join();
                for commands in met.unwrap_or_else(|_| panic!("STREAMKEEPER_SEED={seed}")) {
                    refused += commands;
                    together += usize::from(commands > 1);
                }
            }
        });
    }
    println!(
        "{} runs, {refused} commands refused, {together} times several at once, in {:?}",
        all.len(),
        begun.elapsed()
    );
    let few = all.len() > 1 && (refused < all.len() || together == 0);
    assert!(!few, "too few were refused");
}

/// One run. Answers how many commands were refused each time that the disk was full.
async fn fill(seed: u64) -> Vec<usize> {
    let mut random = Random::new(seed).fork(3);
    let mut run = Run::new(seed).await;
    (run.load.apart, run.load.at_once) = (true, 6);
    rounds(&mut run, 12).await;
    let begin = run.disk.now();
    let mut refused = Vec::new();
    for _ in 0..TIMES {
        refused.push(until_full(&mut run, &mut random).await);
        // Decided on states that were built again.
        rounds(&mut run, 4).await;
        run.compare().await;
    }
    run.cut(begin, seed).await;
    run.broker.close_all().await;
    let again = run.setup.open(&run.disk.kill(), run.clock.clone()).await;
    run.broker = again.expect("it opens");
    run.compare().await;
    run.close().await;
    refused
}

/// Rounds on a disk that has room.
async fn rounds(run: &mut Run, count: usize) {
    for _ in 0..count {
        let refused = run.load.round_or_full(&run.broker, &run.disk).await;
        assert_eq!(refused, Ok(0));
    }
}

/// Rounds until there is no room for one; then there is again. Answers how many commands were refused.
async fn until_full(run: &mut Run, random: &mut Random) -> usize {
    run.disk.plan(Some(Plan {
        act: Some(if random.chance(80) {
            Act::Write
        } else {
            Act::Resize
        }),
        files: "journal",
        after: index(random, 4),
        error: ErrorKind::StorageFull,
        lasts: random.chance(20),
    }));
    let mut refused = 0;
    for _ in 0..ROUNDS {
        let round = run.load.round_or_full(&run.broker, &run.disk).await;
        refused = round.expect("the answers are right");
        if refused > 0 {
            break;
        }
    }
    run.compare().await;
    run.disk.plan(None);
    run.until("ready", |now| *now == Readiness::Ready).await;
    refused
}
