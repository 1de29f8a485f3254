//! What a scrape shows, that upkeep loses nothing, and that two brokers in one process keep their numbers apart.

use super::*;

#[test]
fn every_family_appears_once_under_its_documented_name() {
    let (_metrics, exporter) = Metrics::new();
    let text = exporter.render();
    let families = [
        "connections gauge",
        "connections_accepted_total counter",
        "http_connections gauge",
        "http_requests_total counter",
        "http_body_bytes gauge",
        "http_live_readers gauge",
        "wake_subscriptions gauge",
        "wake_links gauge",
        "wake_deliveries_total counter",
        "sessions gauge",
        "connections_refused_total counter",
        "appends_total counter",
        "append_records_total counter",
        "append_bytes_total counter",
        "confirm_seconds histogram",
        "commit_seconds histogram",
        "commit_bytes histogram",
        "commit_records histogram",
        "fsyncs_total counter",
        "queue_bytes gauge",
        "hot_tail_bytes gauge",
        "subscriptions gauge",
        "delivered_records_total counter",
        "delivered_bytes_total counter",
        "delivery_lag_records histogram",
        "refusals_total counter",
        "trims_total counter",
        "trimmed_records_total counter",
        "trimmed_unread_total counter",
        "failed_reads_total counter",
        "expiries_total counter",
        "store_file_bytes gauge",
        "resident_streams gauge",
        "folds_total counter",
        "fold_seconds histogram",
        "journal_left_out_total counter",
        "journal_replayed_bytes gauge",
        "build_info gauge",
        "ready gauge",
    ];
    for family in families {
        let line = format!("# TYPE streamkeeper_{family}\n");
        assert_eq!(text.matches(&line).count(), 1, "{line}{text}");
    }
    assert_eq!(text.matches("# TYPE ").count(), families.len(), "{text}");
    assert_eq!(text.matches("# HELP ").count(), families.len(), "{text}");
}

#[test]
fn a_handle_shows_in_the_scrape_of_its_own_recorder_only() {
    let (metrics, exporter) = Metrics::new();
    let (_other, other_exporter) = Metrics::new();
    metrics.appends.increment(3);
    metrics.refusals.increment(ErrorCode::NotFound);
    metrics.connections_accepted_unix.increment(2);
    metrics.journal_file_bytes.set(4096);
    let text = exporter.render();
    for line in [
        "\nstreamkeeper_appends_total 3\n",
        "\nstreamkeeper_refusals_total{code=\"NOT_FOUND\"} 1\n",
        "\nstreamkeeper_connections_accepted_total{transport=\"unix\"} 2\n",
        "\nstreamkeeper_connections_accepted_total{transport=\"tcp\"} 0\n",
        "\nstreamkeeper_store_file_bytes{file=\"journal\"} 4096\n",
        "\nstreamkeeper_store_file_bytes{file=\"store\"} 0\n",
        concat!(
            "\nstreamkeeper_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1\n"
        ),
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    let other = other_exporter.render();
    assert!(
        other.contains("\nstreamkeeper_appends_total 0\n"),
        "{other}"
    );
}

#[test]
fn histogram_buckets_are_cumulative_and_bounds_are_inclusive() {
    let (metrics, exporter) = Metrics::new();
    metrics.commit_records.record_count(0);
    metrics.commit_records.record_count(4);
    for _ in 0..10 {
        metrics.commit_records.record_count(5);
    }
    metrics.commit_records.record_count(u64::MAX);
    let text = exporter.render();
    for line in [
        "streamkeeper_commit_records_bucket{le=\"0\"} 1\n",
        "streamkeeper_commit_records_bucket{le=\"1\"} 1\n",
        "streamkeeper_commit_records_bucket{le=\"4\"} 2\n",
        "streamkeeper_commit_records_bucket{le=\"16\"} 12\n",
        "streamkeeper_commit_records_bucket{le=\"1048576\"} 12\n",
        "streamkeeper_commit_records_bucket{le=\"+Inf\"} 13\n",
        "streamkeeper_commit_records_count 13\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn a_sample_is_counted_once_whatever_upkeep_and_scrapes_come_between() {
    let (metrics, exporter) = Metrics::new();
    metrics.fold_seconds.record(0.5);
    exporter.run_upkeep();
    exporter.run_upkeep();
    metrics.fold_seconds.record(0.25);
    exporter.render();
    let text = exporter.render();
    for line in [
        "\nstreamkeeper_fold_seconds_count 2\n",
        "\nstreamkeeper_fold_seconds_sum 0.75\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn a_held_gauge_falls_on_drop() {
    let (metrics, exporter) = Metrics::new();
    let held = metrics.connections.hold();
    assert!(exporter.render().contains("\nstreamkeeper_connections 1\n"));
    drop(held);
    assert!(exporter.render().contains("\nstreamkeeper_connections 0\n"));
}

#[test]
fn every_error_code_has_its_counter() {
    let (metrics, exporter) = Metrics::new();
    let codes: Vec<_> = (0..=u16::MAX)
        .filter_map(|code| ErrorCode::try_from(code).ok())
        .collect();
    assert!(!codes.is_empty());
    for code in &codes {
        metrics.refusals.increment(*code);
    }
    let text = exporter.render();
    for code in codes {
        let line = format!(
            "streamkeeper_refusals_total{{code=\"{}\"}} 1\n",
            code.as_str()
        );
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn disabled_handles_reach_no_recorder_in_force() {
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        let metrics = Metrics::disabled();
        metrics.appends.increment(1);
        metrics.fold_seconds.record(1.0);
    });
    assert_eq!(recorder.handle().render(), "");
}
