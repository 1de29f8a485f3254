//! Every workload runs against a broker it starts itself, and its numbers add up.

use super::support::{Broker, run};

#[track_caller]
fn bench(workload: &str, arguments: &[&str]) -> serde_json::Value {
    bench_of(&[workload], arguments)
}

#[track_caller]
fn bench_of(workload: &[&str], arguments: &[&str]) -> serde_json::Value {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let dir = directory.path().to_str().expect("a UTF-8 path");
    let common = ["--dir", dir, "--json"];
    let report = run(&[&["bench"], workload, &common, arguments].concat()).json();
    let rss = report
        .pointer("/broker/usage/rss_bytes_after")
        .and_then(serde_json::Value::as_u64);
    assert!(rss > Some(0), "{report}");
    let left = std::fs::read_dir(directory.path())
        .expect("readable")
        .count();
    assert_eq!(left, 0, "the data of the started broker stays behind");
    report
}

#[test]
fn append_counts_every_record_in_each_of_its_ways() {
    let ways: [&[&str]; 3] = [&[], &["--producer"], &["--batch", "10", "--in-flight", "8"]];
    for (way, records) in ways.into_iter().zip([2000, 2000, 20_000]) {
        let report = bench(
            "append",
            &[&["--count", "2000", "--connections", "2"], way].concat(),
        );
        assert_eq!(report["phases"][0]["count"], records, "{report}");
        assert!(
            report["phases"][0]["latency_seconds"]["p99"].as_f64() > Some(0.0),
            "{report}"
        );
    }
}

#[test]
fn append_keeps_to_its_rate() {
    let report = bench(
        "append",
        &["--count", "300", "--rate", "1000", "--connections", "1"],
    );
    let rate = report["phases"][0]["per_second"].as_f64().expect("a rate");
    assert!(rate < 1100.0, "{report}");
}

#[test]
fn serial_compares_itself_with_the_raw_machine() {
    let report = bench("serial", &["--count", "100", "--raw", "."]);
    assert_eq!(report["phases"][0]["count"], 100);
    assert!(
        report["facts"]["append_to_raw_ratio"].as_f64() > Some(0.0),
        "{report}"
    );
}

#[test]
fn deliver_misses_nothing() {
    let report = bench(
        "deliver",
        &[
            "--subscribers",
            "5",
            "--connections",
            "2",
            "--count",
            "500",
            "--rate",
            "0",
        ],
    );
    assert_eq!(report["phases"][0]["count"], 2500, "{report}");
    assert_eq!(report["facts"]["missing"], 0);
    assert_eq!(report["facts"]["out_of_order"], 0);
}

#[test]
fn catch_up_reads_all_it_wrote() {
    let report = bench(
        "catch-up",
        &["--bytes", "1MiB", "--subscribers", "2", "--unix"],
    );
    assert_eq!(report["phases"][0]["count"], 4096);
    assert_eq!(report["phases"][1]["count"], 8192);
}

#[test]
fn streams_makes_them_all() {
    let report = bench("streams", &["--streams", "300", "--connections", "3"]);
    assert_eq!(report["phases"][0]["count"], 300);
    assert_eq!(report["phases"][1]["count"], 300);
}

#[test]
fn http_append_counts_every_record_with_and_without_pipelining() {
    for pipeline in ["1", "4"] {
        let counted = ["--count", "600", "--streams", "10", "--connections", "4"];
        let arguments = [&counted[..], &["--pipeline", pipeline]].concat();
        let report = bench_of(&["http", "append"], &arguments);
        assert_eq!(report["phases"][0]["count"], 600, "{report}");
        let p99 = report["phases"][0]["latency_seconds"]["p99"].as_f64();
        assert!(p99 > Some(0.0), "{report}");
    }
}

#[test]
fn http_sse_misses_nothing() {
    let counted = ["--readers", "20", "--count", "100", "--rate", "500"];
    let report = bench_of(&["http", "sse"], &counted);
    assert_eq!(report["phases"][0]["count"], 2000, "{report}");
    assert_eq!(report["phases"][1]["count"], 100, "{report}");
    assert_eq!(report["facts"]["missing"], 0);
    assert_eq!(report["facts"]["out_of_order"], 0);
}

#[test]
fn http_workloads_delete_their_streams_from_a_broker_that_was_named() {
    let broker = Broker::start();
    broker.run(&["create", "mine"]).ok();
    for (workload, scale) in [("append", "--streams"), ("sse", "--readers")] {
        let counted = ["--count", "20", scale, "5", "--server", &broker.http];
        broker
            .run(&[&["bench", "http", workload], &counted[..]].concat())
            .ok();
    }
    assert_eq!(broker.run(&["ls"]).ok(), "mine\n");
    let stderr = run(&["bench", "http", "append", "--unix"]).fails(2);
    assert!(stderr.contains("--unix"), "{stderr}");
}

#[test]
fn the_table_shows_rates_percentiles_and_a_plot() {
    let text = run(&["bench", "--count", "500"]).ok();
    for part in [
        "records confirmed",
        "/s",
        "p99.9",
        "max",
        "█",
        "broker memory",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn arguments_after_two_dashes_go_to_the_started_broker() {
    bench(
        "append",
        &["--count", "10", "--", "--queue-bytes-max", "4MiB"],
    );
    let stderr = run(&["bench", "--count", "10", "--", "--no-such-flag"]).fails(6);
    assert!(stderr.contains("--no-such-flag"), "{stderr}");
}

#[test]
fn a_broker_that_was_named_is_left_as_it_was() {
    let broker = Broker::start();
    broker.run(&["create", "mine"]).ok();
    let report = broker.run(&[
        "bench",
        "append",
        "--count",
        "100",
        "--server",
        &broker.address,
        "--json",
    ]);
    assert_eq!(
        report.json().pointer("/broker/usage"),
        Some(&serde_json::Value::Null)
    );
    assert_eq!(broker.run(&["ls"]).ok(), "mine\n");
}
