//! Each client verb against a broker process: what it prints, and how it ends.

use std::process::Stdio;

use super::support::{Broker, Following, run};

#[test]
fn a_stream_is_created_filled_read_closed_and_deleted() {
    let broker = Broker::start();
    assert_eq!(broker.run(&["create", "a"]).ok(), "created\n");
    assert_eq!(broker.run(&["create", "a"]).ok(), "exists\n");
    assert_eq!(
        broker
            .feed(&["append", "a", "--lines"], "one\ntwo\r\nthree")
            .ok(),
        "appended 3, tail 3\n"
    );
    assert_eq!(broker.run(&["read", "a"]).ok(), "one\ntwo\nthree\n");
    assert_eq!(
        broker.run(&["read", "a", "--from", "1", "--max", "1"]).ok(),
        "two\n"
    );
    assert_eq!(broker.run(&["read", "a", "--from", "now"]).ok(), "");
    assert_eq!(
        broker.run(&["read", "a", "--from", "1h"]).ok(),
        "one\ntwo\nthree\n"
    );
    assert_eq!(broker.run(&["close", "a"]).ok(), "closed at 3\n");
    assert_eq!(broker.run(&["close", "a"]).ok(), "closed at 3\n");
    assert_eq!(broker.run(&["rm", "a"]).ok(), "");
    broker.run(&["stat", "a"]).fails(4);
}

#[test]
fn without_lines_the_whole_of_stdin_or_each_file_is_one_record() {
    let broker = Broker::start();
    let file = |name: &str, content: &[u8]| {
        let path = broker.directory.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.to_str().expect("a UTF-8 path").to_owned()
    };
    let (first, second) = (file("first", b"x\ny\n"), file("second", b"\xff\x00"));
    broker
        .feed(&["append", "a", "--create"], "line\nline\n")
        .ok();
    let appended = broker
        .run(&["append", "a", &first, &second, "--create", "--json"])
        .json();
    assert_eq!(
        (&appended["records"], &appended["tail"]),
        (&2.into(), &3.into())
    );
    let lines = broker.run(&["read", "a", "--json"]).ok();
    let records: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect();
    assert_eq!(records[0]["payload"], "line\nline\n");
    assert_eq!(records[1]["payload"], "x\ny\n");
    assert_eq!(records[2]["payload_base64"], "/wA=");
    assert_eq!(records[2]["offset"], 2);
    assert_eq!(
        records[2]["text_offset"],
        "0000000000000002_0000000000000014"
    );
    assert!(
        records[2]["time"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z'))
    );
    // A text offset is good for --from as well.
    let from = [
        "read",
        "a",
        "--from",
        "0000000000000001_0000000000000010",
        "--max",
        "1",
    ];
    assert_eq!(broker.run(&from).ok(), "x\ny\n\n");
}

#[test]
fn a_large_input_is_appended_and_read_back_whole_and_in_order() {
    let broker = Broker::start();
    let lines: Vec<String> = (0..200_000).map(|n| format!("record {n}")).collect();
    let input = lines.join(
        "
",
    ) + "
";
    broker.run(&["create", "a"]).ok();
    assert_eq!(
        broker.feed(&["append", "a", "-l"], &input).ok(),
        "appended 200000, tail 200000\n"
    );
    assert!(broker.run(&["read", "a"]).ok() == input);
    assert!(
        broker
            .run(&["tail", "a", "--from", "start", "-n", "200000"])
            .ok()
            == input
    );
}

#[test]
fn conditions_make_one_batch_that_is_stored_whole_or_not_at_all() {
    let broker = Broker::start();
    broker.run(&["create", "a"]).ok();
    let appended = broker
        .feed(
            &["append", "a", "--lines", "--expected-tail", "0"],
            "1\n2\n",
        )
        .ok();
    assert_eq!(appended, "appended 2, tail 2\n");
    let stderr = broker
        .feed(&["append", "a", "--lines", "--expected-tail", "0"], "3\n")
        .fails(1);
    assert!(stderr.contains("TAIL_MISMATCH"), "{stderr}");
    broker.feed(&["append", "a", "--seq", "b"], "3").ok();
    let stderr = broker.feed(&["append", "a", "--seq", "a"], "4").fails(1);
    assert!(stderr.contains("SEQ_CONFLICT"), "{stderr}");
    let closed = broker
        .feed(&["append", "a", "--seq", "c", "--close", "--json"], "4")
        .json();
    assert_eq!(closed["closed"], true);
    assert_eq!(broker.run(&["read", "a"]).ok(), "1\n2\n3\n4\n");
    let stderr = broker.feed(&["append", "a"], "5").fails(1);
    assert!(stderr.contains("STREAM_CLOSED"), "{stderr}");
}

#[test]
fn a_producer_epoch_is_used_once_and_fences_lower_ones() {
    let broker = Broker::start();
    broker.run(&["create", "a"]).ok();
    let append = |epoch: &str| {
        broker.feed(
            &[
                "append",
                "a",
                "--lines",
                "--producer",
                "p",
                "--epoch",
                epoch,
            ],
            "1\n2\n",
        )
    };
    append("1").ok();
    append("2").ok();
    let stderr = append("1").fails(1);
    assert!(stderr.contains("PRODUCER_FENCED"), "{stderr}");
    append("2").fails(1);
    assert_eq!(broker.run(&["stat", "a", "--json"]).json()["tail"], 4);
}

#[test]
fn create_passes_its_options_on_and_stat_shows_them() {
    let broker = Broker::start();
    let create = [
        "create",
        "a",
        "--content-type",
        "application/json",
        "--ttl",
        "2h",
        "--max-age",
        "7d",
        "--max-records",
        "10",
        "--max-bytes",
        "1MiB",
        "--memory",
    ];
    assert_eq!(broker.run(&create).ok(), "created\n");
    let stat = broker.run(&["stat", "a", "--json"]).json();
    assert_eq!(stat["content_type"], "application/json");
    assert_eq!(stat["storage"], "memory");
    assert_eq!(stat["ttl_seconds"], 7200.0);
    assert_eq!(stat["max_age_seconds"], 604_800.0);
    assert_eq!(stat["max_records"], 10);
    assert_eq!(stat["max_bytes"], 1_048_576);
    let text = broker.run(&["stat", "a"]).ok();
    assert!(text.starts_with("stream           a\n"), "{text}");
    let stderr = broker.run(&["create", "a"]).fails(1);
    assert!(stderr.contains("ALREADY_EXISTS"), "{stderr}");
    let stderr = broker.feed(&["append", "a"], "no json").fails(1);
    assert!(stderr.contains("INVALID_JSON"), "{stderr}");
    broker
        .run(&[
            "create",
            "b",
            "--ttl",
            "2h",
            "--expires-at",
            "2099-01-01T00:00:00Z",
        ])
        .fails(2);
}

#[test]
fn ls_lists_by_prefix_and_rm_takes_several_names() {
    let broker = Broker::start();
    for name in ["logs/a", "logs/b", "orders"] {
        broker.run(&["create", name]).ok();
    }
    broker.run(&["close", "logs/b"]).ok();
    assert_eq!(broker.run(&["ls"]).ok(), "logs/a\nlogs/b\norders\n");
    assert_eq!(broker.run(&["ls", "logs/"]).ok(), "logs/a\nlogs/b\n");
    let long = broker.run(&["ls", "--long", "logs/b"]).ok();
    let words: Vec<&str> = long
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(words, ["0", "0", "closed", "logs/b"]);
    let entry = broker.run(&["ls", "orders", "--json"]).json();
    assert_eq!(
        (&entry["stream"], &entry["closed"]),
        (&"orders".into(), &false.into())
    );
    broker.run(&["rm", "logs/a", "nope"]).fails(4);
    broker
        .run(&["rm", "--force", "nope", "logs/b", "orders"])
        .ok();
    assert_eq!(broker.run(&["ls"]).ok(), "");
}

#[test]
fn tail_follows_and_ends_when_the_stream_is_closed() {
    let broker = Broker::start();
    broker.run(&["create", "a"]).ok();
    broker.feed(&["append", "a"], "before").ok();
    let tail = Following::start(&mut broker.command(&["tail", "a", "--from", "start"]));
    assert_eq!(tail.line().as_deref(), Some("before"));
    // Printed while the command goes on: not only once a buffer is full or at the end.
    broker.feed(&["append", "a"], "after").ok();
    assert_eq!(tail.line().as_deref(), Some("after"));
    broker.run(&["close", "a"]).ok();
    assert_eq!(tail.line(), None);
    assert_eq!(tail.end().0, Some(0));
}

#[test]
fn tail_of_a_stream_that_is_deleted_is_exit_code_4() {
    let broker = Broker::start();
    broker.feed(&["append", "a", "--create"], "x").ok();
    let tail = Following::start(&mut broker.command(&["tail", "a", "--from", "0"]));
    assert_eq!(tail.line().as_deref(), Some("x"));
    broker.run(&["rm", "a"]).ok();
    assert_eq!(tail.end().0, Some(4));
}

#[test]
fn read_waits_for_a_record_when_told_to() {
    let broker = Broker::start();
    broker.run(&["create", "a"]).ok();
    assert_eq!(broker.run(&["read", "a", "--wait", "10ms"]).ok(), "");
    let read = Following::start(&mut broker.command(&["read", "a", "--wait", "1m"]));
    // Whether the append comes before or after the read begins to wait, the read must see it.
    broker.feed(&["append", "a"], "x").ok();
    assert_eq!(read.line().as_deref(), Some("x"));
    assert_eq!(read.end().0, Some(0));
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let broker = Broker::start();
    let input = "a line that is long enough\n".repeat(100_000);
    broker
        .feed(&["append", "a", "--create", "--lines"], &input)
        .ok();
    let mut read = broker
        .command(&["read", "a"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(read.stdout.take());
    let output = read.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn exit_codes_tell_the_failures_apart() {
    let broker = Broker::start();
    let stderr = broker.run(&["read", "nope"]).fails(4);
    assert!(
        stderr.contains("NOT_FOUND") && stderr.contains("streamkeeper ls"),
        "{stderr}"
    );
    broker.run(&["tail", "nope"]).fails(4);
    broker.feed(&["append", "nope"], "x").fails(4);
    broker.run(&["create", ""]).fails(1);
    broker.run(&["read"]).fails(2);
    broker.run(&["read", "a", "--from", "yesterday"]).fails(2);
    broker.run(&["append", "a", "--producer", "p"]).fails(2);
    let stderr = run(&["ls", "--server", "127.0.0.1:1"]).fails(3);
    assert!(stderr.contains("streamkeeper serve"), "{stderr}");
    run(&["ls", "--server", "nonsense"]).fails(2);
    broker.run(&["create", "a"]).ok();
    broker.run(&["append", "a", "/nonexistent"]).fails(6);
    let stderr = broker
        .feed(&["append", "a"], vec![b'x'; (1 << 20) + 1])
        .fails(1);
    assert!(stderr.contains("--lines"), "{stderr}");
    broker.run(&["read", "a", "--from", "7"]).fails(1);
}

#[test]
fn a_token_is_asked_for_and_accepted() {
    let broker = Broker::start_with(&["--auth-token", "secret,other"]);
    let stderr = broker.run(&["ls"]).fails(1);
    assert!(stderr.contains("STREAMKEEPER_TOKEN"), "{stderr}");
    let stderr = broker.run(&["ls", "--token", "wrong"]).fails(1);
    assert!(stderr.contains("UNAUTHORIZED"), "{stderr}");
    broker.run(&["ls", "--token", "secret"]).ok();
    broker.run(&["ls", "--token", "other"]).ok();
}
