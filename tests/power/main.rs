//! Power is lost thousands of times: what was confirmed is there, in order and once, what was refused is not, and what was under way is
//! there whole or not at all.
//!
//! The real engine runs on a simulated disk (`disk`) under a mixed load from a seed (`load`). Its trace is then cut at every sync and
//! at random points between; for each cut the disk is left with some of what was not synced (`image`), the engine opens that, and
//! everything is read and compared with naive mirrors (`model`, `found`). Then it must go on: retries are recognised, new commands
//! get the answers they must. Histories have several lives, ended by power cuts and by kills, so cuts also fall into recoveries, into
//! the creation of the files, and between a kill and the next sync.
//!
//! `STREAMKEEPER_SEED=n` runs one history and all its cuts again, and of the other tests what that seed makes;
//! `STREAMKEEPER_SOAK=seconds` goes on with fresh seeds for that long (`make soak`). Threads race as they like, so a failure may take a few runs to come back.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test helper fails as a test does, and says which seed it ran"
)]

#[path = "../hammer/random.rs"]
#[expect(dead_code, reason = "sizes are for another load")]
mod random;

mod checking;
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
mod pinned;
mod restoring;
mod rewinds;
mod room;
mod run;
mod trims;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use random::seeds;
use run::runtime;

/// Histories, each cut at a hundred places or so.
const HISTORIES: u64 = 30;

/// Histories that once showed a fault of the engine.
const FOUND: [u64; 2] = [128, 140];

/// Where further ones are counted from.
const MORE: u64 = 10_000;

/// A run of the fixed histories has some 7,000 cuts.
const CUTS_LEAST: u64 = 5_000;

/// Of so many seeds of a soak one also runs failing starts and the tools.
const WITH_TOOLS: u64 = 8;

#[test]
fn what_was_confirmed_survives_every_power_cut() {
    let begun = Instant::now();
    let (cases, next) = (AtomicU64::new(0), AtomicU64::new(0));
    let until = soak().map(|time| begun + time);
    let fixed: Vec<u64> = (1..HISTORIES).chain(FOUND).collect();
    let all = seeds(until.map_or(&fixed[..], |_| &[]));
    // Some seeds were asked for.
    let is_part = all.len() < fixed.len();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let enough = || is_part || cases.load(Ordering::Relaxed) >= CUTS_LEAST;
                let index = || next.fetch_add(1, Ordering::Relaxed);
                while let Some(seed) = seed_of(&all, until, enough(), index()) {
                    let ran = runtime().block_on(one(seed, until.is_some(), &cases));
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
        next.into_inner().saturating_sub(2),
        cases.load(Ordering::Relaxed),
        begun.elapsed()
    );
    assert!(
        is_part || cases.into_inner() >= CUTS_LEAST,
        "fewer cuts than there should be"
    );
}

/// How long to go on with fresh seeds, if that is asked for.
fn soak() -> Option<Duration> {
    let seconds = std::env::var("STREAMKEEPER_SOAK").ok()?;
    let seconds = seconds.parse();
    Some(Duration::from_secs(
        seconds.expect("STREAMKEEPER_SOAK is a number of seconds"),
    ))
}

/// The seed to run after `index` others: of `all` and, for a machine on which they come to few cuts since it folds seldom, of as many
/// more as it takes to have `enough`; or in a soak from the first of them on.
fn seed_of(all: &[u64], until: Option<Instant>, enough: bool, index: u64) -> Option<u64> {
    let Some(until) = until else {
        let index = usize::try_from(index).expect("a small number");
        let more = (!enough && index < 4 * all.len()).then(|| MORE + index as u64);
        return all.get(index).copied().or(more);
    };
    (Instant::now() < until).then(|| all[0].wrapping_add(index))
}

async fn one(seed: u64, soaks: bool, cases: &AtomicU64) -> Result<(), String> {
    // Said first: what panics names no seed.
    println!("STREAMKEEPER_SEED={seed}");
    history::run(seed, cases).await?;
    if soaks && seed.is_multiple_of(WITH_TOOLS) {
        opening::one(seed).await?;
        compacting::one(seed).await?;
        restoring::one(seed).await?;
    }
    Ok(())
}
