//! A disk that the broker fills with its own data: what is removed makes room, and power may be lost anywhere on the way.

use std::io::ErrorKind;
use std::time::Duration;

use streamkeeper::store::Readiness;
use streamkeeper::types::Fault;

use crate::disk::{Act, Plan};
use crate::run::{Run, runtime};

/// Room beside what a new broker takes.
const ROOM: u64 = 768 << 10;

/// Commands to one broker: one in twenty deletes a stream.
const COMMANDS: usize = 600;

/// How often the disk was found full, and how often there was room again.
#[derive(Debug, Default)]
struct Times {
    full: usize,
    resumed: usize,
}

#[test]
fn what_is_removed_from_a_full_disk_makes_room() {
    let mut times = Times::default();
    for seed in 0..110 {
        runtime().block_on(async {
            let mut run = Run::new(seed).await;
            if run.setup.large < 100_000 {
                // Small records take longer to fill a disk than there is time.
                return run.close().await;
            }
            run.load(10).await;
            let begin = run.disk.now();
            run.disk.leave_room(ROOM);
            if seed % 2 == 1 {
                // Whole segments must do.
                run.disk.plan(Some(Plan {
                    act: Some(Act::Punch),
                    files: "chunks",
                    after: 0,
                    error: ErrorKind::Other,
                    lasts: true,
                }));
            }
            let filled = fill_and_remove(&mut run, &mut times).await;
            assert_eq!(filled, Ok(()), "seed {seed}");
            run.disk.plan(None);
            run.compare().await;
            run.cut(begin, seed).await;
            run.cut(begin, seed + 1000).await;
            run.broker.close_all().await;
            let again = run.setup.open(&run.disk.kill(), run.clock.clone()).await;
            run.broker = again.expect("it opens");
            run.compare().await;
            run.close().await;
        });
    }
    println!("{times:?}");
    assert!(times.full > 20 && times.resumed > 10, "{times:?}");
}

/// A fault that is no lack of room ends it.
async fn fill_and_remove(run: &mut Run, times: &mut Times) -> Result<(), Fault> {
    let mut full = false;
    for _ in 0..COMMANDS {
        match run.one().await {
            Ok(()) => {}
            Err(Fault::StoreFull { .. }) => {
                times.full += usize::from(!full);
                full = true;
                // The folder and the committer look for room by the clock.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(other) => return Err(other),
        }
        if full && run.broker.readiness() == Readiness::Ready {
            times.resumed += 1;
            full = false;
        }
    }
    Ok(())
}
