//! Power is lost thousands of times: what was confirmed is there, in order and once, what was refused is not, and what was under way is
//! there whole or not at all.
//!
//! The real engine runs on a simulated disk (`disk`) under a mixed load from a seed (`load`). Its trace is then cut at every sync and
//! at random points between; for each cut the disk is left with some of what was not synced (`image`), the engine opens that, and
//! everything is read and compared with naive mirrors (`model`, `found`). Then it must go on: retries are recognised, new commands
//! get the answers they must. Histories have several lives, ended by power cuts and by kills, so cuts also fall into recoveries, into
//! the creation of the files, and between a kill and the next sync.
//!
//! `STREAMKEEPER_SEED=n` runs one history and all its cuts again. Threads race as they like, so a failure may take a few runs to come back.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test helper fails as a test does"
)]

#[path = "../hammer/random.rs"]
#[expect(dead_code, reason = "sizes are for another load")]
mod random;

mod compacting;
mod disk;
mod each;
mod faults;
mod flips;
mod found;
mod history;
mod image;
mod load;
mod model;
mod opening;
mod restoring;
mod rewinds;
mod room;
mod run;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use random::seeds;

/// Histories, each cut at a hundred places or so.
const HISTORIES: u64 = 30;

/// Histories that once showed a fault of the engine.
const FOUND: [u64; 2] = [128, 140];

#[test]
fn what_was_confirmed_survives_every_power_cut() {
    let begun = Instant::now();
    let (cases, next) = (AtomicU64::new(0), AtomicU64::new(0));
    let fixed: Vec<u64> = (1..HISTORIES).chain(FOUND).collect();
    let all = seeds(&fixed);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let index = usize::try_from(index).expect("a small number");
                    let Some(seed) = all.get(index).copied() else {
                        return;
                    };
                    let ran = runtime.block_on(history::run(seed, &cases));
                    if let Err(reason) = ran {
                        let cases = cases.load(Ordering::Relaxed);
                        panic!("STREAMKEEPER_SEED={seed}, after {cases} cuts: {reason}");
                    }
                }
            });
        }
    });
    println!(
        "{} histories, {} power cuts in {:?}",
        all.len(),
        cases.load(Ordering::Relaxed),
        begun.elapsed()
    );
}
