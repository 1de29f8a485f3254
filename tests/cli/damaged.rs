//! A segment is damaged while no broker runs: whoever reads there is told on either face, with what was good before it; nobody gets
//! what is damaged, and everything else goes on.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::support::Broker;

/// Records of the damaged stream. A chunk holds a few.
const RECORDS: usize = 12;

/// The one that is hit.
const HIT: usize = 5;

fn record(number: usize) -> String {
    format!("record {number:02}:{}", "x".repeat(30_000))
}

/// What a broker leaves that has folded two streams; a bit of a record of `a` is flipped then.
fn damaged() -> TempDir {
    let broker = Broker::start();
    for name in ["a", "b"] {
        let text = ["create", name, "--content-type", "text/plain"];
        broker.run(&text).ok();
    }
    for number in 0..RECORDS {
        broker.feed(&["append", "a"], record(number)).ok();
    }
    broker.feed(&["append", "b"], "whole").ok();
    let (code, log, directory) = broker.terminate();
    assert_eq!(code, Some(0), "{log}");
    flip(directory.path(), record(HIT).as_bytes());
    directory
}

/// Flips a bit in the middle of `mark`, in the segment that holds it.
fn flip(directory: &Path, mark: &[u8]) {
    let files = fs::read_dir(directory).expect("readable");
    let paths = files.map(|file| file.expect("readable").path());
    let mut segments = paths.filter(|path| path.extension().is_some_and(|end| end == "seg"));
    let found = segments.find_map(|path| {
        let bytes = fs::read(&path).expect("readable");
        let at = bytes.windows(mark.len()).position(|part| part == mark)?;
        Some((path, bytes, at + mark.len() / 2))
    });
    let (path, mut bytes, at) = found.expect("the record is in a segment");
    *bytes.get_mut(at).expect("within") ^= 1;
    fs::write(path, bytes).expect("written");
}

/// How many records `printed` begins with. Nothing else may be in it.
#[track_caller]
fn counted(printed: &str) -> usize {
    for (number, line) in printed.lines().enumerate() {
        assert!(line == record(number), "line {number} is not that record");
    }
    printed.lines().count()
}

#[track_caller]
fn tells(said: &str, whole: usize) {
    let offset = format!("corrupt at offset {whole}");
    assert!(said.contains(&offset), "{offset}: {said}");
}

/// The position that a GET says to go on from.
#[track_caller]
fn next_offset(answer: &str) -> String {
    let mut lines = answer.lines();
    let line = lines.find_map(|line| line.strip_prefix("stream-next-offset: "));
    line.expect("a next offset").to_owned()
}

#[test]
fn who_reads_a_damaged_segment_is_told_where_and_everything_else_goes_on() {
    let broker = Broker::start_in(damaged(), &[]);

    let read = broker.run(&["read", "a"]);
    let whole = counted(&read.stdout);
    assert!((1..=HIT).contains(&whole), "{whole} records before it");
    tells(&read.fails(6), whole);

    let tail = broker.run(&["tail", "a", "--from", "start"]);
    assert_eq!(counted(&tail.stdout), whole, "as READ has it");
    let said = tail.fails(6);
    assert!(said.contains("CORRUPT"), "{said}");

    let first = broker.get("/v1/stream/a?offset=-1");
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    let (_, body) = first.split_once("\r\n\r\n").expect("a body");
    let records: String = (0..whole).map(record).collect();
    assert!(body == records, "the records before it, and no more");
    let next = broker.get(&format!("/v1/stream/a?offset={}", next_offset(&first)));
    assert!(next.starts_with("HTTP/1.1 500 "), "{next}");
    tells(&next, whole);

    let events = broker.get("/v1/stream/a?offset=-1&live=sse");
    let sent = |number| events.contains(&record(number));
    assert!((0..whole).all(sent), "the records before it are sent");
    assert!(!(whole..=HIT).any(sent), "nothing of the damaged chunk is");
    let at = next_offset(&first);
    let again = broker.get(&format!("/v1/stream/a?offset={at}&live=sse"));
    assert!(again.starts_with("HTTP/1.1 500 "), "{again}");
    tells(&again, whole);

    let behind = (HIT + 4).to_string();
    let read = broker.run(&["read", "a", "--from", &behind]).ok();
    let rest: Vec<String> = (HIT + 4..RECORDS).map(record).collect();
    assert!(read.lines().eq(rest), "behind it everything is there");
    broker.feed(&["append", "a"], "one more").ok();
    let from = RECORDS.to_string();
    let read = broker.run(&["read", "a", "--from", &from]).ok();
    assert_eq!(read, "one more\n");
    assert_eq!(broker.run(&["read", "b"]).ok(), "whole\n");

    let metrics = broker.get("/metrics");
    let failed = metrics
        .lines()
        .find_map(|line| line.strip_prefix("streamkeeper_failed_reads_total "));
    let failed: u64 = failed.and_then(|count| count.parse().ok()).unwrap_or(0);
    // Those that had something to hand out met it as well, and went on when they were asked for more.
    assert!(failed >= 4, "READ, subscription, GET and events: {failed}");
    let (code, log, _directory) = broker.terminate();
    assert_eq!(code, Some(0), "{log}");
    let place = format!("a stream cannot be read stream=a offset={whole} ");
    assert!(log.contains(&place), "{log}");
}
