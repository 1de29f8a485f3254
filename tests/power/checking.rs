//! A check of a running broker while the file it reads becomes useless and is opened anew: it ends, and tells of no damage that is not
//! there.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use streamkeeper::broker::Broker;
use streamkeeper::store::StoreError;
use streamkeeper::store::check::{Event, Problem, Report};

use crate::disk::{Act, Disk, Plan};
use crate::found::judge;
use crate::history::Setup;
use crate::run::{Run, runtime};

/// Side by side: every second one waits until the check is not waited for any more.
const SEEDS: u64 = 12;

/// The problems that a check tells of, and how it ends. `at_first` is called when it tells of the first one.
fn check(broker: &Broker, at_first: impl FnOnce()) -> (Vec<Problem>, Result<Report, StoreError>) {
    let mut at_first = Some(at_first);
    let mut problems = Vec::new();
    let outcome = broker.check(&mut |event| {
        if let Event::Problem(problem) = event {
            problems.push(problem);
            if let Some(at_first) = at_first.take() {
                at_first();
            }
        }
        ControlFlow::Continue(())
    });
    (problems, outcome)
}

/// A broker whose oldest segment has a damaged chunk in it, which a check tells of before it has gone through the tables.
async fn damaged(seed: u64) -> Run {
    let mut run = Run::with(seed, Setup::uncached).await;
    run.load(60).await;
    run.broker.close_all().await;
    let mut contents = run.disk.contents();
    let is_segment = |name: &&Arc<str>| name.starts_with("chunks");
    let name = contents.keys().find(is_segment).cloned();
    let segment = contents.get_mut(&*name.expect("something is folded"));
    let segment = segment.expect("it is there");
    for at in (0..segment.length()).step_by(256) {
        segment.flip(at, 4);
    }
    run.disk = Disk::new(contents);
    let broker = run.setup.open(&run.disk, run.clock.clone()).await;
    run.broker = broker.expect("it opens");
    run
}

/// Lets a read of the file fail that somebody else made; then others go on with it `opened_anew`, or it is as useless as it was.
async fn fail_a_read(run: &Run, opened_anew: bool) {
    run.disk.plan(Some(Plan {
        act: Some(Act::Read),
        files: "store",
        after: 0,
        error: ErrorKind::Other,
        lasts: false,
    }));
    let allowed = run.load.timeline.allowed(usize::MAX);
    while run.disk.is_planned() {
        // What it finds is damaged as well.
        drop(judge(&run.broker, &allowed).await);
    }
    if opened_anew {
        drop(judge(&run.broker, &allowed).await);
    }
}

#[test]
fn a_check_ends_where_the_file_is_opened_anew_and_tells_of_no_damage_that_is_not_there() {
    std::thread::scope(|scope| {
        for seed in 0..SEEDS {
            scope.spawn(move || {
                println!("seed {seed}");
                runtime().block_on(one(seed));
            });
        }
    });
}

async fn one(seed: u64) {
    let run = damaged(seed).await;
    let (reached, is_reached): (Sender<()>, Receiver<()>) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let broker = run.broker.clone();
    let checking = std::thread::spawn(move || {
        check(&broker, || {
            reached.send(()).expect("somebody waits");
            may_go_on.recv().expect_err("nothing is ever sent");
        })
    });
    is_reached.recv().expect("it tells of the damage");
    fail_a_read(&run, seed.is_multiple_of(2)).await;
    drop(go_on);
    let (told, outcome) = checking.join().expect("it ends");
    let is = outcome.expect_err("it was not read in one moment");
    // The segments are damaged.
    let wrong = told.iter().find(|problem| problem.file == "store.redb");
    assert_eq!(wrong, None, "seed {seed}: {is}");
    // The next one has a moment of its own.
    run.until_folded().await;
    run.close().await;
}
