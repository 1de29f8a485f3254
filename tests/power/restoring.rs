//! `restore` is cut off anywhere, or meets a disk or a backup that fails: what is left is whole, or nobody opens it.
//!
//! Power is lost at every sync and at random points between, or the process is killed there; each operation fails in turn; the backup ends
//! early or has a bit that is not what it was. As long as nothing of the note is durable the directory may be as empty as it
//! was. A directory that is refused is emptied and restored to again.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use streamkeeper::store::backup::{BackupError, restore};
use streamkeeper::store::shrink::shrink;
use streamkeeper::store::{Files, StoreError};
use streamkeeper::types::Clock;

use crate::disk::{Contents, Disk, Event, Plan};
use crate::history::{Setup, check};
use crate::image::{self, Film};
use crate::load::index;
use crate::model::Allowed;
use crate::opening::{errors, is_left_out, survived};
use crate::random::{Random, seeds};
use crate::run::{Run, runtime};

/// Backups that are restored.
const BACKUPS: u64 = 6;

/// Commands before each.
const COMMANDS: usize = 80;

/// Of a hundred points that are no sync, so many are cut at.
const BETWEEN: u64 = 6;

/// Of a hundred operations so many fail, each in a run of its own.
const FAILING: u64 = 20;

/// Damaged copies of each backup.
const DAMAGED: usize = 12;

/// What lies in a directory that is not whole.
const NOTE: &str = "restore.unfinished";

/// A backup, and what it holds.
struct Backup {
    setup: Setup,
    bytes: Vec<u8>,
    allowed: Allowed,
}

/// What became of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing is in it.
    Empty,
    /// Nobody opens it.
    Refused,
    /// It has what the backup has.
    Whole,
}

#[derive(Debug, Default)]
struct Counted {
    empty: usize,
    refused: usize,
    whole: usize,
}

impl Counted {
    fn count(&mut self, left: Left) {
        *match left {
            Left::Empty => &mut self.empty,
            Left::Refused => &mut self.refused,
            Left::Whole => &mut self.whole,
        } += 1;
    }
}

#[test]
fn a_restore_that_is_cut_off_or_fails_anywhere_leaves_what_is_whole_or_refused() {
    let begun = Instant::now();
    let mut counted = <[Counted; 3]>::default();
    let all = seeds(&(1..=BACKUPS).collect::<Vec<_>>());
    for seed in &all {
        println!("STREAMKEEPER_SEED={seed}");
        let ran = runtime().block_on(every(*seed, &mut counted));
        ran.unwrap_or_else(|reason| panic!("STREAMKEEPER_SEED={seed}: {reason}"));
    }
    let [cuts, failures, damaged] = counted;
    println!(
        "cuts {cuts:?}, failures {failures:?}, damaged backups {damaged:?} in {:?}",
        begun.elapsed()
    );
    assert!(cuts.refused > all.len() && cuts.whole > 0, "{cuts:?}");
    assert!(failures.refused > all.len(), "{failures:?}");
    assert_eq!(damaged.whole, 0, "{damaged:?}");
    assert!(damaged.refused > all.len(), "{damaged:?}");
}

/// One backup, all cuts and some failures.
pub async fn one(seed: u64) -> Result<(), String> {
    every(seed, &mut <[Counted; 3]>::default()).await
}

async fn every(seed: u64, counted: &mut [Counted; 3]) -> Result<(), String> {
    let mut run = Run::new(seed).await;
    run.load(COMMANDS).await;
    let mut bytes = Vec::new();
    run.broker.back_up(&mut bytes).expect("it is backed up");
    let backup = Backup {
        setup: run.setup,
        bytes,
        allowed: run.load.timeline.allowed(usize::MAX),
    };
    run.close().await;
    let mut random = Random::new(seed).fork(1);
    let [cuts, failures, damaged] = counted;
    backup.cuts(&mut random, cuts).await?;
    backup.failures(&mut random, failures).await?;
    backup.damage(&mut random, damaged).await
}

fn files(disk: &Disk) -> Arc<dyn Files> {
    Arc::new(disk.clone())
}

fn restored(disk: &Disk, mut backup: &[u8]) -> Result<(), BackupError> {
    restore(&files(disk), &mut backup).map(drop)
}

fn empty() -> Disk {
    Disk::new(Contents::new())
}

impl Backup {
    async fn cuts(&self, random: &mut Random, counted: &mut Counted) -> Result<(), String> {
        let disk = empty();
        restored(&disk, &self.bytes).map_err(|error| format!("it is not restored: {error}"))?;
        let trace = disk.trace();
        let noted = trace
            .iter()
            .position(|event| matches!(event, Event::NamesSynced));
        let noted = noted.ok_or("the note is not durable")?;
        let contents = Contents::new();
        let mut film = Film::new(&contents, &trace);
        for cut in 0..=trace.len() {
            let sync = matches!(trace.get(cut), Some(Event::Synced(_) | Event::NamesSynced));
            if !sync && cut != trace.len() && !random.chance(BETWEEN) {
                continue;
            }
            film.forward(cut);
            for killed in [false, true] {
                let image = if killed {
                    Disk::after(Contents::new(), &trace[..cut]).contents()
                } else {
                    film.image(random)
                };
                let left = self.judge(image, random.fork(cut as u64)).await;
                let at = |reason| format!("cut {cut} of {}: {reason}", trace.len());
                let left = left.map_err(at)?;
                counted.count(left);
                let may_be = match left {
                    Left::Empty => cut <= noted,
                    Left::Refused => cut < trace.len(),
                    Left::Whole => true,
                };
                if !may_be {
                    return Err(at(format!("it is {left:?}")));
                }
            }
        }
        Ok(())
    }

    /// Lets operations fail, each in a run of its own; then the process ends, or power is lost.
    async fn failures(&self, random: &mut Random, counted: &mut Counted) -> Result<(), String> {
        let disk = empty();
        disk.note_tries();
        restored(&disk, &self.bytes).map_err(|error| format!("it is not restored: {error}"))?;
        for (number, tried) in disk.tried().into_iter().enumerate() {
            if is_left_out(&tried, random) || !random.chance(FAILING) {
                continue;
            }
            for error in errors(tried.act) {
                let (disk, told) = self.fail(number, *error);
                let at = |reason| format!("{error:?} at operation {number}, {tried:?}: {reason}");
                if let Err(error) = &told {
                    survived(&error.to_string()).map_err(at)?;
                }
                let image = image::left(&Contents::new(), &disk, random);
                let left = self.judge(image, random.fork(number as u64)).await;
                let left = left.map_err(at)?;
                counted.count(left);
                if told.is_ok() && left != Left::Whole {
                    return Err(at(format!("it is said to be done, and is {left:?}")));
                }
            }
        }
        Ok(())
    }

    fn fail(&self, number: usize, error: ErrorKind) -> (Disk, Result<(), BackupError>) {
        let disk = empty();
        disk.plan(Some(Plan::at(number, error)));
        let told = restored(&disk, &self.bytes);
        disk.plan(None);
        (disk, told)
    }

    /// Restores what is not the whole backup.
    async fn damage(&self, random: &mut Random, counted: &mut Counted) -> Result<(), String> {
        for number in 0..DAMAGED {
            let mut bytes = self.bytes.clone();
            let at = index(random, bytes.len());
            if random.chance(50) {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << random.below(8);
            }
            let disk = empty();
            if restored(&disk, &bytes).is_ok() {
                return Err(format!("damaged at {at}, and taken for whole"));
            }
            let left = self.judge(disk.contents(), random.fork(number as u64));
            counted.count(left.await?);
        }
        Ok(())
    }

    /// What a directory is that holds `image`.
    async fn judge(&self, image: Contents, random: Random) -> Result<Left, String> {
        if image.is_empty() {
            return Ok(Left::Empty);
        }
        if !image.contains_key(NOTE) {
            self.whole(&image, random).await?;
            return Ok(Left::Whole);
        }
        let disk = Disk::new(image);
        let (clock, _) = Clock::manual(self.allowed.now);
        match self.setup.open(&disk, clock).await {
            Err(reason) if reason.contains("restore") => {}
            Err(reason) => return Err(format!("it is not said why: {reason}")),
            Ok(_) => return Err("it opens".to_owned()),
        }
        let compacted = shrink(&files(&disk));
        if !matches!(compacted, Err(StoreError::RestoreUnfinished { .. })) {
            return Err(format!("compacted: {compacted:?}"));
        }
        let over = restored(&disk, &self.bytes);
        if !matches!(over, Err(BackupError::NotEmpty { .. })) {
            return Err(format!("restored over it: {over:?}"));
        }
        for name in disk.contents().keys() {
            disk.remove(name).map_err(|error| error.to_string())?;
        }
        restored(&disk, &self.bytes).map_err(|error| format!("again: {error}"))?;
        self.whole(&disk.contents(), random).await?;
        Ok(Left::Refused)
    }

    async fn whole(&self, image: &Contents, random: Random) -> Result<(), String> {
        check(self.setup, image, &self.allowed, random, &AtomicU64::new(0)).await
    }
}
