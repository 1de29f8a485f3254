//! The tools asked of a broker that serves, under load.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use streamkeeper::broker::Broker;
use streamkeeper::storage::Storage;
use tempfile::tempdir;

use crate::load::{KEPT, Load};
use crate::served;
use crate::support::{
    DEADLINE, Ran, append, http_client, name, on, options, payload, program, read,
};

/// What was confirmed at a moment.
struct Confirmed {
    pairs: Vec<[u64; 2]>,
    churned: u64,
}

impl Confirmed {
    fn of(load: &Load) -> Self {
        let pairs = load.streams.iter();
        let confirmed = |written: &crate::load::Written| written.confirmed.load(Ordering::SeqCst);
        Self {
            pairs: pairs
                .map(|[first, second]| [confirmed(first), confirmed(second)])
                .collect(),
            churned: load.churned.load(Ordering::SeqCst),
        }
    }
}

fn ask(tool: &str, broker: &served::Broker, arguments: &[&str]) -> Ran {
    let mut command = program();
    let url = format!("http://{}", broker.http);
    command.args([tool, "--url", &url]).args(arguments);
    Ran::from(command.output().expect("the program runs"))
}

/// Waits until every writer has this many more records confirmed.
async fn more(load: &Load, records: u64) {
    let from = Confirmed::of(load);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let now = Confirmed::of(load);
        let pairs = now.pairs.iter().zip(&from.pairs);
        if pairs.clone().all(|(now, from)| now[1] >= from[1] + records)
            && now.churned >= from.churned + 2
        {
            return;
        }
        assert!(Instant::now() < deadline, "the load does not go on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_a_prefix_of_the_history_with_all_that_was_confirmed_before() {
    let broker = served::Broker::start(&["--fold-bytes", "256KiB"]);
    let load = Load::start(&broker.tcp, &broker.http).await;
    let kept = tempdir().expect("a temporary directory");
    let mut taken = Vec::new();
    for round in 0..4 {
        more(&load, 40).await;
        let before = Confirmed::of(&load);
        let file = kept.path().join(format!("backup-{round}"));
        let target = file.to_str().expect("text").to_owned();
        let ran = tokio::task::block_in_place(|| ask("backup", &broker, &["--output", &target]));
        ran.ends_with(0);
        let sent = |written: &crate::load::Written| written.sent.load(Ordering::SeqCst);
        let pairs = load.streams.iter();
        let after: Vec<[u64; 2]> = pairs.map(|[a, b]| [sent(a), sent(b)]).collect();
        taken.push((file, before, after));
    }
    let streams = std::sync::Arc::clone(&load.streams);
    load.stop().await;
    drop(broker);
    for (file, before, after) in taken {
        let directory = tempdir().expect("a temporary directory");
        let ran = on(directory.path(), &["restore", file.to_str().expect("text")]);
        ran.ends_with(0);
        on(directory.path(), &["check"]).ends_with(0);
        let restored = Broker::open(options(directory.path()))
            .await
            .expect("opens");
        let pairs = streams.iter().zip(&before.pairs).zip(&after);
        for (([first, second], before), after) in pairs {
            let mut tails = [0; 2];
            for (index, written) in [first, second].into_iter().enumerate() {
                let tail = holds(&restored, &written.stream, written.trimmed.then_some(KEPT)).await;
                let least = *before.get(index).expect("one of two");
                let most = *after.get(index).expect("one of two");
                assert!(
                    tail >= least,
                    "{}: {tail}, {least} confirmed",
                    written.stream
                );
                assert!(tail <= most, "{}: {tail}, {most} sent", written.stream);
                *tails.get_mut(index).expect("one of two") = tail;
                // The producer goes on where it was.
                append(&restored, &written.stream, tail).await;
            }
            assert!(tails[1] <= tails[0], "one moment of both: {tails:?}");
        }
        churned(&restored, before.churned).await;
        restored.close_all().await;
        on(directory.path(), &["check"]).ends_with(0);
    }
}

/// Reads a stream: each record is the one that was written there, and of a trimmed one the newest are kept. Answers its tail.
async fn holds(broker: &Broker, stream: &str, kept: Option<u64>) -> u64 {
    let (first, records) = read(broker, stream).await;
    let count = u64::try_from(records.len()).expect("few");
    for (offset, record) in (first..).zip(&records) {
        assert!(*record == payload(stream, offset), "{stream} at {offset}");
    }
    let tail = first + count;
    assert_eq!(first, tail - kept.unwrap_or(tail).min(tail), "{stream}");
    tail
}

/// Streams that were done with before the backup began are as they were left.
async fn churned(broker: &Broker, before: u64) {
    for number in 0..before {
        let (stream, fork) = (format!("churn/{number}"), format!("fork/{number}"));
        let written: Vec<_> = (0..4).map(|offset| payload(&stream, offset)).collect();
        if number % 3 == 1 {
            let gone = broker.get_metadata(&name(&stream)).await;
            assert!(gone.is_err(), "{stream} was deleted");
        } else {
            assert_eq!(read(broker, &stream).await, (0, written.clone()));
            let about = broker
                .get_metadata(&name(&stream))
                .await
                .expect("it is there");
            assert_eq!(about.closed, number % 3 == 0, "{stream}");
        }
        if number % 3 == 2 {
            let gone = broker.get_metadata(&name(&fork)).await;
            assert!(gone.is_err(), "{fork} was deleted");
        } else {
            assert_eq!(read(broker, &fork).await, (0, written));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_under_load_checks_itself() {
    let broker = served::Broker::start(&["--fold-bytes", "256KiB"]);
    let load = Load::start(&broker.tcp, &broker.http).await;
    for _ in 0..3 {
        more(&load, 30).await;
        let ran = tokio::task::block_in_place(|| ask("check", &broker, &["--json"]));
        let ran = ran.ends_with(0);
        let report = ran.json().pop().expect("a last line");
        let report = report.get("report").expect("which is the report");
        let streams = report.get("streams").and_then(serde_json::Value::as_u64);
        assert!(streams >= Some(8), "{report}");
    }
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_for_programs_that_show_the_token() {
    let broker = served::Broker::start(&["--auth-token", "secret"]);
    for tool in ["check", "backup"] {
        let refused = ask(tool, &broker, &[]).ends_with(2);
        assert!(refused.stderr.contains("401"), "{}", refused.stderr);
        ask(tool, &broker, &["--token", "secret"]).ends_with(0);
        let request = http_client().post(format!("http://{}/tools/{tool}", broker.http));
        let request = request.bearer_auth("secret").header("origin", "http://x");
        let status = request.send().await.expect("answered").status();
        assert_eq!(status, 403, "{tool}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_no_backup() {
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("backup");
    let mut command = program();
    command.args(["backup", "--url", "http://127.0.0.1:1", "--output"]);
    command.arg(&file);
    Ran::from(command.output().expect("the program runs")).ends_with(2);
    assert!(!Path::new(&file).exists());
}
