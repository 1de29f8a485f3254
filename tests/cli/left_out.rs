//! The journal's last commit is not whole at a start: the broker serves without it, and says so.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::support::{Broker, finish, program};

/// A broker folds what is this old, and what is folded is not in the journal any more.
const FOLDED: Duration = Duration::from_secs(4);

/// What a broker leaves that was killed after it confirmed five appends, of which the last is 10 kB: all in its journal.
fn killed() -> TempDir {
    let attempt = |_| {
        let begun = Instant::now();
        let directory = append_and_kill();
        (begun.elapsed() < FOLDED).then_some(directory)
    };
    let killed = (0..10).find_map(attempt);
    killed.expect("five appends take no time")
}

fn append_and_kill() -> TempDir {
    let broker = Broker::start();
    broker.run(&["create", "a"]).ok();
    for record in ["record 0", "record 1", "record 2", "record 3"] {
        broker.feed(&["append", "a"], record).ok();
    }
    let large = "record 4;".repeat(1_200);
    broker.feed(&["append", "a"], large).ok();
    broker.process.signal("KILL");
    let Broker {
        process, directory, ..
    } = broker;
    assert_eq!(process.end().0, None);
    directory
}

/// Changes the journal where its last record lies.
fn damage(directory: &Path, change: impl FnOnce(&mut [u8])) {
    let file = directory.join("journal.log");
    let mut bytes = fs::read(&file).expect("readable");
    let mark = b"record 4;";
    let at = bytes.windows(mark.len()).position(|part| part == mark);
    let at = at.expect("it is in the journal");
    change(bytes.get_mut(at..).expect("within"));
    fs::write(file, bytes).expect("written");
}

/// Starts on a journal whose last commit is left out. Answers what was logged.
#[track_caller]
fn starts_without_the_last(directory: TempDir) -> String {
    let (logged, directory) = start(directory, 4, 1, None);
    // It is told until its row's number is given to another commit.
    let (again, directory) = start(directory, 4, 1, Some("another"));
    assert!(again.contains(" WARN "), "{again}");
    let (over, _directory) = start(directory, 5, 0, None);
    assert!(!over.contains(" WARN "), "{over}");
    for line in [
        "replaying the journal bytes=",
        "replayed the journal rows=5 ",
    ] {
        assert!(logged.contains(line), "{line}: {logged}");
    }
    logged
}

/// Starts, finds so many records and so many commits left out, and ends. Answers what was logged.
#[track_caller]
fn start(
    directory: TempDir,
    records: usize,
    left_out: u64,
    append: Option<&str>,
) -> (String, TempDir) {
    let broker = Broker::start_in(directory, &[]);
    let read = broker.run(&["read", "a", "--json"]).ok();
    assert_eq!(read.lines().count(), records, "{read}");
    assert!(broker.get("/readyz").ends_with("\r\n\r\nready\n"));
    let metrics = broker.get("/metrics");
    let counted = format!("\nstreamkeeper_journal_left_out_total {left_out}\n");
    assert!(metrics.contains(&counted), "{metrics}");
    if let Some(record) = append {
        broker.feed(&["append", "a"], record).ok();
    }
    let (code, stderr, directory) = broker.terminate();
    assert_eq!(code, Some(0), "{stderr}");
    (stderr, directory)
}

fn check(directory: &Path) -> super::support::Ran {
    finish(program().args(["check", "--data"]).arg(directory), b"")
}

#[test]
fn a_confirmed_commit_with_a_flipped_bit_is_told_as_damaged_by_check_and_by_the_start() {
    let directory = killed();
    damage(directory.path(), |bytes| {
        *bytes.get_mut(7_000).expect("within") ^= 1;
    });
    let told = check(directory.path());
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stdout.contains("rows 6 to 6 ("), "{told:?}");
    let logged = starts_without_the_last(directory);
    let line = logged.lines().find(|line| line.contains(" WARN "));
    let line = line.expect("a warning");
    for part in ["rows 6 to 6 (", "has flipped", "may have been confirmed"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn a_commit_that_was_not_written_whole_is_told_as_cut_off() {
    let directory = killed();
    damage(directory.path(), |bytes| {
        bytes.get_mut(4_096..).expect("within").fill(0);
    });
    let told = check(directory.path());
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("rows 6 to 6 ("), "{told:?}");
    let logged = starts_without_the_last(directory);
    let line = logged.lines().find(|line| line.contains(" WARN "));
    let line = line.expect("a warning");
    assert!(line.contains("as after a loss of power"), "{line}");
}

#[test]
fn a_journal_that_is_whole_is_not_warned_of() {
    let (logged, _directory) = start(killed(), 5, 0, None);
    assert!(!logged.contains(" WARN "), "{logged}");
}
