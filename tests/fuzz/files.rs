//! Mangled files: a broker that finds any of its files changed says so, or serves what is whole. It never panics, never hangs, and never
//! shows a record that is not the one that was stored there. (Panics inside redb are caught by the broker, and are errors.) What `check` finds
//! whole opens, and is read to its end.
//!
//! The files are those of a real broker that was not closed: several streams, folded and not; with producers, a fork, and streams that expire,
//! are trimmed, closed or deleted. Bytes of the case choose which
//! file is cut, filled, swapped, lengthened, removed, or has bits flipped, and where.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use parking_lot::Mutex;
use streamkeeper::broker::{Broker, BrokerOptions, PutRequest};
use streamkeeper::storage::{ReadLimits, Storage as _};
use streamkeeper::store::check;
use streamkeeper::types::{
    AppendOptions, CreateOptions, Error, Expiry, ForkRequest, Offset, ProducerStamp, RecordBlock,
    Retention, Start, StreamName,
};
use tokio::time::timeout;

use crate::corpus::Corpus;
use crate::random::{Random, seeds};

/// Mangled cases of each seed.
const CASES: u64 = 40;
const STREAMS: usize = 4;
/// A fork of the first stream, which holds so many of its records; behind all others.
const FORK: u64 = 4;
const FORK_AT: u64 = 7;
/// Appends of each stream before and after the broker is opened again.
const APPENDS: u64 = 60;
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
        let base = runtime.block_on(write(&mut Random::new(seed)));
        let (mut cases, mut refused, mut records) = (0_u64, 0_u64, 0_u64);
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
            records += found.unwrap_or(0);
            cases += 1;
            let mut panics = std::mem::take(&mut *PANICS.lock());
            panics.retain(|panic| !is_of_redb(panic));
            assert!(panics.is_empty(), "{done:?}: {panics:?}");
        }
        println!("{cases} mangled directories, {refused} of them refused; {records} records read");
    }
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
async fn write(random: &mut Random) -> Files {
    let directory = tempfile::tempdir().expect("a directory");
    let folding = BrokerOptions {
        fold_interval: Duration::from_millis(5),
        ..options(directory.path())
    };
    let mut tails = vec![0; STREAMS];
    let broker = Broker::open(folding).await.expect("it opens");
    for number in (0..).take(STREAMS) {
        let name = stream(number);
        let created = broker.create(&name, CreateOptions::default()).await;
        created.expect("created");
    }
    others(&broker, &mut tails).await;
    fill(&broker, &mut tails, random).await;
    broker.close_all().await;
    let keeping = BrokerOptions {
        fold_bytes: 64 << 20,
        fold_interval: Duration::from_secs(3_600),
        ..options(directory.path())
    };
    let broker = Broker::open(keeping).await.expect("it opens again");
    fill(&broker, &mut tails, random).await;
    let files = read(directory.path());
    broker.close_all().await;
    files
}

/// Streams of every other kind: only the fork is appended to, by a producer.
async fn others(broker: &Broker, tails: &mut Vec<u64>) {
    let records = || RecordBlock::from_payloads((0..FORK_AT).map(|offset| record(0, offset)));
    let plain = AppendOptions::default();
    let appended = broker.append(&stream(0), records(), plain).await;
    appended.expect("appended");
    let plain = PutRequest::default();
    let kinds = [
        PutRequest {
            fork: Some(ForkRequest {
                source: stream(0),
                offset: None,
                sub_offset: 0,
            }),
            ..plain.clone()
        },
        PutRequest {
            expiry: Expiry::Ttl(3_600),
            closed: true,
            ..plain.clone()
        },
        PutRequest {
            retention: Retention {
                max_age: Some(Duration::from_secs(3_600)),
                max_records: Some(3),
                max_bytes: Some(1 << 20),
            },
            ..plain.clone()
        },
        plain,
    ];
    for (number, request) in (FORK..).zip(kinds) {
        let body = if number == FORK {
            RecordBlock::default()
        } else {
            records()
        };
        let name = stream(number);
        let put = broker.put(&name, PutRequest { body, ..request });
        put.await.expect("put");
    }
    let deleted = broker.delete(&stream(FORK + 3)).await;
    deleted.expect("deleted");
    if let Some(tail) = tails.first_mut() {
        *tail = FORK_AT;
    }
    tails.push(FORK_AT);
}

async fn fill(broker: &Broker, tails: &mut [u64], random: &mut Random) {
    for _ in 0..APPENDS {
        for (number, tail) in (0..).zip(&mut *tails) {
            let records = (0..random.between(1, 5)).map(|more| record(number, *tail + more));
            let batch = RecordBlock::from_payloads(records);
            *tail += u64::from(batch.count());
            let name = stream(number);
            let mut options = AppendOptions::default();
            if number == FORK {
                options.seq = Some(tail.to_be_bytes().to_vec().into());
                options.producer = Some(ProducerStamp {
                    id: format!("p{}", *tail % 2).as_str().into(),
                    epoch: *tail,
                    seq: 0,
                });
            }
            let appended = broker.append(&name, batch, options).await;
            assert_eq!(appended.expect("appended").tail.offset.0, *tail);
        }
    }
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

/// Checks, opens, reads everything, appends, closes. Answers how many records there were; nothing if it does not open.
async fn judge(directory: &Path) -> Option<u64> {
    let mut records = 0;
    let checked = directory.to_owned();
    let check = move || check::offline(&checked, &mut |_| ControlFlow::Continue(()));
    let report = tokio::task::spawn_blocking(check).await;
    let report = report.expect("the check does not panic");
    let whole = report.is_ok_and(|report| report.problems == 0);
    let broker = match Broker::open(options(directory)).await {
        Ok(broker) => broker,
        Err(error) => {
            assert!(!whole, "no problem was found: {error}");
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    for number in 0..FORK + 4 {
        let name = stream(number);
        let mut next = None;
        // Ends at the first thing that is not whole; what is said there is an error with a name.
        loop {
            let start = next.map_or(Start::Beginning, |next| Start::At(Offset(next)));
            let read = broker.read_messages(&name, start, ReadLimits::default());
            let page = match read.await {
                Ok(page) => page,
                Err(error) => {
                    let refused = matches!(error, Error::Refused(_));
                    assert!(refused || !whole, "no problem was found: {error}");
                    break;
                }
            };
            for message in &page.messages {
                let offset = message.position.offset.0;
                assert!(next.is_none_or(|next| next == offset), "{name}: a gap");
                let is_shared = number >= FORK && offset < FORK_AT;
                let expected = record(if is_shared { 0 } else { number }, offset);
                assert_eq!(
                    message.payload, expected,
                    "{name}: another record at {offset}"
                );
                next = Some(offset + 1);
                records += 1;
            }
            if page.messages.is_empty() {
                break;
            }
        }
        let batch = RecordBlock::from_payloads([record(number, next.unwrap_or(0))]);
        drop(broker.append(&name, batch, AppendOptions::default()).await);
    }
    broker.close_all().await;
    Some(records)
}
