//! Health checks and metrics of a running broker process.

use super::support::{Broker, run};

#[test]
fn healthcheck_is_0_for_a_broker_that_serves_and_1_for_none() {
    let broker = Broker::start();
    assert_eq!(broker.run(&["healthcheck"]).ok(), "serving\n");
    assert_eq!(
        broker.run(&["healthcheck", "--http", &broker.http]).ok(),
        "ready\n"
    );
    let json = broker.run(&["healthcheck", "--json"]).json();
    assert_eq!(json["healthy"], true);
    run(&["healthcheck", "--server", "127.0.0.1:1"]).fails(1);
    run(&["healthcheck", "--http", "127.0.0.1:1"]).fails(1);
}

#[test]
fn healthcheck_needs_no_token() {
    let broker = Broker::start_with(&["--auth-token", "secret"]);
    broker.run(&["healthcheck"]).ok();
    broker.run(&["healthcheck", "--token", "secret"]).ok();
}

#[test]
fn healthcheck_gives_up_on_a_port_that_does_not_answer() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("an address").to_string();
    let stderr = run(&["healthcheck", "--server", &address, "--timeout", "100ms"]).fails(1);
    assert!(stderr.contains("not healthy"), "{stderr}");
    run(&["healthcheck", "--http", &address, "--timeout", "100ms"]).fails(1);
}

#[test]
fn probes_and_metrics_are_served_by_the_process() {
    let broker = Broker::start();
    broker
        .feed(&["append", "a", "--create", "--lines"], "1\n2\n3\n")
        .ok();
    broker.run(&["read", "nope"]).fails(4);
    assert!(broker.get("/livez").ends_with("\r\n\r\nalive\n"));
    assert!(broker.get("/readyz").ends_with("\r\n\r\nready\n"));
    let metrics = broker.get("/metrics");
    for line in [
        "streamkeeper_append_records_total 3\n",
        "streamkeeper_append_bytes_total 3\n",
        "streamkeeper_refusals_total{code=\"NOT_FOUND\"} 1\n",
        "streamkeeper_ready 1\n",
        "streamkeeper_build_info{version=",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn http_can_be_turned_off() {
    let broker = Broker::start_with(&["--http", "off"]);
    assert_eq!(broker.http, "");
    broker.run(&["healthcheck"]).ok();
}
