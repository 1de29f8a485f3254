//! A bit of `store.redb` is not what it was: what is read is what was stored, or an error, or a stream is taken for absent. It is never
//! another record, and no panic gets out.
//!
//! That a stream is absent cannot be told by a read: redb compares its pages with their checksums only when it repairs its file, and a
//! name that cannot be found has no row that could have one of ours (`docs/faults.md`).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use redb::{ReadableTable, TableDefinition};
use tokio::time::timeout;

use crate::disk::{Act, Content, Contents, Disk, Tried};
use crate::found::{Lost, find, judge_damaged};
use crate::load::index;
use crate::model::Allowed;
use crate::random::{Random, seeds};
use crate::run::{Run, runtime};

/// Stores, each damaged many times.
const STORES: u64 = 24;

/// Bits flipped in each store, one at a time.
const FLIPS: usize = 150;

/// Stores that lose a chunk.
const LOSSES: u64 = 24;

const STORE: &str = "store.redb";

const CHUNKS: TableDefinition<'_, (u64, u64), (u32, u32, u32, u32)> =
    TableDefinition::new("chunks");

const PAGE_BYTES: u64 = 4096;

/// Only a bug takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Counted {
    flips: usize,
    /// Starts that were refused.
    refused: usize,
    /// Streams that could not be read, or were taken for absent.
    told: u64,
    absent: u64,
}

#[test]
fn a_flipped_bit_of_the_store_is_told_and_never_becomes_another_record() {
    let begun = Instant::now();
    let mut counted = Counted::default();
    let all = seeds(&(1..=STORES).collect::<Vec<_>>());
    for seed in &all {
        println!("STREAMKEEPER_SEED={seed}");
        let ran = runtime().block_on(flip_bits(*seed, &mut counted));
        ran.unwrap_or_else(|reason| panic!("STREAMKEEPER_SEED={seed}: {reason}"));
    }
    println!("{counted:?} in {:?}", begun.elapsed());
    let found = counted.refused + usize::try_from(counted.told).unwrap_or(0);
    assert!(found > all.len() || all.len() == 1, "{counted:?}");
    // Only a name that cannot be found is not told: one in some thousand bits.
    let few = counted.absent * 200 <= counted.flips as u64;
    assert!(
        few || all.len() == 1,
        "{counted:?}: too many are taken for absent"
    );
}

#[test]
fn a_chunk_that_is_lost_between_others_is_told_and_not_left_out() {
    let mut told = 0;
    let all = seeds(&(1..=LOSSES).collect::<Vec<_>>());
    for seed in all.iter().copied() {
        println!("STREAMKEEPER_SEED={seed}");
        runtime().block_on(async {
            let mut run = Run::new(seed).await;
            run.load(120).await;
            run.broker.close_all().await;
            run.disk.kill();
            let disk = Disk::new(run.disk.contents());
            lose_a_chunk(&disk);
            let allowed = run.load.timeline.allowed(usize::MAX);
            let lost = read(&run, &disk, &allowed).await.expect("as allowed");
            let lost = lost.expect("it opens");
            assert_eq!(lost.absent, 0, "its name is there");
            told += lost.told;
        });
    }
    println!("{told} of {} stores told of it", all.len());
    assert!(told > 0 || all.len() == 1, "none that anybody reads");
}

/// Takes the row of a chunk out of the store, if there is one with others of its stream on both sides.
fn lose_a_chunk(disk: &Disk) {
    let builder = redb::Builder::new();
    let database = builder.create_with_backend(disk.file(STORE));
    let write = database
        .expect("it opens")
        .begin_write()
        .expect("it begins");
    {
        let mut chunks = write.open_table(CHUNKS).expect("it is there");
        let keys = chunks.iter().expect("it is read");
        let keys: Vec<(u64, u64)> = keys.map(|row| row.expect("a row").0.value()).collect();
        let of_one = |keys: &&[(u64, u64)]| keys[0].0 == keys[2].0;
        if let Some(keys) = keys.windows(3).rfind(of_one) {
            chunks.remove(keys[1]).expect("it is removed");
        }
    }
    write.commit().expect("it is written");
}

async fn flip_bits(seed: u64, counted: &mut Counted) -> Result<(), String> {
    let mut random = Random::new(seed).fork(2);
    let mut run = Run::new(seed).await;
    run.load(60).await;
    if seed.is_multiple_of(2) {
        // Everything is folded.
        run.broker.close_all().await;
        run.disk.kill();
    } else {
        run.disk.kill();
        run.broker.close_all().await;
    }
    let contents = run.disk.contents();
    let allowed = run.load.timeline.allowed(usize::MAX);
    let pages = Pages::of(&run, &contents, &allowed).await;
    for _ in 0..FLIPS {
        let mut damaged = contents.clone();
        let store = damaged.get_mut(STORE).expect("it is there");
        let (at, bit) = pages.choose(store, &mut random);
        store.flip(at, bit);
        let disk = Disk::new(damaged);
        let at = |reason: String| format!("bit {bit} of byte {at}: {reason}");
        let lost = timeout(PATIENCE, read(&run, &disk, &allowed)).await;
        let lost = lost
            .map_err(|_late| at("it hangs".to_owned()))?
            .map_err(at)?;
        counted.flips += 1;
        counted.refused += usize::from(lost.is_none());
        let Lost { told, absent } = lost.unwrap_or_default();
        counted.told += told;
        counted.absent += absent;
    }
    Ok(())
}

/// Where the pages of a store begin that are needed.
struct Pages {
    /// To open it.
    opening: Vec<u64>,
    /// To read everything.
    reading: Vec<u64>,
}

impl Pages {
    async fn of(run: &Run, contents: &Contents, allowed: &Allowed) -> Self {
        let disk = Disk::new(contents.clone());
        disk.note_tries();
        let broker = run.setup.resting().open(&disk, run.clock.clone()).await;
        let broker = broker.expect("it opens");
        let opening = Self::read(&disk);
        disk.note_tries();
        let lost = judge_damaged(&broker, allowed).await.expect("it reads");
        assert_eq!(lost.told + lost.absent, 0);
        let reading = Self::read(&disk);
        disk.kill();
        broker.close_all().await;
        Self { opening, reading }
    }

    fn read(disk: &Disk) -> Vec<u64> {
        let of_store = |tried: &Tried| tried.act == Act::Read && &*tried.name == STORE;
        let tried = disk.tried().into_iter().filter(of_store);
        tried
            .map(|tried| tried.at)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// A bit of a page, most likely of a byte that is not zero: the pages of a small store are mostly empty.
    fn choose(&self, store: &Content, random: &mut Random) -> (u64, u8) {
        let pages = if random.chance(20) || self.reading.is_empty() {
            &self.opening
        } else {
            &self.reading
        };
        let mut at = 0;
        for _ in 0..200 {
            at = pages[index(random, pages.len())] + random.below(PAGE_BYTES);
            let mut byte = [0];
            if store.read(at, &mut byte).is_ok() && byte != [0] {
                break;
            }
        }
        let at = at.min(store.length() - 1);
        (at, u8::try_from(random.below(8)).expect("below 8"))
    }
}

/// Opens and reads everything; nothing if it does not open.
async fn read(run: &Run, disk: &Disk, allowed: &Allowed) -> Result<Option<Lost>, String> {
    let setup = run.setup.resting();
    let Ok(broker) = setup.open(disk, run.clock.clone()).await else {
        return Ok(None);
    };
    let lost = judge_damaged(&broker, allowed).await;
    disk.kill();
    // Lets redb know that its file is no more: else it would write to it as it is closed, and an assertion of its that fails there may
    // be followed by another as it unwinds, which ends the process.
    let ended = find(&broker, "ended").await;
    assert!(ended.is_err(), "{ended:?}");
    broker.close_all().await;
    lost.map(Some)
}
