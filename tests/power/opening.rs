//! Opening fails by plan: whatever the disk is asked while a broker starts on what a power cut or a kill left, that one thing fails. The
//! broker starts or says why not, and never panics; started again, by then perhaps after a loss of power, it has what was confirmed.
//!
//! What a start that came to its end has shown must be there later too, though it was neither confirmed nor synced before.

use std::io::ErrorKind;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use streamkeeper::types::Clock;

use crate::disk::{Act, Contents, Disk, Event, Plan, Tried};
use crate::found::judge;
use crate::history::{Setup, check};
use crate::image::{Film, left};
use crate::load::index;
use crate::model::Allowed;
use crate::random::{Random, seeds};
use crate::run::{Run, runtime};

/// Power cuts and kills, after each of which every operation of the start fails in turn.
const ENDS: u64 = 12;

/// Of a hundred reads of the journal that are alike: it is looked for frames block by block.
const JOURNAL_READS: u64 = 4;

#[test]
fn a_start_that_fails_anywhere_says_so_and_loses_nothing() {
    let begun = Instant::now();
    let all = seeds(&(1..=ENDS).collect::<Vec<_>>());
    let mut counted = Counted::default();
    for seed in &all {
        println!("STREAMKEEPER_SEED={seed}");
        let ran = runtime().block_on(every_operation(*seed, &mut counted));
        ran.unwrap_or_else(|reason| panic!("STREAMKEEPER_SEED={seed}: {reason}"));
    }
    println!("{counted:?} in {:?}", begun.elapsed());
    assert!(counted.refused > 20 * all.len(), "{counted:?}");
}

#[derive(Debug, Default)]
struct Counted {
    /// Starts that failed.
    refused: usize,
    /// Starts that did without what failed.
    opened: usize,
}

/// What a power cut left, or a kill.
struct Left {
    setup: Setup,
    contents: Contents,
    /// What happened to the contents since they were durable.
    trace: Vec<Event>,
    allowed: Allowed,
}

/// One end of a broker, and every operation of the start that follows.
pub async fn one(seed: u64) -> Result<(), String> {
    every_operation(seed, &mut Counted::default()).await
}

async fn every_operation(seed: u64, counted: &mut Counted) -> Result<(), String> {
    let mut random = Random::new(seed).fork(1);
    let mut run = Run::new(seed).await;
    run.load(40).await;
    let mut trace = run.disk.trace();
    let cut = trace.len() / 2 + index(&mut random, trace.len() / 2);
    let mut contents = Contents::new();
    if random.chance(50) {
        trace.truncate(cut);
    } else {
        let mut film = Film::new(&contents, &trace);
        film.forward(cut);
        contents = film.image(&mut random);
        trace.clear();
    }
    let left = Left {
        setup: run.setup,
        contents,
        trace,
        allowed: run.load.timeline.allowed(cut),
    };
    run.close().await;
    for (number, tried) in left.operations().await.into_iter().enumerate() {
        if is_left_out(&tried, &mut random) {
            continue;
        }
        let Tried { act, name, .. } = tried;
        for error in errors(act) {
            let random = random.fork(number as u64);
            let opened = left.fail(number, *error, random).await;
            let opened = opened.map_err(|reason| {
                format!("{error:?} at operation {number}, {act:?} {name}: {reason}")
            })?;
            counted.opened += usize::from(opened);
            counted.refused += usize::from(!opened);
        }
    }
    Ok(())
}

/// Whether it is one of many that are alike, and not chosen.
pub fn is_left_out(tried: &Tried, random: &mut Random) -> bool {
    let alike = tried.act == Act::Read && tried.name.starts_with("journal");
    alike && !random.chance(JOURNAL_READS)
}

/// What `act` can fail with.
pub fn errors(act: Act) -> &'static [ErrorKind] {
    match act {
        Act::Read => &[ErrorKind::Other, ErrorKind::UnexpectedEof],
        Act::Write | Act::Resize | Act::Create => &[ErrorKind::Other, ErrorKind::StorageFull],
        _ => &[ErrorKind::Other],
    }
}

impl Left {
    fn disk(&self) -> Disk {
        Disk::after(self.contents.clone(), &self.trace)
    }

    fn clock(&self) -> Clock {
        Clock::manual(self.allowed.now).0
    }

    /// Everything that the disk is asked by a start that goes well.
    async fn operations(&self) -> Vec<Tried> {
        let disk = self.disk();
        disk.note_tries();
        let broker = self.setup.open(&disk, self.clock()).await;
        let broker = broker.expect("it opens");
        let tried = disk.tried();
        disk.kill();
        broker.close_all().await;
        tried
    }

    /// Starts with `error` at operation `number`, and then without. Answers whether the first start came to its end.
    async fn fail(
        &self,
        number: usize,
        error: ErrorKind,
        mut random: Random,
    ) -> Result<bool, String> {
        let disk = self.disk();
        disk.plan(Some(Plan::at(number, error)));
        let mut allowed = self.allowed.clone();
        let opened = match self.setup.open(&disk, self.clock()).await {
            Ok(broker) => {
                match judge(&broker, &allowed).await {
                    Ok(world) => allowed = Allowed::only(allowed.now, world),
                    Err(reason) if reason.contains("cannot be read") => {}
                    Err(reason) => return Err(reason),
                }
                survived(&format!("{:?}", broker.readiness()))?;
                disk.kill();
                broker.close_all().await;
                true
            }
            Err(reason) => {
                survived(&reason)?;
                disk.kill();
                false
            }
        };
        let left = left(&self.contents, &disk, &mut random);
        let checked = check(self.setup, &left, &allowed, random, &AtomicU64::new(0)).await;
        checked.map_err(|reason| format!("then: {reason}"))?;
        Ok(opened)
    }
}

/// A panic is told as an error too; here it is none that is due.
pub fn survived(what: &str) -> Result<(), String> {
    if what.contains("panicked") {
        return Err(what.to_owned());
    }
    Ok(())
}
