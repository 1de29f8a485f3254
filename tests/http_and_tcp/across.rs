//! What one face does, the other sees: appends wake, closes end, deletes remove, trims are told, JSON is the same.

use std::time::Duration;

use streamkeeper_client::{
    AppendOptions, CreateOptions, EndReason, Error, ErrorCode, ReadOptions, Start, SubscribeOptions,
};
use tokio::time::{Instant, sleep};

use crate::events::Events;
use crate::http::Request;
use crate::{Both, get, next, soon, text_offset};

const TEXT: &str = "text/plain";

const JSON: &str = "application/json";

fn created(content_type: &str) -> CreateOptions {
    CreateOptions::new().content_type(content_type)
}

#[tokio::test]
async fn an_append_over_tcp_wakes_a_long_poll_and_an_sse_session() {
    let both = Both::start().await;
    both.tcp.create("s", created(TEXT)).await.expect("created");
    let mut events = Events::follow(&both.broker.http, "s", "-1").await;
    let first = soon(events.next()).await.expect("a control event");
    assert!(first.data.contains(r#""upToDate":true"#), "{first:?}");
    let mut offset = next(&both.ask(&Request::new("HEAD", "s"), 200).await);
    for number in 0..20 {
        let text = format!("record {number}");
        let poll = get("s", &offset, "&live=long-poll");
        let poll = both.http.send(&poll).await.expect("sent");
        both.tcp.append("s", text.clone()).await.expect("appended");
        let answer = soon(poll).await.expect("answered");
        assert_eq!((answer.status, &answer.body[..]), (200, text.as_bytes()));
        offset = next(&answer);
        let data = soon(events.next()).await.expect("an event");
        assert_eq!((data.kind.as_str(), data.data), ("data", text));
        let control = soon(events.next()).await.expect("an event");
        assert!(control.data.contains(&offset), "{control:?}");
    }
}

#[tokio::test]
async fn a_post_wakes_a_subscription_and_a_waiting_read() {
    let both = Both::start().await;
    both.ask(&Request::new("PUT", "s").body(TEXT, ""), 201)
        .await;
    let subscription = both.tcp.subscribe("s", SubscribeOptions::new()).await;
    let mut records = subscription.expect("subscribed");
    for number in 0..20 {
        let options = ReadOptions::new().from(Start::Offset(number));
        let read = both.tcp.read("s", options.wait(Duration::from_secs(60)));
        let post = Request::new("POST", "s").body(TEXT, format!("record {number}"));
        let (page, _) = tokio::join!(soon(read), both.ask(&post, 204));
        let page = page.expect("readable");
        let record = soon(records.next()).await.expect("it goes on");
        let record = record.expect("it goes on");
        assert_eq!(page.records.first(), Some(&record));
        assert_eq!(record.offset, number);
        assert_eq!(record.payload, format!("record {number}"));
    }
}

#[tokio::test]
async fn json_is_split_into_the_same_records_over_both() {
    let both = Both::start().await;
    both.ask(
        &Request::new("PUT", "j").body(JSON, r#"[{"n":0},{"n":1}]"#),
        201,
    )
    .await;
    both.tcp
        .append("j", r#"[{"n":2},[3]]"#)
        .await
        .expect("appended");
    both.ask(&Request::new("POST", "j").body(JSON, r#""four""#), 204)
        .await;
    both.tcp.append("j", r#"{"n":5}"#).await.expect("appended");
    let refused = both.tcp.append("j", "{").await.expect_err("no JSON");
    assert_eq!(refused.code(), Some(ErrorCode::InvalidJson));
    both.ask(&Request::new("POST", "j").body(JSON, "{"), 400)
        .await;

    let page = both
        .tcp
        .read("j", ReadOptions::new())
        .await
        .expect("readable");
    let texts: Vec<&str> = page
        .records
        .iter()
        .map(|record| std::str::from_utf8(&record.payload).expect("text"))
        .collect();
    assert_eq!(
        texts,
        [
            r#"{"n":0}"#,
            r#"{"n":1}"#,
            r#"{"n":2}"#,
            "[3]",
            r#""four""#,
            r#"{"n":5}"#
        ]
    );
    for (at, record) in page.records.iter().enumerate() {
        let from = text_offset(record.offset, record.byte);
        let answer = both.ask(&get("j", &from, ""), 200).await;
        let values: Vec<serde_json::Value> =
            serde_json::from_slice(&answer.body).expect("a JSON array");
        let expected = texts[at..].iter().map(|text| serde_json::from_str(text));
        let expected: Result<Vec<serde_json::Value>, _> = expected.collect();
        assert_eq!(values, expected.expect("records are JSON"));
        assert_eq!(next(&answer), text_offset(page.next, page.next_byte));
    }
}

#[tokio::test]
async fn an_append_and_close_over_tcp_gives_http_readers_its_record_and_then_the_end() {
    let both = Both::start().await;
    both.tcp.create("s", created(TEXT)).await.expect("created");
    let tail = both.tcp.append("s", "first").await.expect("appended").tail;
    let mut events = Events::follow(&both.broker.http, "s", &text_offset(tail, 5)).await;
    let first = soon(events.next()).await.expect("a control event");
    assert_eq!(first.kind, "control");
    let poll = get("s", &text_offset(tail, 5), "&live=long-poll");
    let poll = both.http.send(&poll).await.expect("sent");
    let close = AppendOptions::new().close_after();
    let closed = both.tcp.append_batch("s", ["last"], close).await;
    assert!(closed.expect("closed").closed);

    let answer = soon(poll).await.expect("answered");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"last"[..]));
    assert_eq!(answer.header("stream-closed"), Some("true"));
    let data = soon(events.next()).await.expect("its record");
    assert_eq!(data.data, "last");
    let control = soon(events.next()).await.expect("the end");
    assert!(
        control.data.contains(r#""streamClosed":true"#),
        "{control:?}"
    );
    assert_eq!(soon(events.next()).await, None);

    let late = Request::new("POST", "s").body(TEXT, "late");
    let refused = both.ask(&late, 409).await;
    assert_eq!(refused.header("stream-closed"), Some("true"));
    assert_eq!(next(&refused), text_offset(2, 9));
}

#[tokio::test]
async fn a_close_over_http_ends_a_subscription_and_a_delete_too() {
    let both = Both::start().await;
    for name in ["closed", "deleted"] {
        both.ask(&Request::new("PUT", name), 201).await;
    }
    let subscribe = async |name: &str| {
        let subscribed = both.tcp.subscribe(name, SubscribeOptions::new()).await;
        subscribed.expect("subscribed")
    };
    let (mut closed, mut deleted) = (subscribe("closed").await, subscribe("deleted").await);
    let close = Request::new("POST", "closed").header("Stream-Closed", "TRUE");
    both.ask(&close, 204).await;
    assert!(soon(closed.next()).await.is_none(), "not at its end");
    assert!(both.tcp.stat("closed").await.expect("there").closed);

    both.ask(&Request::new("DELETE", "deleted"), 204).await;
    let end = soon(deleted.next()).await.expect("it ends for a reason");
    let end = end.expect_err("there is no record");
    let reason = match &end {
        Error::Ended { reason, .. } => Some(*reason),
        _ => None,
    };
    assert_eq!(reason, Some(EndReason::Deleted), "{end}");
    let gone = both.tcp.append("deleted", "x").await.expect_err("deleted");
    assert_eq!(gone.code(), Some(ErrorCode::NotFound));

    both.tcp.delete("closed").await.expect("deleted");
    both.ask(&get("closed", "-1", ""), 404).await;
}

#[tokio::test]
async fn a_producer_may_change_faces_and_its_duplicates_are_known() {
    let both = Both::start().await;
    both.ask(&Request::new("PUT", "s").body(TEXT, ""), 201)
        .await;
    let post = |seq: u64| {
        let post = Request::new("POST", "s").body(TEXT, format!("{seq};"));
        let post = post.header("Producer-Id", "p").header("Producer-Epoch", 7);
        post.header("Producer-Seq", seq)
    };
    let tcp = async |seq: u64| {
        let options = AppendOptions::new().producer("p", 7, seq);
        both.tcp
            .append_batch("s", [format!("{seq};")], options)
            .await
    };
    both.ask(&post(0), 200).await;
    assert!(tcp(0).await.expect("known").duplicate);
    assert!(!tcp(1).await.expect("new").duplicate);
    let again = both.ask(&post(1), 204).await;
    assert_eq!(again.header("producer-seq"), Some("1"));
    let gap = both.ask(&post(3), 409).await;
    assert_eq!(gap.header("producer-expected-seq"), Some("2"));
    both.ask(&post(2), 200).await;
    let answer = both.ask(&get("s", "-1", ""), 200).await;
    assert_eq!(answer.body, b"0;1;2;");
}

#[tokio::test]
async fn what_was_trimmed_is_gone_over_http_and_says_where_the_stream_begins_now() {
    let both = Both::start().await;
    let options = created(TEXT).max_records(5);
    both.tcp.create("s", options).await.expect("created");
    for number in 0..20 {
        both.tcp
            .append("s", format!("{number:02}"))
            .await
            .expect("appended");
    }
    let deadline = Instant::now() + crate::PATIENCE;
    while both.tcp.stat("s").await.expect("there").earliest < 15 {
        assert!(Instant::now() < deadline, "nothing was trimmed");
        sleep(Duration::from_millis(5)).await;
    }
    let gone = both.ask(&get("s", &text_offset(3, 6), ""), 410).await;
    assert_eq!(
        gone.header("stream-earliest-offset"),
        Some(&*text_offset(15, 30))
    );
    both.ask(&get("s", &text_offset(3, 6), "&live=long-poll"), 410)
        .await;
    both.ask(&get("s", &text_offset(3, 6), "&live=sse"), 410)
        .await;
    let rest = both.ask(&get("s", &text_offset(15, 30), ""), 200).await;
    assert_eq!(rest.body, b"1516171819");
    let head = both.ask(&Request::new("HEAD", "s"), 200).await;
    assert_eq!(head.header("stream-retention-max-records"), Some("5"));
}
