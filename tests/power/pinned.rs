//! A fold fails while somebody holds on to a moment of the store, and is made again: what the second one wrote stays when that moment is
//! let go of, and who needs the store meanwhile waits for it.

use std::io::{ErrorKind, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use streamkeeper::broker::Broker;
use streamkeeper::store::Readiness;
use streamkeeper::types::Fault;

use crate::disk::{Act, Plan};
use crate::history::Setup;
use crate::run::{Run, runtime};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs side by side: most of one is waiting until a backup is not waited for any more.
const SEEDS: u64 = 8;

/// Where a backup goes that stops at its first bytes, and keeps its moment, until it is told to go on.
struct Gate {
    reached: Sender<()>,
    go_on: Receiver<()>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Whoever would be told is gone once the first bytes were written.
        self.reached.send(()).ok();
        self.go_on.recv().ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A backup that is under way until what is answered is dropped.
fn back_up(broker: &Broker) -> (Sender<()>, std::thread::JoinHandle<()>) {
    let ((reached, is_reached), (tell, go_on)) = (channel(), channel());
    let broker = broker.clone();
    let backup = std::thread::spawn(move || {
        // It is told that the file was opened anew under it, or has all it needs already.
        drop(broker.back_up(&mut Gate { reached, go_on }));
    });
    is_reached.recv().expect("it writes something");
    (tell, backup)
}

/// A broker under load, and a backup that is under way.
async fn under_a_backup(seed: u64) -> (Run, Sender<()>, std::thread::JoinHandle<()>) {
    let setup = |setup: Setup| setup.a_segment_for_each_fold().uncached().patient();
    let mut run = Run::with(seed, setup).await;
    run.load(20).await;
    let (go_on, backup) = back_up(&run.broker);
    (run, go_on, backup)
}

/// Commands while one write to these files finds no room, or each of them, until `holds`. They may be refused for that, and must not meet
/// anything else.
async fn without_room(
    run: &mut Run,
    files: &'static str,
    lasts: bool,
    holds: impl Fn(&Run) -> bool,
) {
    run.disk.plan(Some(Plan {
        act: Some(Act::Write),
        files,
        after: 0,
        error: ErrorKind::StorageFull,
        lasts,
    }));
    let deadline = Instant::now() + PATIENCE;
    while !holds(run) {
        assert!(Instant::now() < deadline, "{files}");
        if !run.disk.is_planned() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        match run.one().await {
            Ok(()) | Err(Fault::StoreFull { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    run.disk.plan(None);
}

/// Lets go of the backup; everything confirmed is there, also for a broker that has nothing of it in memory.
async fn end(mut run: Run, go_on: Sender<()>, backup: std::thread::JoinHandle<()>) {
    drop(go_on);
    backup.join().expect("it ends");
    run.compare().await;
    run.broker.close_all().await;
    let again = run.setup.open(&run.disk.kill(), run.clock.clone()).await;
    run.broker = again.expect("it opens");
    run.compare().await;
    run.close().await;
}

fn for_each_seed(run: impl AsyncFn(u64) + Sync) {
    std::thread::scope(|scope| {
        for seed in 0..SEEDS {
            let run = &run;
            scope.spawn(move || {
                println!("seed {seed}");
                runtime().block_on(run(seed));
            });
        }
    });
}

#[test]
fn what_a_fold_writes_that_is_made_again_under_a_backup_stays() {
    for_each_seed(async |seed| {
        let (mut run, go_on, backup) = under_a_backup(seed).await;
        let lease = run.broker.lease();
        // Once only, and nothing after it: what is written then is not moved on, and its segment not removed for good reason.
        without_room(&mut run, "chunks", false, |run| run.broker.is_over(lease)).await;
        run.until_folded().await;
        run.until("ready", |now| *now == Readiness::Ready).await;
        end(run, go_on, backup).await;
    });
}

#[test]
fn a_disk_that_is_full_while_the_folder_waits_for_a_backup_is_no_fault() {
    for_each_seed(async |seed| {
        let (mut run, go_on, backup) = under_a_backup(seed).await;
        let lease = run.broker.lease();
        without_room(&mut run, "store", true, |run| run.broker.is_over(lease)).await;
        // What is taken back now is read from a file that is useless until the backup is not waited for any more.
        let is_full = |run: &Run| matches!(run.broker.readiness(), Readiness::Full { .. });
        without_room(&mut run, "journal", true, is_full).await;
        run.until("ready", |now| *now == Readiness::Ready).await;
        end(run, go_on, backup).await;
    });
}
