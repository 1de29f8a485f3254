//! `store.redb` and the journal are lost, and the segments are there: the broker does not start, and removes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::support::{Broker, finish, serve};

/// The segments of a directory and what they hold.
fn segments(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("readable");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let named = paths.map(|path| {
        (
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned()),
            path,
        )
    });
    named
        .filter_map(|(name, path)| Some((name?, path)))
        .filter(|(name, _)| name.starts_with("chunks-"))
        .map(|(name, path)| (name, fs::read(path).expect("readable")))
        .collect()
}

/// What a broker leaves that has folded what it was given.
fn folded() -> TempDir {
    let broker = Broker::start();
    broker.run(&["create", "a"]).ok();
    broker.feed(&["append", "a"], "a record").ok();
    let (code, log, directory) = broker.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!segments(directory.path()).is_empty(), "nothing was folded");
    directory
}

#[track_caller]
fn does_not_start(directory: &Path) {
    let before = segments(directory);
    // Twice: what the first start leaves must not let the second one on.
    for _ in 0..2 {
        let said = finish(&mut serve(directory), b"").fails(6);
        assert!(said.contains("store.redb"), "{said}");
        assert!(
            segments(directory) == before,
            "a segment was touched: {said}"
        );
    }
}

#[test]
fn a_lost_store_is_not_begun_anew_over_its_segments() {
    let directory = folded();
    fs::remove_file(directory.path().join("store.redb")).expect("removed");
    fs::remove_file(directory.path().join("journal.log")).expect("removed");
    does_not_start(directory.path());
}

#[test]
fn a_store_of_zeros_is_not_begun_anew_over_its_segments() {
    let directory = folded();
    fs::write(directory.path().join("store.redb"), [0; 8192]).expect("written");
    fs::remove_file(directory.path().join("journal.log")).expect("removed");
    does_not_start(directory.path());
}
