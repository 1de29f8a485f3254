//! After a kill: subscriptions, cursors, leases, wakes and the schedule of retries are as they were.

use std::time::{Duration, Instant};

use serde_json::json;
use streamkeeper::types::Clock;

use crate::support::{Broker, Receiver, all_done, by_pull_wake, by_webhook, stream, text};

const ID: &str = "sub";

#[tokio::test]
async fn the_schedule_of_retries_survives_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    let receiver = Receiver::start(500, "").await;
    broker
        .subscribe(ID, &by_webhook(&receiver.url, 60_000))
        .await
        .expect(201);
    broker.create("events/a", &json!(1)).await;
    // The third attempt fails; the fourth is due after some four seconds.
    let mut next = json!(null);
    let mut wake = json!(null);
    for _ in 0..3 {
        wake = receiver.next().await.told()["wake_id"].clone();
        let changed = broker.described(ID, |described| {
            described["next_attempt_at"].is_string() && described["next_attempt_at"] != next
        });
        next = changed.await["next_attempt_at"].clone();
    }
    broker.kill();
    let broker = Broker::start(&data);
    let described = broker.describe(ID).await;
    assert_eq!(described["next_attempt_at"], next);
    assert_eq!(described["status"], "failed");
    receiver.answer(200, r#"{"done":true}"#);
    let due = humantime::parse_rfc3339(next.as_str().expect("a time")).expect("RFC 3339");
    let due = due
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    assert!(receiver.is_quiet().await);
    let fourth = receiver.next().await;
    // The time is shown in milliseconds.
    let now = Duration::from_micros(Clock::System.now().0) + Duration::from_millis(1);
    assert!(now >= due, "it came before its time");
    assert_eq!(fourth.told()["wake_id"], wake, "it is the same wake");
    broker
        .described(ID, |described| described["status"] == "active")
        .await;
}

#[tokio::test]
async fn a_lease_survives_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    broker
        .subscribe(ID, &by_pull_wake(60_000))
        .await
        .expect(201);
    broker.create("events/a", &json!(1)).await;
    let claim = broker.claim(ID, "worker-1").await.expect(200);
    broker.kill();
    let broker = Broker::start(&data);
    let busy = broker
        .claim(ID, "worker-2")
        .await
        .refused(409, "ALREADY_CLAIMED");
    assert_eq!(busy["error"]["current_holder"], "worker-1");
    let token = text(&claim, "token");
    broker
        .work(ID, "/ack", token, &all_done(&claim))
        .await
        .expect(200);
    broker.kill();
    let broker = Broker::start(&data);
    let tail = &stream(&claim, "events/a")["tail_offset"];
    assert_eq!(
        &stream(&broker.describe(ID).await, "events/a")["acked_offset"],
        tail
    );
    broker
        .claim(ID, "worker-2")
        .await
        .refused(409, "NO_PENDING_WORK");
    broker
        .work(ID, "/ack", token, &all_done(&claim))
        .await
        .refused(409, "FENCED");
}

#[tokio::test]
async fn a_lease_that_ran_out_while_the_broker_was_down_is_over() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    broker.subscribe(ID, &by_pull_wake(1_000)).await.expect(201);
    broker.create("events/a", &json!(1)).await;
    broker.claim(ID, "worker-1").await.expect(200);
    let claimed = Instant::now();
    broker.kill();
    tokio::time::sleep_until((claimed + Duration::from_millis(1_100)).into()).await;
    let broker = Broker::start(&data);
    let claim = broker.claim(ID, "worker-2").await.expect(200);
    assert_eq!(claim["generation"], 2);
}

#[tokio::test]
async fn what_streams_did_before_a_kill_is_found_after_it() {
    let data = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&data);
    broker.create("wake", &json!([])).await;
    broker.create("events/old", &json!([1, 2])).await;
    let created = broker
        .subscribe(ID, &by_pull_wake(60_000))
        .await
        .expect(201);
    let tail = stream(&created, "events/old")["acked_offset"].clone();
    broker.kill();
    for n in 0..5 {
        broker = Broker::start(&data);
        // Killed as soon as it is confirmed: before anybody was told, more often than not.
        broker.create(&format!("events/{n}"), &json!([n])).await;
        broker.kill();
    }
    broker = Broker::start(&data);
    let claim = broker.claim(ID, "worker").await.expect(200);
    for n in 0..5 {
        assert_eq!(stream(&claim, &format!("events/{n}"))["acked_offset"], "-1");
    }
    let old = stream(&claim, "events/old");
    assert_eq!(
        (&old["acked_offset"], &old["has_pending"]),
        (&tail, &json!(false))
    );
}

#[tokio::test]
async fn keys_and_subscriptions_are_the_same_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    let keys = broker.send("GET", "__ds/jwks.json", None).await.expect(200);
    let mut config = by_pull_wake(60_000);
    config["streams"] = json!(["manual/a", "manual/b"]);
    config["description"] = json!("for people");
    let created = broker.subscribe(ID, &config).await.expect(201);
    broker.subscribe("gone", &config).await.expect(201);
    broker
        .send("DELETE", "__ds/subscriptions/gone", None)
        .await
        .expect(204);
    broker.kill();
    let broker = Broker::start(&data);
    assert_eq!(
        broker.send("GET", "__ds/jwks.json", None).await.expect(200),
        keys
    );
    assert_eq!(broker.describe(ID).await, created);
    assert_eq!(
        broker
            .send("GET", "__ds/subscriptions/gone", None)
            .await
            .status,
        404
    );
    broker.subscribe(ID, &config).await.expect(200);
}
