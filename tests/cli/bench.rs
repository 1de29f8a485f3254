//! Every workload runs against a broker it starts itself, and its numbers add up.

use std::time::Duration;

use super::support::{Broker, run};

/// A run that is long enough on most machines.
const SHORT: Duration = Duration::from_millis(300);

/// In a run of this length all is seen.
const LONG: Duration = Duration::from_secs(10);

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

#[track_caller]
fn number(report: &serde_json::Value, pointer: &str) -> f64 {
    let found = report.pointer(pointer).and_then(serde_json::Value::as_f64);
    assert!(found.is_some(), "no number at {pointer}: {report}");
    found.unwrap_or_default()
}

/// The report of a run that is long enough for this machine: one in which all is seen, or the longest.
fn long_enough(
    run: impl Fn(&str) -> serde_json::Value,
    is_seen: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    let mut time = SHORT;
    loop {
        let report = run(&format!("{}ms", time.as_millis()));
        if time >= LONG || is_seen(&report) {
            return report;
        }
        time *= 2;
    }
}

/// Whether there is a number above `least` at each of `pointers`.
fn all_above(least: f64, report: &serde_json::Value, pointers: &[String]) -> bool {
    let above = |pointer: &String| number(report, pointer) > least;
    pointers.iter().all(above)
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
fn streams_in_memory_take_more_than_a_broker_holds_of_them() {
    // 80 MiB, where the broker refuses more than 64.
    let large = ["--memory", "--record-bytes", "65536", "--count", "1280"];
    let few = ["--connections", "2"];
    let ways: [&[&str]; 2] = [&["--in-flight", "16"], &["--producer"]];
    for way in ways {
        let report = bench("append", &[&large[..], &few, way].concat());
        assert_eq!(report["phases"][0]["count"], 1280, "{report}");
    }
    let report = bench_of(&["http", "append"], &[&large[..], &few].concat());
    assert_eq!(report["phases"][0]["count"], 1280, "{report}");
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
    for raw in [&[][..], &["--raw", "."]] {
        let report = bench("serial", &[&["--count", "20"], raw].concat());
        assert_eq!(report["phases"][0]["count"], 20);
        let (sync, round_trip) = (
            number(&report, "/facts/raw_write_and_sync_p50"),
            number(&report, "/facts/raw_round_trip_p50"),
        );
        let append = number(&report, "/phases/0/latency_seconds/p50");
        let ratio = number(&report, "/facts/append_to_raw_ratio");
        assert!(sync > 0.0 && round_trip > 0.0, "{report}");
        let expected = append / (sync + round_trip);
        assert!((ratio / expected - 1.0).abs() < 0.01, "{report}");
    }
}

#[test]
fn neighbours_are_compared_with_being_alone() {
    let quiet = ["idle", "stalled"];
    let busy = [
        "large",
        "mixed",
        "producers",
        "pipelines",
        "streams",
        "crowd",
    ];
    let phases = 0..=quiet.len() + busy.len();
    let counts: Vec<_> = phases.map(|n| format!("/phases/{n}/count")).collect();
    let speeds = busy.map(|neighbour| format!("/facts/{neighbour}_records_per_second"));
    let few = "--lead 100ms --connections 20 --subscribers 20 --streams 20 --duration";
    let measure = |time: &str| {
        let arguments: Vec<_> = few.split(' ').chain([time]).collect();
        bench("neighbours", &arguments)
    };
    let report = long_enough(measure, |report| {
        all_above(1.0, report, &counts) && all_above(0.0, report, &speeds)
    });
    assert!(all_above(1.0, &report, &counts), "{report}");
    assert!(all_above(0.0, &report, &speeds), "{report}");
    let p99 = |phase: usize| number(&report, &format!("/phases/{phase}/latency_seconds/p99"));
    for (phase, neighbour) in quiet.into_iter().chain(busy).enumerate() {
        let ratio = number(&report, &format!("/facts/{neighbour}_p99_over_alone"));
        let expected = p99(phase + 1) / p99(0);
        assert!((ratio / expected - 1.0).abs() < 0.01, "{report}");
    }
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
    assert_eq!(report["phases"][1]["count"], 8192, "from the cache");
    assert_eq!(report["phases"][2]["count"], 8192, "from the disk");
    for (from, unit) in [
        ("cache", "records read, cached"),
        ("disk", "records read, from disk"),
    ] {
        let report = bench("catch-up", &["--bytes", "64KiB", "--from", from]);
        assert_eq!(report["phases"][1]["unit"], unit);
        assert_eq!(report["phases"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn streams_makes_them_all() {
    let report = bench("streams", &["--streams", "300", "--connections", "3"]);
    assert_eq!(report["phases"][0]["count"], 300);
    assert_eq!(report["phases"][1]["count"], 300);
    let both = number(&report, "/facts/create_and_append");
    let each = |phase| number(&report, &format!("/phases/{phase}/seconds"));
    assert!((both - each(0) - each(1)).abs() < 1e-6, "{report}");
}

#[test]
fn append_fills_the_store_first_and_counts_only_what_comes_after() {
    let counted = ["--count", "100", "--streams", "2", "--prefill", "1MiB"];
    let report = bench("append", &counted);
    assert_eq!(report["phases"][0]["count"], 100);
    assert!(number(&report, "/broker/usage/data_bytes") > f64::from(1 << 20));
}

#[test]
fn connections_are_opened_and_weighed() {
    let report = bench("connections", &["--connections", "50", "--settle", "1ms"]);
    assert_eq!(report["phases"][0]["count"], 50);
    assert!(
        number(&report, "/facts/memory_per_connection_bytes") > 0.0,
        "{report}"
    );
}

#[test]
fn start_tells_when_the_broker_serves_empty_and_filled() {
    let report = bench("start", &["--settle", "1ms"]);
    let ready = number(&report, "/facts/ready");
    assert!(ready > 0.0, "{report}");
    assert_eq!(
        report.pointer("/facts/ready"),
        report.pointer("/broker/usage/ready_seconds")
    );
    assert!(number(&report, "/facts/idle_rss_bytes") > 0.0, "{report}");

    let filled = ["--streams", "300", "--touched", "30", "--settle", "1ms"];
    let report = bench("start", &filled);
    assert_eq!(report["phases"][0]["count"], 30, "first appends");
    assert_eq!(report["phases"][1]["count"], 30, "next appends");
    for fact in ["ready_after_drain", "ready_after_kill"] {
        assert!(number(&report, &format!("/facts/{fact}")) > 0.0, "{report}");
    }
}

#[test]
fn start_over_a_filled_store_tells_what_the_kill_left_and_what_came_after() {
    let counts = [1, 2].map(|phase| format!("/phases/{phase}/count"));
    for streams in ["3", "500"] {
        let small = ["--fill", "8MiB", "--streams", streams, "--lead"];
        let measure = |time: &str| bench("start", &[&small[..], &[time]].concat());
        let report = long_enough(measure, |report| all_above(0.0, report, &counts));
        assert_eq!(report["parameters"]["streams"].to_string(), streams);
        let count = |phase: usize| number(&report, &format!("/phases/{phase}/count"));
        assert!(count(0) >= f64::from((8 << 20) / 256), "filled: {report}");
        assert!(all_above(0.0, &report, &counts), "{report}");
        let fact = |name: &str| number(&report, &format!("/facts/{name}"));
        let all = fact("store_bytes") + fact("journal_bytes");
        assert!(all > f64::from(8 << 20), "{report}");
        assert!(fact("replayed_bytes") > 0.0, "{report}");
        assert!(fact("replayed_bytes") <= fact("journal_bytes"), "{report}");
        assert!(fact("ready_after_kill") > 0.0, "{report}");
        assert!(
            fact("ready_rss_bytes_peak") > f64::from(1 << 20),
            "{report}"
        );
        let speed = |phase: usize| number(&report, &format!("/phases/{phase}/per_second"));
        let kept = fact("write_speed_kept") / (speed(2) / speed(1));
        assert!((kept - 1.0).abs() < 0.01, "{report}");
        let told = report["facts"]["readyz"].as_array().expect("the states");
        let told: Vec<_> = told.iter().filter_map(|state| state.as_str()).collect();
        let (last, before) = told.split_last().expect("at least one");
        assert_eq!(*last, "ready", "{report}");
        assert!(
            before.iter().all(|state| state.starts_with("starting: ")),
            "{report}"
        );
    }
}

#[test]
fn a_workload_that_restarts_its_broker_refuses_one_that_was_named() {
    let broker = Broker::start();
    for workload in [
        &["start"][..],
        &["catch-up", "--bytes", "1KiB", "--from", "disk"],
    ] {
        let ran = broker.run(&[&["bench"], workload, &["--server", &broker.address]].concat());
        let stderr = ran.fails(2);
        assert!(stderr.contains("--server"), "{stderr}");
    }
}

#[test]
fn rounds_are_told_by_their_medians() {
    let report = bench("append", &["--count", "200", "--rounds", "3"]);
    assert_eq!(report["rounds"], 3);
    assert_eq!(report["phases"][0]["count"], 200);
    let text = run(&["bench", "append", "--count", "200", "--rounds", "2"]).ok();
    assert!(text.contains("medians of 2 rounds"), "{text}");
}

#[test]
fn growth_compares_what_a_record_costs_where_there_is_more() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let dir = directory.path().to_str().expect("a UTF-8 path");
    let tiny = "--most 10 --rate 2000 --rounds 1 --store 64KiB --json --duration";
    let measure = |time: &str| {
        let tiny: Vec<_> = tiny.split(' ').chain([time, "--dir", dir]).collect();
        run(&[&["bench", "growth"], &tiny[..]].concat()).json()
    };
    let dimensions = ["streams", "connections", "store"];
    let costs = dimensions.map(|dimension| {
        [0, 1].map(|n| format!("/dimensions/{dimension}/steps/{n}/broker_cpu_per_record"))
    });
    // The system counts processor time in ticks of 10 ms.
    let report = long_enough(measure, |report| {
        all_above(0.0, report, costs.as_flattened())
    });
    for (dimension, at) in [
        ("streams", vec!["1", "10"]),
        ("connections", vec!["1", "10"]),
        ("store", vec!["0B", "64KiB"]),
    ] {
        let grown = &report["dimensions"][dimension];
        let steps = grown["steps"].as_array().expect("steps");
        let found: Vec<_> = steps
            .iter()
            .filter_map(|step| step["at"].as_str())
            .collect();
        assert_eq!(found, at, "{report}");
        for step in steps {
            assert!(number(step, "/broker_cpu_per_record") > 0.0, "{report}");
        }
        assert!(number(grown, "/dearest_over_cheapest") >= 1.0, "{report}");
    }
}

#[test]
fn all_compares_every_row_with_its_goal() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let dir = directory.path().to_str().expect("a UTF-8 path");
    let report = run(&["bench", "all", "--small", "--json", "--dir", dir]).json();
    let figures = report["figures"].as_array().expect("figures");
    let rows: std::collections::BTreeSet<_> = figures
        .iter()
        .filter_map(|figure| figure["row"].as_str())
        .collect();
    assert_eq!(rows.len(), 17, "{rows:?}");
    for figure in figures {
        assert!(
            figure["value"].is_number() && figure["goal"].is_number(),
            "{figure}"
        );
        assert!(figure["met"].is_boolean(), "{figure}");
    }
    let missing: Vec<_> = figures
        .iter()
        .filter(|figure| figure["figure"] == "missing")
        .collect();
    assert_eq!(missing.len(), 2);
    assert!(
        missing.iter().all(|figure| figure["met"] == true),
        "{missing:?}"
    );

    let text = run(&["bench", "all", "--small", "--only", "start", "--dir", dir]).ok();
    for part in ["streamkeeper bench start", "goal: at most", "memory"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let left = std::fs::read_dir(directory.path())
        .expect("readable")
        .count();
    assert_eq!(left, 0, "the data of the started brokers stays behind");
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
