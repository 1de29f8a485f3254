//! What a scrape shows, and that two brokers in one process keep their numbers apart.

use super::*;

#[test]
fn every_family_appears_once_under_its_documented_name() {
    let (_metrics, exporter) = Metrics::new();
    let text = exporter.render().unwrap();
    let families = [
        "connections gauge",
        "connections_accepted counter",
        "sessions gauge",
        "connections_refused counter",
        "appends counter",
        "append_records counter",
        "append_bytes counter",
        "confirm_seconds histogram",
        "commit_seconds histogram",
        "commit_bytes histogram",
        "commit_records histogram",
        "fsyncs counter",
        "queue_bytes gauge",
        "hot_tail_bytes gauge",
        "subscriptions gauge",
        "delivered_records counter",
        "delivered_bytes counter",
        "delivery_lag_records histogram",
        "refusals counter",
        "trims counter",
        "trimmed_records counter",
        "expiries counter",
        "store_file_bytes gauge",
        "resident_streams gauge",
        "folds counter",
        "fold_seconds histogram",
        "build info",
        "ready gauge",
    ];
    for family in families {
        let line = format!("# TYPE streamkeeper_{family}\n");
        assert_eq!(text.matches(&line).count(), 1, "{line}{text}");
    }
    assert_eq!(text.matches("# TYPE ").count(), families.len(), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_handle_shows_in_the_scrape_of_its_own_registry_only() {
    let (metrics, exporter) = Metrics::new();
    let (_other, other_exporter) = Metrics::new();
    metrics.appends.increment(3);
    metrics.refusals.increment(ErrorCode::NotFound);
    metrics.connections_accepted_unix.increment(2);
    metrics.journal_file_bytes.set(4096);
    let text = exporter.render().unwrap();
    for line in [
        "streamkeeper_appends_total 3\n",
        "streamkeeper_refusals_total{code=\"NOT_FOUND\"} 1\n",
        "streamkeeper_connections_accepted_total{transport=\"unix\"} 2\n",
        "streamkeeper_connections_accepted_total{transport=\"tcp\"} 0\n",
        "streamkeeper_store_file_bytes{file=\"journal\"} 4096\n",
        "streamkeeper_store_file_bytes{file=\"store\"} 0\n",
        concat!(
            "streamkeeper_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1\n"
        ),
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(
        other_exporter
            .render()
            .unwrap()
            .contains("streamkeeper_appends_total 0\n")
    );
}

#[test]
fn histogram_buckets_are_cumulative_and_bounds_are_inclusive() {
    let (metrics, exporter) = Metrics::new();
    metrics.commit_records.record_count(0);
    metrics.commit_records.record_count(4);
    metrics.commit_records.record_many(5.0, 10);
    metrics.commit_records.record_count(u64::MAX);
    let text = exporter.render().unwrap();
    for line in [
        "streamkeeper_commit_records_bucket{le=\"0.0\"} 1\n",
        "streamkeeper_commit_records_bucket{le=\"1.0\"} 1\n",
        "streamkeeper_commit_records_bucket{le=\"4.0\"} 2\n",
        "streamkeeper_commit_records_bucket{le=\"16.0\"} 12\n",
        "streamkeeper_commit_records_bucket{le=\"1048576.0\"} 12\n",
        "streamkeeper_commit_records_bucket{le=\"+Inf\"} 13\n",
        "streamkeeper_commit_records_count 13\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn a_held_gauge_falls_on_drop() {
    let metrics = Metrics::disabled();
    let held = metrics.connections.hold();
    assert_eq!(metrics.connections.get(), 1);
    drop(held);
    assert_eq!(metrics.connections.get(), 0);
}

#[test]
fn every_error_code_has_its_counter() {
    let metrics = Metrics::disabled();
    let codes: Vec<_> = (0..=u16::MAX)
        .filter_map(|code| ErrorCode::try_from(code).ok())
        .collect();
    assert!(!codes.is_empty());
    for code in codes {
        metrics.refusals.increment(code);
        assert_eq!(
            metrics.refusals.get(code).map(Counter::get),
            Some(1),
            "{code:?}"
        );
    }
}
