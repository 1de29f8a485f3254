//! A fold fails while somebody holds on to a moment of the store, and is made again: what the second one wrote stays when that moment is
//! let go of.

use std::io::{ErrorKind, Write};
use std::sync::mpsc::{Receiver, Sender, channel};

use streamkeeper::broker::Broker;
use streamkeeper::store::Readiness;
use streamkeeper::types::Fault;

use crate::disk::{Act, Plan};
use crate::run::{Run, runtime};

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

#[test]
fn what_a_fold_writes_that_is_made_again_under_a_backup_stays() {
    std::thread::scope(|scope| {
        for seed in 0..SEEDS {
            scope.spawn(move || runtime().block_on(fail_a_fold(seed)));
        }
    });
}

async fn fail_a_fold(seed: u64) {
    let mut run = Run::with(seed, |setup| setup.a_segment_for_each_fold().uncached()).await;
    run.load(20).await;
    let (go_on, backup) = back_up(&run.broker);
    run.disk.plan(Some(Plan {
        act: Some(Act::Write),
        files: "chunks",
        after: 0,
        error: ErrorKind::StorageFull,
        lasts: false,
    }));
    for _ in 0..200 {
        if !run.disk.is_planned() {
            break;
        }
        match run.one().await {
            // The folder waits for the backup before it tries again.
            Ok(()) | Err(Fault::StoreFull { .. }) => {}
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
    assert!(!run.disk.is_planned(), "seed {seed}: no fold failed");
    run.until_folded().await;
    run.until("ready", |now| *now == Readiness::Ready).await;
    drop(go_on);
    backup.join().expect("it ends");
    run.compare().await;
    run.broker.close_all().await;
    // What was in memory is read from the disk then.
    let again = run.setup.open(&run.disk.kill(), run.clock.clone()).await;
    run.broker = again.expect("it opens");
    run.compare().await;
    run.close().await;
}
