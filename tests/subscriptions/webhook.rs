//! Webhooks: signed, acknowledged at once or by callback, fenced, and sent again when nobody answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::support::{
    Answer, Broker, Received, Receiver, all_done, by_webhook, stream, subscription, text,
};

const ID: &str = "sub";

async fn call_back(broker: &Broker, told: &Value, report: &Value) -> Answer {
    let token = text(told, "callback_token");
    broker
        .send_with(
            "POST",
            text(told, "callback_url"),
            Some(report),
            Some(token),
        )
        .await
}

/// Whether the signature is one by a key that the broker publishes.
async fn is_signed(broker: &Broker, webhook: &Received) -> bool {
    let jwks = broker.send("GET", "__ds/jwks.json", None).await;
    assert_eq!(jwks.headers["content-type"], "application/jwk-set+json");
    assert_eq!(jwks.headers["cache-control"], "public, max-age=300");
    let jwks = jwks.expect(200);
    let mut parts = webhook.signature.split(',');
    let mut part = |name: &str| {
        let part = parts.next().and_then(|part| part.strip_prefix(name));
        part.expect("the parts of a signature").to_owned()
    };
    let (time, kid, signature) = (part("t="), part("kid="), part("ed25519="));
    let keys = jwks["keys"].as_array().expect("keys");
    let key = keys
        .iter()
        .find(|key| key["kid"] == kid.as_str())
        .expect("the key is published");
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"))
    );
    let x = URL_SAFE_NO_PAD.decode(text(key, "x")).expect("base64url");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let mut signed = format!("{time}.").into_bytes();
    signed.extend_from_slice(&webhook.body);
    UnparsedPublicKey::new(&ED25519, x)
        .verify(&signed, &signature)
        .is_ok()
}

#[tokio::test]
async fn a_webhook_is_signed_and_done_acknowledges_what_it_told() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    let receiver = Receiver::start(200, r#"{"done":true}"#).await;
    let created = broker
        .subscribe(ID, &by_webhook(&receiver.url, 30_000))
        .await
        .expect(201);
    assert_eq!(created["webhook"]["url"], receiver.url);
    assert_eq!(
        created["webhook"]["signing"]["jwks_url"],
        broker.url("__ds/jwks.json")
    );
    broker.create("events/a", &json!({ "n": 1 })).await;
    let webhook = receiver.next().await;
    assert!(is_signed(&broker, &webhook).await);
    let told = webhook.told();
    assert_eq!(told["subscription_id"], ID);
    assert_eq!(
        told["callback_url"],
        broker.url(&subscription(ID, "/callback"))
    );
    assert_eq!(told["generation"], 1);
    let a = stream(&told, "events/a");
    assert_eq!(
        (&a["has_pending"], &a["acked_offset"]),
        (&json!(true), &json!("-1"))
    );
    let acked =
        |described: &Value| stream(described, "events/a")["acked_offset"] == a["tail_offset"];
    broker.described(ID, acked).await;
    broker.append("events/a", &json!({ "n": 2 })).await;
    let again = receiver.next().await.told();
    assert_eq!(again["generation"], 2);
    assert_ne!(again["wake_id"], told["wake_id"]);
    assert_eq!(stream(&again, "events/a")["acked_offset"], a["tail_offset"]);
}

#[tokio::test]
async fn a_callback_acknowledges_and_a_stale_one_is_fenced() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    let receiver = Receiver::start(202, "").await;
    broker
        .subscribe(ID, &by_webhook(&receiver.url, 30_000))
        .await
        .expect(201);
    broker.create("events/a", &json!(1)).await;
    let told = receiver.next().await.told();
    // A heartbeat that moves the cursor, then more records, then the end.
    let mut report = all_done(&told);
    report["done"] = json!(false);
    let ok = call_back(&broker, &told, &report).await.expect(200);
    assert_eq!(ok, json!({ "ok": true, "next_wake": false }));
    broker.append("events/a", &json!(2)).await;
    let ok = call_back(&broker, &told, &all_done(&told))
        .await
        .expect(200);
    assert_eq!(ok, json!({ "ok": true, "next_wake": true }));
    let next = receiver.next().await.told();
    assert_eq!(next["generation"], 2);
    call_back(&broker, &told, &all_done(&next))
        .await
        .refused(409, "FENCED");
    call_back(&broker, &told, &all_done(&told))
        .await
        .refused(409, "FENCED");
    let ok = call_back(&broker, &next, &all_done(&next))
        .await
        .expect(200);
    assert_eq!(ok, json!({ "ok": true, "next_wake": false }));
    call_back(&broker, &next, &all_done(&next))
        .await
        .refused(409, "FENCED");
    assert!(receiver.is_quiet().await);
}

#[tokio::test]
async fn a_callback_needs_the_token_of_its_subscription() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    let receiver = Receiver::start(202, "").await;
    let config = by_webhook(&receiver.url, 30_000);
    broker.subscribe("one", &config).await.expect(201);
    broker.subscribe("two", &config).await.expect(201);
    broker.create("events/a", &json!(1)).await;
    let (mut one, mut two) = (receiver.next().await.told(), receiver.next().await.told());
    if one["subscription_id"] == "two" {
        std::mem::swap(&mut one, &mut two);
    }
    let url = text(&one, "callback_url");
    let report = all_done(&one);
    for token in [None, Some("stranger"), Some(text(&two, "callback_token"))] {
        let answer = broker.send_with("POST", url, Some(&report), token).await;
        assert!(answer.headers.contains_key("www-authenticate"));
        answer.refused(401, "TOKEN_INVALID");
    }
    call_back(&broker, &one, &report).await.expect(200);
}

#[tokio::test]
async fn an_ack_is_all_or_nothing_and_within_the_stream() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    let receiver = Receiver::start(202, "").await;
    broker
        .subscribe(ID, &by_webhook(&receiver.url, 30_000))
        .await
        .expect(201);
    broker.create("events/a", &json!(1)).await;
    let told = receiver.next().await.told();
    let tail = text(stream(&told, "events/a"), "tail_offset").to_owned();
    let past = "0000000000000009_0000000000000099";
    for acks in [
        json!([{ "stream": "events/a", "offset": past }]),
        json!([{ "stream": "events/a", "offset": "-1" }]),
        json!([{ "stream": "events/a", "offset": tail }, { "stream": "others/b", "offset": tail }]),
    ] {
        let mut report = all_done(&told);
        report["acks"] = acks;
        call_back(&broker, &told, &report)
            .await
            .refused(409, "INVALID_OFFSET");
    }
    let described = broker.describe(ID).await;
    assert_eq!(stream(&described, "events/a")["acked_offset"], "-1");
    let mut report = all_done(&told);
    report["acks"] = json!([{ "stream": "events/a", "offset": "seven" }]);
    call_back(&broker, &told, &report)
        .await
        .refused(400, "INVALID_REQUEST");
}

/// What was seen of a lease that ran out.
struct RanOut {
    first: Received,
    second: Received,
    /// From before there was work to the second webhook.
    took: Duration,
    /// What the reports for the first and then the second webhook were answered.
    answers: [Answer; 2],
}

/// Lets a lease run out; nothing if the next one may have run out as well before its report was answered.
async fn let_run_out(lease: Duration) -> Option<RanOut> {
    let data = tempfile::tempdir().expect("a directory for data");
    let broker = Broker::start(&data);
    let receiver = Receiver::start(200, "{}").await;
    let lease_ms = u64::try_from(lease.as_millis()).expect("a short time");
    broker
        .subscribe(ID, &by_webhook(&receiver.url, lease_ms))
        .await
        .expect(201);
    let before = Instant::now();
    broker.create("events/a", &json!(1)).await;
    let (first, second) = (receiver.next().await, receiver.next().await);
    let mut answers = Vec::new();
    for webhook in [&first, &second] {
        let told = webhook.told();
        answers.push(call_back(&broker, &told, &all_done(&told)).await);
    }
    let in_time = before.elapsed() < 2 * lease;
    in_time.then(|| RanOut {
        took: second.at - before,
        first,
        second,
        answers: answers.try_into().expect("two answers"),
    })
}

#[tokio::test]
async fn a_lease_that_runs_out_wakes_again() {
    const LEASE: Duration = Duration::from_secs(2);
    let mut ran_out = None;
    for _ in 0..10 {
        ran_out = let_run_out(LEASE).await;
        if ran_out.is_some() {
            break;
        }
    }
    let ran_out = ran_out.expect("a report takes no time");
    assert!(ran_out.took >= LEASE, "{:?}", ran_out.took);
    assert_eq!(ran_out.first.told()["generation"], 1);
    assert_eq!(ran_out.second.told()["generation"], 2);
    let [late, in_time] = ran_out.answers;
    late.refused(409, "FENCED");
    in_time.expect(200);
}

#[tokio::test]
async fn webhooks_tell_of_every_record_without_being_asked() {
    const STREAMS: usize = 5;
    const RECORDS: usize = 60;
    let data = tempfile::tempdir().unwrap();
    let broker = Arc::new(Broker::start(&data));
    let receiver = Receiver::start(200, r#"{"done":true}"#).await;
    for n in 0..4 {
        let config = by_webhook(&receiver.url, 60_000);
        broker
            .subscribe(&format!("{ID}-{n}"), &config)
            .await
            .expect(201);
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
    // Nothing is asked of the broker from here on: what is left to tell, it tells by itself.
    let mut tails: BTreeMap<(String, String), u64> = BTreeMap::new();
    while tails.values().sum::<u64>() < (4 * STREAMS * RECORDS) as u64 {
        let told = receiver.next().await.told();
        for stream in told["streams"].as_array().expect("streams") {
            let records = text(stream, "tail_offset")
                .split_once('_')
                .expect("two parts")
                .0;
            let of = (
                text(&told, "subscription_id").to_owned(),
                text(stream, "path").to_owned(),
            );
            tails.insert(of, records.parse().expect("a number"));
        }
    }
}

#[tokio::test]
async fn a_failed_webhook_is_sent_again_and_a_redirect_is_a_failure() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(&data);
    let receiver = Receiver::start(307, "").await;
    broker
        .subscribe(ID, &by_webhook(&receiver.url, 30_000))
        .await
        .expect(201);
    broker.create("events/a", &json!(1)).await;
    let first = receiver.next().await;
    let failed = broker
        .described(ID, |described| described["status"] == "failed")
        .await;
    assert!(failed["next_attempt_at"].is_string());
    receiver.answer(200, r#"{"done":true}"#);
    let second = receiver.next().await;
    assert!(second.at - first.at >= Duration::from_millis(800));
    assert_eq!(first.told()["wake_id"], second.told()["wake_id"]);
    let active = broker
        .described(ID, |described| described["status"] == "active")
        .await;
    assert!(active["next_attempt_at"].is_null());
}
