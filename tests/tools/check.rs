//! `streamkeeper check` finds what is damaged, says where, and changes nothing.

use std::fs;

use serde_json::{Value, json};
use streamkeeper::broker::Broker;

use crate::support::{Killed, Ran, copy, files, flip_in, on, options, segments};

/// What is said about each problem.
fn problems(ran: &Ran) -> Vec<Value> {
    let lines = ran.json();
    let problems = lines.iter().filter_map(|line| line.get("problem"));
    problems.cloned().collect()
}

fn report(ran: &Ran) -> Value {
    let last = ran.json().pop().expect("a last line");
    last.get("report").cloned().expect("which is the report")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_a_killed_broker_left_is_whole_and_stays_as_it_is() {
    let killed = Killed::new().await;
    let before = files(killed.path());
    let ran = on(killed.path(), &["check", "--json"]).ends_with(0);
    assert_eq!(problems(&ran), Vec::<Value>::new());
    let report = report(&ran);
    assert_eq!(report.get("streams"), Some(&json!(8)), "{report}");
    assert_eq!(report.get("forks"), Some(&json!(2)), "{report}");
    let rows = report.get("journal_rows").and_then(Value::as_u64);
    assert!(rows >= Some(40), "{report}");
    assert!(files(killed.path()) == before, "a check writes nothing");
    let text = on(killed.path(), &["check"]).ends_with(0);
    assert!(text.stdout.starts_with(b"whole: 8 streams"), "{text:?}");
    let broker = Broker::open(options(killed.path())).await.expect("opens");
    broker.close_all().await;
    on(killed.path(), &["check"]).ends_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_in_a_segment_is_found_by_stream_and_offset() {
    let killed = Killed::new().await;
    let flipped = segments(killed.path());
    let flipped = flipped
        .iter()
        .map(|file| flip_in(file, b"plain#33;plain#33;"));
    assert!(flipped.sum::<usize>() > 0, "record 33 is in a segment");
    let ran = on(killed.path(), &["check", "--json"]).ends_with(1);
    let found = problems(&ran);
    assert_eq!(found.len(), 1, "{found:?}");
    let problem = found.first().expect("one");
    assert_eq!(problem.get("stream"), Some(&json!("plain")));
    assert_eq!(problem.get("offset"), Some(&json!(33)));
    let text = on(killed.path(), &["check"]).ends_with(1);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("stream plain (id 1), offset 33: "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_in_the_journal_is_found_by_stream_and_offset() {
    let killed = Killed::new().await;
    let journal = killed.file("journal.log");
    assert!(flip_in(&journal, b"trimmed#65;trimmed#65;") > 0);
    let ran = on(killed.path(), &["check", "--json"]).ends_with(1);
    let found = problems(&ran);
    let named = found.iter().any(|problem| {
        problem.get("stream") == Some(&json!("trimmed"))
            && problem.get("offset") == Some(&json!(65))
            && problem.get("file") == Some(&json!("journal.log"))
            && problem.to_string().contains("does not match its checksum")
    });
    assert!(named, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_in_the_store_is_found() {
    let killed = Killed::new().await;
    assert!(flip_in(&killed.file("store.redb"), b"closed") > 0);
    let ran = on(killed.path(), &["check", "--json"]).ends_with(1);
    let found = problems(&ran);
    let page = |problem: &Value| problem.get("stream_id").is_none();
    assert!(found.iter().any(page), "redb's own checksums: {found:?}");
    let state = |problem: &&Value| problem.get("stream_id") == Some(&json!(3));
    assert!(found.iter().any(|p| state(&p)), "the state's: {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_cut_or_gone_are_found() {
    let killed = Killed::new().await;
    for segment in segments(killed.path()) {
        let cut = copy(killed.path());
        let name = segment.file_name().expect("a name");
        let file = fs::OpenOptions::new()
            .write(true)
            .open(cut.path().join(name))
            .expect("it can be opened");
        let bytes = file.metadata().expect("readable").len();
        file.set_len(bytes / 2).expect("it can be cut");
        let ran = on(cut.path(), &["check", "--json"]).ends_with(1);
        let found = problems(&ran);
        let named = |problem: &Value| problem.get("offset").is_some();
        assert!(found.iter().any(named), "{found:?}");
        fs::remove_file(cut.path().join(name)).expect("it can be removed");
        on(cut.path(), &["check"]).ends_with(1);
    }
    fs::remove_file(killed.file("journal.log")).expect("it can be removed");
    on(killed.path(), &["check"]).ends_with(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_and_one_that_is_not_there_cannot_be_checked() {
    let killed = Killed::new().await;
    let broker = Broker::open(options(killed.path())).await.expect("opens");
    let ran = on(killed.path(), &["check"]).ends_with(2);
    assert!(ran.stderr.contains("in use"), "{}", ran.stderr);
    broker.close_all().await;
    on(&killed.file("nowhere"), &["check"]).ends_with(2);
}
