//! What is refused: URLs that lead inside, requests without a token, bodies that say nothing.

use serde_json::{Value, json};

use crate::support::{Broker, by_pull_wake, by_webhook, subscription};

#[tokio::test]
async fn urls_that_lead_inside_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(data.path(), &[], &[]);
    for url in [
        "http://example.com/",
        "http://10.0.0.1/hook",
        "http://127.0.0.1/hook",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://user:word@example.com/",
        "ftp://example.com/",
        "example.com",
    ] {
        let answer = broker.subscribe("sub", &by_webhook(url, 30_000)).await;
        answer.refused(400, "WEBHOOK_URL_REJECTED");
    }
    broker
        .subscribe("sub", &by_webhook("https://example.com/hook", 30_000))
        .await
        .expect(201);
}

#[tokio::test]
async fn the_development_switch_opens_loopback_only() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    for (n, url) in [
        "http://localhost:9/",
        "http://127.0.0.1:9/",
        "http://[::1]:9/",
    ]
    .iter()
    .enumerate()
    {
        broker
            .subscribe(&n.to_string(), &by_webhook(url, 30_000))
            .await
            .expect(201);
    }
    for url in [
        "http://10.0.0.1/hook",
        "http://example.com/",
        "https://192.168.1.1/",
    ] {
        let answer = broker.subscribe("sub", &by_webhook(url, 30_000)).await;
        answer.refused(400, "WEBHOOK_URL_REJECTED");
    }
}

#[tokio::test]
async fn configurations_that_make_no_sense_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    let changed = |field: &str, value: Value| {
        let mut config = by_pull_wake(30_000);
        config[field] = value;
        config
    };
    for config in [
        json!([]),
        json!({}),
        changed("type", json!("push")),
        changed("pattern", Value::Null),
        changed("pattern", json!("events/order-*")),
        changed("wake_stream", Value::Null),
        changed("wake_stream", json!("__ds/keys")),
        changed("streams", json!(["__ds/subscriptions/x"])),
        changed("streams", json!([7])),
        changed("lease_ttl_ms", json!(999)),
        changed("lease_ttl_ms", json!(600_001)),
        changed("lease_ttl_ms", json!("1s")),
        changed("type", json!("webhook")),
    ] {
        broker
            .subscribe("sub", &config)
            .await
            .refused(400, "INVALID_REQUEST");
    }
    let long = "x".repeat(257);
    broker
        .subscribe(&long, &by_pull_wake(30_000))
        .await
        .refused(400, "INVALID_REQUEST");
    broker
        .subscribe("any%20name%2Fat%20all", &by_pull_wake(30_000))
        .await
        .expect(201);
    let described = broker.describe("any%20name%2Fat%20all").await;
    assert_eq!(described["id"], "any name/at all");
}

#[tokio::test]
async fn other_paths_methods_and_bodies_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    for path in [
        "__ds",
        "__ds/",
        "__ds/keys",
        "__ds/subscriptions",
        "__ds/links/00/x",
    ] {
        for method in ["GET", "PUT", "POST", "DELETE"] {
            let answer = broker.send(method, path, Some(&json!({}))).await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        }
    }
    broker
        .send("POST", "__ds/jwks.json", None)
        .await
        .refused(405, "METHOD_NOT_ALLOWED");
    broker
        .claim("nobody", "worker")
        .await
        .refused(404, "SUBSCRIPTION_NOT_FOUND");
    broker
        .claim("nobody", "")
        .await
        .refused(400, "INVALID_REQUEST");
    let large = by_webhook(&"x".repeat(300 << 10), 30_000);
    assert_eq!(broker.subscribe("sub", &large).await.status, 413);
}

#[tokio::test]
async fn control_needs_a_token_of_the_broker_and_keys_do_not() {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--auth-token", "secret"];
    let mut broker = Broker::start_with(data.path(), &arguments, &[]);
    let config = by_pull_wake(30_000);
    let path = subscription("sub", "");
    for token in [None, Some("wrong")] {
        broker.token = token;
        broker
            .subscribe("sub", &config)
            .await
            .refused(401, "UNAUTHORIZED");
        broker
            .send("GET", &path, None)
            .await
            .refused(401, "UNAUTHORIZED");
        broker
            .send("DELETE", &path, None)
            .await
            .refused(401, "UNAUTHORIZED");
        broker
            .claim("sub", "worker")
            .await
            .refused(401, "UNAUTHORIZED");
    }
    broker.send("GET", "__ds/jwks.json", None).await.expect(200);
    broker.token = Some("secret");
    broker.subscribe("sub", &config).await.expect(201);
    broker.create("wake", &json!([])).await;
    broker.create("events/a", &json!(1)).await;
    let claim = broker.claim("sub", "worker").await.expect(200);
    // A worker shows the token of its claim, not that of the broker.
    let report = crate::support::all_done(&claim);
    broker
        .work("sub", "/ack", "secret", &report)
        .await
        .refused(401, "TOKEN_INVALID");
    let token = crate::support::text(&claim, "token");
    broker.work("sub", "/ack", token, &report).await.expect(200);
}

#[tokio::test]
async fn a_public_url_stands_in_for_the_host() {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--public-url", "https://streams.example.com/root/"];
    let broker = Broker::start_with(data.path(), &arguments, &[]);
    let created = broker
        .subscribe("sub", &by_webhook("https://example.com/", 30_000))
        .await
        .expect(201);
    let url = "https://streams.example.com/root/v1/stream/__ds/jwks.json";
    assert_eq!(created["webhook"]["signing"]["jwks_url"], url);
}
