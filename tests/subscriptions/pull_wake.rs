//! Pull-wake: events on a stream, and workers that race for the lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Broker, all_done, by_pull_wake, stream, text};

const ID: &str = "pull";

#[tokio::test]
async fn one_worker_gets_the_lease_and_the_others_are_told_who_has_it() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    let created = broker
        .subscribe(ID, &by_pull_wake(30_000))
        .await
        .expect(201);
    assert_eq!(
        (&created["wake_stream"], &created["webhook"]),
        (&json!("wake"), &Value::Null)
    );
    broker
        .claim(ID, "worker-1")
        .await
        .refused(409, "NO_PENDING_WORK");
    broker.create("events/a", &json!(1)).await;
    let event = broker.woken(1).await;
    assert_eq!(
        (&event["type"], &event["subscription_id"]),
        (&json!("wake"), &json!(ID))
    );
    assert_eq!(
        (&event["stream"], &event["generation"]),
        (&json!("events/a"), &json!(1))
    );
    assert!(event["ts"].is_u64());
    let claim = broker.claim(ID, "worker-1").await.expect(200);
    assert_eq!(claim["lease_ttl_ms"], 30_000);
    let busy = broker
        .claim(ID, "worker-2")
        .await
        .refused(409, "ALREADY_CLAIMED");
    assert_eq!(busy["error"]["current_holder"], "worker-1");
    assert_eq!(busy["error"]["generation"], 1);
    let report = all_done(&claim);
    let ok = broker
        .work(ID, "/ack", text(&claim, "token"), &report)
        .await
        .expect(200);
    assert_eq!(ok, json!({ "ok": true, "next_wake": false }));
    broker
        .work(ID, "/ack", text(&claim, "token"), &report)
        .await
        .refused(409, "FENCED");
    let described = broker.describe(ID).await;
    let tail = &stream(&claim, "events/a")["tail_offset"];
    assert_eq!(&stream(&described, "events/a")["acked_offset"], tail);
}

#[tokio::test]
async fn a_claim_right_behind_an_append_finds_it() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    broker.create("events/a", &json!([])).await;
    broker
        .subscribe(ID, &by_pull_wake(30_000))
        .await
        .expect(201);
    for n in 0..50 {
        broker.append("events/a", &json!(n)).await;
        let claim = broker.claim(ID, "worker").await.expect(200);
        let token = text(&claim, "token");
        broker
            .work(ID, "/ack", token, &all_done(&claim))
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn a_release_wakes_again_while_work_is_left() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    broker
        .subscribe(ID, &by_pull_wake(30_000))
        .await
        .expect(201);
    broker.create("events/a", &json!(1)).await;
    let claim = broker.claim(ID, "worker-1").await.expect(200);
    let token = text(&claim, "token");
    broker
        .work(ID, "/release", token, &all_done(&claim))
        .await
        .expect(204);
    let described = broker.describe(ID).await;
    assert_eq!(
        stream(&described, "events/a")["acked_offset"],
        "-1",
        "a release acknowledges nothing"
    );
    broker.woken(2).await;
    let second = broker.claim(ID, "worker-2").await.expect(200);
    assert_eq!(second["generation"], 2);
}

/// The shortest lease that there is.
const SHORT: Duration = Duration::from_secs(1);

/// Claims and is done with all at once, and again if that took as long as a short lease.
async fn claim_and_finish(broker: &Broker, worker: &str) {
    for attempt in 1..=10 {
        let begun = Instant::now();
        let claim = broker.claim(ID, worker).await.expect(200);
        let token = text(&claim, "token");
        let answer = broker.work(ID, "/ack", token, &all_done(&claim)).await;
        if answer.status == 200 || begun.elapsed() < SHORT || attempt == 10 {
            answer.expect(200);
            return;
        }
    }
}

#[tokio::test]
async fn an_end_of_the_lease_wakes_again_while_work_is_left() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    broker.subscribe(ID, &by_pull_wake(1_000)).await.expect(201);
    broker.create("events/a", &json!(1)).await;
    let claim = broker.claim(ID, "worker-1").await.expect(200);
    assert_eq!(claim["generation"], 1);
    // Worker 1 dies.
    broker.woken(2).await;
    broker
        .work(ID, "/ack", text(&claim, "token"), &all_done(&claim))
        .await
        .refused(409, "FENCED");
    claim_and_finish(&broker, "worker-2").await;
}

/// Reports without an end, for longer than a short lease, and then the end; nothing if a report came so late that the lease may have
/// run out before. Answers what was answered.
async fn beats() -> Option<Vec<Answer>> {
    let data = tempfile::tempdir().expect("a directory for data");
    let broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    broker.subscribe(ID, &by_pull_wake(1_000)).await.expect(201);
    broker.create("events/a", &json!(1)).await;
    let begin = Instant::now();
    let claim = broker.claim(ID, "worker").await.expect(200);
    let mut report = all_done(&claim);
    let (mut before, mut answers, mut done) = (begin, Vec::new(), false);
    while !done {
        done = begin.elapsed() > SHORT * 5 / 2;
        report["done"] = json!(done);
        let now = Instant::now();
        let token = text(&claim, "token");
        answers.push(broker.work(ID, "/ack", token, &report).await);
        // The lease began anew between the two moments.
        if before.elapsed() >= SHORT {
            return None;
        }
        before = now;
        tokio::time::sleep(SHORT / 10).await;
    }
    Some(answers)
}

#[tokio::test]
async fn an_ack_without_done_keeps_the_lease() {
    let mut answers = None;
    for _ in 0..10 {
        answers = beats().await;
        if answers.is_some() {
            break;
        }
    }
    for answer in answers.expect("a report takes no time") {
        answer.expect(200);
    }
}

#[tokio::test]
async fn an_event_is_written_once_its_wake_stream_is_there() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker
        .subscribe(ID, &by_pull_wake(30_000))
        .await
        .expect(201);
    broker.create("events/a", &json!(1)).await;
    broker
        .described(ID, |described| described["status"] == "failed")
        .await;
    broker.create("wake", &json!([])).await;
    broker.woken(1).await;
    broker
        .described(ID, |described| described["status"] == "active")
        .await;
}

#[tokio::test]
async fn many_subscriptions_and_streams_miss_nothing() {
    const SUBSCRIPTIONS: usize = 8;
    const STREAMS: usize = 6;
    const RECORDS: usize = 40;
    let data = tempfile::tempdir().unwrap();
    let broker = Arc::new(Broker::start(&data));
    broker.create("wake", &json!([])).await;
    for n in 0..SUBSCRIPTIONS {
        let id = format!("{ID}-{n}");
        broker
            .subscribe(&id, &by_pull_wake(60_000))
            .await
            .expect(201);
    }
    let mut workers = tokio::task::JoinSet::new();
    for n in 0..SUBSCRIPTIONS {
        let broker = Arc::clone(&broker);
        workers.spawn(async move {
            let id = format!("{ID}-{n}");
            let mut seen = BTreeMap::new();
            while seen.values().sum::<usize>() < STREAMS * RECORDS {
                let claim = broker.claim(&id, "worker").await;
                if claim.status == 409 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    continue;
                }
                let claim = claim.expect(200);
                for told in claim["streams"].as_array().expect("streams") {
                    // What is acknowledged is what lies before an offset: its first part counts the records.
                    let tail = text(told, "tail_offset");
                    let records = tail.split_once('_').expect("two parts").0;
                    seen.insert(
                        text(told, "path").to_owned(),
                        records.parse().expect("a number"),
                    );
                }
                let token = text(&claim, "token");
                broker
                    .work(&id, "/ack", token, &all_done(&claim))
                    .await
                    .expect(200);
            }
            seen
        });
    }
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..STREAMS {
        let broker = Arc::clone(&broker);
        writers.spawn(async move {
            let stream = format!("events/{n}");
            broker.create(&stream, &json!([])).await;
            for record in 0..RECORDS {
                broker.append(&stream, &json!(record)).await;
            }
        });
    }
    writers.join_all().await;
    for seen in workers.join_all().await {
        assert_eq!(seen.len(), STREAMS);
        assert!(seen.values().all(|records| *records == RECORDS), "{seen:?}");
    }
    for n in 0..SUBSCRIPTIONS {
        let id = format!("{ID}-{n}");
        broker
            .claim(&id, "worker")
            .await
            .refused(409, "NO_PENDING_WORK");
    }
}

#[tokio::test]
async fn routes_of_the_other_kind_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    let nobody = crate::support::nobody().await;
    let config = crate::support::by_webhook(&format!("http://{nobody}/"), 30_000);
    broker.subscribe("hook", &config).await.expect(201);
    broker
        .claim("hook", "worker")
        .await
        .refused(400, "INVALID_REQUEST");
    let report = json!({ "wake_id": "w", "generation": 1 });
    for action in ["/ack", "/release"] {
        broker
            .work("hook", action, "token", &report)
            .await
            .refused(400, "INVALID_REQUEST");
    }
}
