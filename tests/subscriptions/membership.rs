//! Which streams belong: by pattern, by name, before and after the subscription.

use serde_json::{Value, json};

use crate::support::{Broker, all_done, by_pull_wake, stream, subscription, text};

const ID: &str = "members";

fn links(described: &Value) -> Vec<(String, String)> {
    let streams = described["streams"].as_array().expect("streams");
    let link = |stream: &Value| {
        (
            text(stream, "path").to_owned(),
            text(stream, "link_type").to_owned(),
        )
    };
    streams.iter().map(link).collect()
}

fn pairs(links: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(path, kind): &(&str, &str)| ((*path).to_owned(), (*kind).to_owned());
    links.iter().map(pair).collect()
}

#[tokio::test]
async fn streams_that_were_there_begin_at_their_tail_and_later_ones_at_their_start() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    broker.create("events/old", &json!([1, 2, 3])).await;
    broker.create("other/old", &json!(1)).await;
    let created = broker
        .subscribe(ID, &by_pull_wake(30_000))
        .await
        .expect(201);
    let tail = stream(&created, "events/old")["acked_offset"].clone();
    assert_ne!(tail, "-1");
    assert_eq!(links(&created), pairs(&[("events/old", "glob")]));
    broker
        .claim(ID, "worker")
        .await
        .refused(409, "NO_PENDING_WORK");
    broker.create("events/new", &json!([1])).await;
    broker.create("events/deeper/new", &json!([1])).await;
    broker.append("events/old", &json!(4)).await;
    let claim = broker.claim(ID, "worker").await.expect(200);
    assert_eq!(claim["streams"].as_array().expect("streams").len(), 2);
    assert_eq!(stream(&claim, "events/old")["acked_offset"], tail);
    assert_eq!(stream(&claim, "events/new")["acked_offset"], "-1");
}

#[tokio::test]
async fn links_by_name_come_and_go_beside_the_pattern() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker.create("events/a", &json!(1)).await;
    broker.create("manual/deep/b", &json!(1)).await;
    let mut config = by_pull_wake(30_000);
    config["streams"] = json!(["manual/a", "/manual/a/"]);
    let created = broker.subscribe(ID, &config).await.expect(201);
    assert_eq!(
        links(&created),
        pairs(&[("events/a", "glob"), ("manual/a", "explicit")])
    );
    let add = json!({ "streams": ["manual/deep/b", "events/a"] });
    for _ in 0..2 {
        let path = subscription(ID, "/streams");
        broker.send("POST", &path, Some(&add)).await.expect(204);
    }
    let all = [
        ("events/a", "explicit"),
        ("manual/a", "explicit"),
        ("manual/deep/b", "explicit"),
    ];
    assert_eq!(links(&broker.describe(ID).await), pairs(&all));
    for path in ["manual%2Fa", "events/a", "manual/deep%2Fb", "never/linked"] {
        let path = subscription(ID, &format!("/streams/{path}"));
        broker.send("DELETE", &path, None).await.expect(204);
    }
    assert_eq!(
        links(&broker.describe(ID).await),
        pairs(&[("events/a", "glob")])
    );
    let nowhere = subscription("nobody", "/streams");
    broker
        .send("POST", &nowhere, Some(&add))
        .await
        .refused(404, "SUBSCRIPTION_NOT_FOUND");
}

#[tokio::test]
async fn a_stream_that_was_deleted_and_made_anew_begins_at_its_start() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    broker.create("events/a", &json!([1, 2, 3])).await;
    broker
        .subscribe(ID, &by_pull_wake(30_000))
        .await
        .expect(201);
    broker.send("DELETE", "events/a", None).await.expect(204);
    assert_eq!(links(&broker.describe(ID).await), []);
    broker.create("events/a", &json!([1, 2, 3])).await;
    let claim = broker.claim(ID, "worker").await.expect(200);
    assert_eq!(stream(&claim, "events/a")["acked_offset"], "-1");
    let token = text(&claim, "token");
    broker
        .work(ID, "/ack", token, &all_done(&claim))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_put_confirms_the_same_configuration_and_no_other() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    let config = by_pull_wake(30_000);
    let answer = broker.subscribe(ID, &config).await;
    assert_eq!(
        answer.headers["location"],
        broker.url(&subscription(ID, ""))
    );
    answer.expect(201);
    broker.subscribe(ID, &config).await.expect(200);
    let mut same = config.clone();
    same["pattern"] = json!("/events/*/");
    same["webhook"] = json!({ "url": "https://example.com/unused" });
    broker.subscribe(ID, &same).await.expect(200);
    for (field, value) in [
        ("pattern", json!("events/**")),
        ("lease_ttl_ms", json!(30_001)),
        ("description", json!("another")),
        ("wake_stream", json!("another")),
        ("streams", json!(["another"])),
    ] {
        let mut other = config.clone();
        other[field] = value;
        broker
            .subscribe(ID, &other)
            .await
            .refused(409, "SUBSCRIPTION_ALREADY_EXISTS");
    }
}

#[tokio::test]
async fn a_deleted_subscription_answers_no_worker_and_comes_back_empty() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    broker
        .subscribe(ID, &by_pull_wake(30_000))
        .await
        .expect(201);
    broker.create("events/a", &json!(1)).await;
    let claim = broker.claim(ID, "worker").await.expect(200);
    let token = text(&claim, "token");
    let path = subscription(ID, "");
    broker.send("DELETE", &path, None).await.expect(204);
    broker.send("DELETE", &path, None).await.expect(204);
    broker
        .send("GET", &path, None)
        .await
        .refused(404, "SUBSCRIPTION_NOT_FOUND");
    let report = all_done(&claim);
    for action in ["/ack", "/release", "/callback"] {
        let answer = broker.work(ID, action, token, &report).await;
        answer.refused(404, "SUBSCRIPTION_NOT_FOUND");
    }
    // The same name, the same generation, but another wake.
    broker
        .subscribe(ID, &by_pull_wake(30_000))
        .await
        .expect(201);
    broker.append("events/a", &json!(2)).await;
    let anew = broker.claim(ID, "worker").await.expect(200);
    assert_eq!(anew["generation"], claim["generation"]);
    broker
        .work(ID, "/ack", token, &report)
        .await
        .refused(409, "FENCED");
    let mut forged = report.clone();
    forged["wake_id"] = anew["wake_id"].clone();
    broker
        .work(ID, "/ack", token, &forged)
        .await
        .refused(409, "FENCED");
}
