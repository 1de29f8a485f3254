//! Mangled files: a broker that finds any of its files changed says so, or serves what is whole. It never panics, never hangs, and never
//! shows a record that is not the one that was stored there, nor a stream that is short without a word (`verdict`). (Panics inside redb are caught by the broker, and are errors.)
//!
//! The files are those of a real broker that was not closed: several streams, folded and not. Bytes of the case choose which
//! file is cut, filled, swapped, lengthened, removed, or has bits flipped, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use parking_lot::Mutex;
use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::storage::{ReadLimits, Storage as _};
use streamkeeper::types::{
    AppendOptions, CreateOptions, Error, Offset, RecordBlock, Refusal, Start, StreamName,
};
use tokio::time::timeout;

use crate::corpus::Corpus;
use crate::random::{Random, seeds};
use crate::verdict::{Ended, Intact, JOURNAL, Short};

/// Mangled cases of each seed.
const CASES: u64 = 40;
const STREAMS: usize = 4;
/// Appends of each stream before and after the broker is opened again.
const APPENDS: u64 = 60;
/// Folds before the last appends.
const FOLDS: u64 = 6;
/// Only a bug takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

type Files = BTreeMap<String, Vec<u8>>;

/// Panics of any thread, while this test runs.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[test]
fn mangled_files_are_told_or_served_in_part_and_never_panic_hang_or_show_other_records() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.lock().push(panic.to_string());
        before(panic);
    }));
    for seed in seeds(&[1]) {
        println!("STREAMKEEPER_SEED={seed}");
        let (base, intact) = runtime.block_on(write(&mut Random::new(seed)));
        let (mut cases, mut refused, mut records) = (0_u64, 0_u64, 0_u64);
        let mut short = Shorts::default();
        for case in Corpus::of("files").cases(seed, CASES) {
            let directory = tempfile::tempdir().expect("a directory");
            let mut files = base.clone();
            let done = mangle(&case.bytes, &mut files);
            for (name, bytes) in &files {
                fs::write(directory.path().join(name), bytes).expect("written");
            }
            let judged =
                runtime.block_on(async { timeout(PATIENCE, judge(directory.path())).await });
            let found = judged.unwrap_or_else(|_| panic!("{done:?}: it hangs"));
            refused += u64::from(found.is_none());
            let found = found.unwrap_or_default();
            records += found.iter().map(|(records, _)| records).sum::<u64>();
            if !found.is_empty() {
                let judged = intact.judge(&found, &changed(&base, &files));
                let judged = judged.unwrap_or_else(|reason| panic!("{done:?}: {reason}"));
                short.count(judged, &done);
            }
            cases += 1;
            let mut panics = std::mem::take(&mut *PANICS.lock());
            panics.retain(|panic| !is_of_redb(panic));
            assert!(panics.is_empty(), "{done:?}: {panics:?}");
        }
        println!(
            "{cases} mangled directories, {refused} of them refused; {records} records read; {short:?}"
        );
        assert!(short.absent * 20 <= cases, "too many are taken for absent");
        let opened = cases - refused;
        assert!(opened * 2 >= cases, "too few are served");
        assert!(records > opened * 100, "next to nothing is read");
    }
}

/// What was missing in all directories, as far as it is allowed to.
#[derive(Debug, Default)]
struct Shorts {
    told: u64,
    absent: u64,
    /// Directories that lack the journal's last frame, or more of its end.
    last_frame: u64,
    more_frames: u64,
}

impl Shorts {
    fn count(&mut self, short: Short, done: &[String]) {
        self.told += short.told as u64;
        self.absent += short.absent as u64;
        self.last_frame += u64::from(short.frames == 1);
        self.more_frames += u64::from(short.frames > 1);
        // A flipped bit takes one frame at most.
        let bit = |what: &String| (8..=11).any(|act| what.contains(&format!(": act {act} ")));
        let of_journal = || done.iter().filter(|what| what.starts_with(JOURNAL));
        let only_bits = of_journal().all(bit) && of_journal().count() <= 1;
        assert!(short.frames <= 1 || !only_bits, "{done:?}: {short:?}");
    }
}

/// The files that are not as they were.
fn changed(base: &Files, files: &Files) -> BTreeSet<String> {
    let names = base.keys().chain(files.keys());
    let changed = names.filter(|name| base.get(*name) != files.get(*name));
    changed.cloned().collect()
}

/// redb panics over some pages that it did not write. That is caught where it is called, and becomes an error: what counts
/// is that the broker does not open, or faults, and neither hangs nor goes on.
fn is_of_redb(panic: &str) -> bool {
    panic
        .lines()
        .next()
        .is_some_and(|place| place.contains("/redb-"))
}

fn stream(number: u64) -> StreamName {
    StreamName::new(&format!("s{number}")).expect("a valid name")
}

/// The record that a stream has at an offset.
fn record(stream: u64, offset: u64) -> Vec<u8> {
    let digest = (stream << 32 | offset).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let length = usize::try_from(digest % 1_500).unwrap_or(0);
    let bytes = digest.to_be_bytes();
    bytes.iter().copied().cycle().take(8 + length).collect()
}

fn options(directory: &Path) -> BrokerOptions {
    BrokerOptions {
        fold_bytes: 64 << 10,
        segment_bytes: 256 << 10,
        ..BrokerOptions::in_directory(directory)
    }
}

/// Files of a broker that folded most of what it has, and not the rest.
async fn write(random: &mut Random) -> (Files, Intact) {
    let directory = tempfile::tempdir().expect("a directory");
    // It folds when it is closed, and not by the clock: where a page comes to lie must not depend on how fast this machine is.
    let keeping = || BrokerOptions {
        fold_bytes: 64 << 20,
        fold_interval: Duration::from_secs(3_600),
        ..options(directory.path())
    };
    let mut tails = vec![0; STREAMS];
    for fold in 0..FOLDS {
        let broker = Broker::open(keeping()).await.expect("it opens");
        if fold == 0 {
            create(&broker).await;
        }
        fill(&broker, APPENDS / FOLDS, &mut tails, random).await;
        broker.close_all().await;
    }
    let folded = tails.clone();
    let broker = Broker::open(keeping()).await.expect("it opens again");
    let late = fill(&broker, APPENDS, &mut tails, random).await;
    let files = read(directory.path());
    broker.close_all().await;
    (files, Intact { folded, late })
}

async fn create(broker: &Broker) {
    for number in (0..).take(STREAMS) {
        let name = stream(number);
        let created = broker.create(&name, CreateOptions::default()).await;
        created.expect("created");
    }
}

/// Appends to each stream, one after the other. Answers the stream and the tail of each.
async fn fill(
    broker: &Broker,
    appends_each: u64,
    tails: &mut [u64],
    random: &mut Random,
) -> Vec<(usize, u64)> {
    let mut appends = Vec::new();
    for _ in 0..appends_each {
        for (number, tail) in (0..).zip(&mut *tails) {
            let records = (0..random.between(1, 5)).map(|more| record(number, *tail + more));
            let batch = RecordBlock::from_payloads(records);
            *tail += u64::from(batch.count());
            let name = stream(number);
            let appended = broker.append(&name, batch, AppendOptions::default()).await;
            assert_eq!(appended.expect("appended").tail.offset.0, *tail);
            appends.push((usize::try_from(number).expect("a few"), *tail));
        }
    }
    appends
}

fn read(directory: &Path) -> Files {
    let listed = fs::read_dir(directory).expect("listed");
    let files = listed.map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        (name, fs::read(&path).expect("it is read"))
    });
    files.collect()
}

/// Mangles files as the bytes say, and says what was done.
fn mangle(bytes: &[u8], files: &mut Files) -> Vec<String> {
    let mut choices = Unstructured::new(bytes);
    let mut done = Vec::new();
    for _ in 0..4 {
        if choices.is_empty() || mangle_one(&mut choices, files, &mut done).is_err() {
            break;
        }
    }
    done
}

fn mangle_one(
    choices: &mut Unstructured<'_>,
    files: &mut Files,
    done: &mut Vec<String>,
) -> Result<()> {
    let names: Vec<String> = files.keys().cloned().collect();
    let name = choices.choose(&names)?.clone();
    let Some(file) = files.get_mut(&name) else {
        return Ok(());
    };
    let at = choices.choose_index(file.len().max(1))?;
    let length = choices.int_in_range(1..=8_192)?.min(file.len() - at);
    let act = choices.int_in_range(0..=11)?;
    done.push(format!(
        "{name}: act {act} at {at}, {length} bytes of {}",
        file.len()
    ));
    match act {
        0 => file.truncate(at),
        1 => file.extend(std::iter::repeat_n(0, length)),
        2 => file.extend_from_slice(choices.bytes(choices.len().min(64))?),
        3 => {
            files.remove(&name);
        }
        4 => file.get_mut(at..at + length).unwrap_or_default().fill(0),
        5 => {
            let value = choices.arbitrary()?;
            file.get_mut(at..at + length)
                .unwrap_or_default()
                .fill(value);
        }
        6 => {
            // A block in the place of another, as a disk might that lost its way.
            let from = at / 4096 * 4096;
            let to = choices.choose_index(file.len().max(1))? / 4096 * 4096;
            let block = file
                .get(from..(from + 4096).min(file.len()))
                .unwrap_or_default()
                .to_vec();
            for (into, byte) in file.iter_mut().skip(to).zip(block) {
                *into = byte;
            }
        }
        7 => {
            let other = choices.choose(&names)?.clone();
            let copy = file.clone();
            files.insert(other, copy);
        }
        _ => {
            let bit = choices.int_in_range(0..=7)?;
            if let Some(byte) = file.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
    }
    Ok(())
}

/// Opens, reads everything, appends, closes. Answers what each stream had; nothing if it does not open.
async fn judge(directory: &Path) -> Option<Vec<(u64, Ended)>> {
    let mut found = Vec::new();
    let broker = match Broker::open(options(directory)).await {
        Ok(broker) => broker,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    for number in (0..).take(STREAMS) {
        let (next, ended) = read_stream(&broker, number).await;
        found.push((next, ended));
        let batch = RecordBlock::from_payloads([record(number, next)]);
        let name = stream(number);
        drop(broker.append(&name, batch, AppendOptions::default()).await);
    }
    broker.close_all().await;
    Some(found)
}

/// Reads up to the first thing that is not whole: what is said there is an error with a name.
async fn read_stream(broker: &Broker, number: u64) -> (u64, Ended) {
    let name = stream(number);
    let mut next = 0;
    loop {
        let from = Start::At(Offset(next));
        let page = broker.read_messages(&name, from, ReadLimits::default());
        let page = match page.await {
            Ok(page) => page,
            Err(Error::Refused(Refusal::NotFound)) => return (next, Ended::Absent),
            Err(_) => return (next, Ended::Told),
        };
        for message in &page.messages {
            assert_eq!(message.position.offset.0, next, "{name}: a gap");
            assert_eq!(
                message.payload,
                record(number, next),
                "{name}: another record at {next}"
            );
            next += 1;
        }
        if page.messages.is_empty() {
            return (next, Ended::AtTail);
        }
    }
}
