//! Writers on both faces at once, readers of every kind meanwhile: all see the same records, in the same order, at the
//! same offsets.

use streamkeeper_client::{
    AppendOptions, Client, CreateOptions, ReadOptions, Record, Start, SubscribeOptions,
};
use tokio::task::JoinSet;

use crate::events::Events;
use crate::http::{Http, Request};
use crate::{Both, get, next, soon, text_offset};

const STREAM: &str = "both";

const TEXT: &str = "text/plain";

/// Writers on each face.
const WRITERS: u32 = 3;

/// Appends of each writer.
const APPENDS: u32 = 200;

/// Appends without an answer, of each writer.
const WINDOW: usize = 8;

/// What a writer learnt: the record, the offset after it, and that as text where HTTP told it.
type Written = (String, u64, Option<String>);

fn record(face: &str, writer: u32, number: u32) -> String {
    let length = usize::try_from(writer * 37 + number).expect("small");
    format!("{face}-{writer}-{number:04} {}\n", "x".repeat(length % 300))
}

async fn write_tcp(client: Client, writer: u32) -> Vec<Written> {
    let mut tickets = std::collections::VecDeque::new();
    let mut written = Vec::new();
    for number in 0..APPENDS {
        let record = record("tcp", writer, number);
        let payload = record.clone();
        let sent = client.append_batch_pipelined(STREAM, [payload], AppendOptions::new());
        tickets.push_back((record, sent.await.expect("sent")));
        if tickets.len() == WINDOW || number == APPENDS - 1 {
            for (record, ticket) in tickets.drain(..) {
                let appended = soon(ticket).await.expect("confirmed");
                written.push((record, appended.tail, None));
            }
        }
    }
    written
}

async fn write_http(http: Http, writer: u32) -> Vec<Written> {
    let mut tickets = std::collections::VecDeque::new();
    let mut written = Vec::new();
    for number in 0..APPENDS {
        let record = record("http", writer, number);
        let post = Request::new("POST", STREAM).body(TEXT, record.clone());
        tickets.push_back((record, http.send(&post).await.expect("sent")));
        if tickets.len() == WINDOW || number == APPENDS - 1 {
            for (record, ticket) in tickets.drain(..) {
                let answer = soon(ticket).await.expect("answered");
                assert_eq!(answer.status, 204, "{answer:?}");
                let next = next(&answer);
                let tail = next[..16].parse().expect("the record part is a number");
                written.push((record, tail, Some(next)));
            }
        }
    }
    written
}

async fn subscribe(client: Client) -> Vec<String> {
    let from = SubscribeOptions::new().from(Start::Beginning);
    let mut records = client.subscribe(STREAM, from).await.expect("subscribed");
    let mut seen = Vec::new();
    while let Some(record) = soon(records.next()).await {
        let record = record.expect("the subscription goes on to the end");
        assert_eq!(record.offset, seen.len() as u64);
        seen.push(String::from_utf8(record.payload.to_vec()).expect("text"));
    }
    seen
}

async fn long_poll(http: Http) -> String {
    let (mut offset, mut seen) = ("-1".to_owned(), String::new());
    loop {
        let poll = get(STREAM, &offset, "&live=long-poll");
        let answer = soon(http.ask(&poll)).await.expect("answered");
        assert!([200, 204].contains(&answer.status), "{answer:?}");
        offset = next(&answer);
        seen.push_str(std::str::from_utf8(&answer.body).expect("text"));
        if answer.header("stream-closed") == Some("true") {
            return seen;
        }
    }
}

async fn sse(address: String) -> String {
    let mut events = Events::follow(&address, STREAM, "-1").await;
    let (mut seen, mut ended) = (String::new(), false);
    while let Some(event) = soon(events.next()).await {
        match event.kind.as_str() {
            "data" => seen.push_str(&event.data),
            _ => ended = event.data.contains(r#""streamClosed":true"#),
        }
    }
    assert!(ended, "the session ended before the stream");
    seen
}

/// Every record, by reads over TCP.
async fn read_tcp(client: &Client) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = Start::Offset(records.len() as u64);
        let page = client.read(STREAM, ReadOptions::new().from(from)).await;
        let page = page.expect("readable");
        records.extend(page.records);
        if !page.more {
            return records;
        }
    }
}

/// Everything from an offset on, by catch-up reads.
async fn read_http(both: &Both, from: &str) -> String {
    let (mut offset, mut seen) = (from.to_owned(), Vec::new());
    loop {
        let answer = both.ask(&get(STREAM, &offset, ""), 200).await;
        offset = next(&answer);
        seen.extend_from_slice(&answer.body);
        if answer.header("stream-up-to-date") == Some("true") {
            return String::from_utf8(seen).expect("text");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_written_over_both_faces_at_once_reads_the_same_over_both() {
    let both = Both::start().await;
    let options = CreateOptions::new().content_type(TEXT);
    both.tcp.create(STREAM, options).await.expect("created");
    let address = &both.broker.http;
    let connect = async || Http::connect(address).await.expect("HTTP is served");

    let subscribed = tokio::spawn(subscribe(both.tcp.clone()));
    let polled = tokio::spawn(long_poll(connect().await));
    let followed = tokio::spawn(sse(address.clone()));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write_tcp(both.tcp.clone(), writer));
        writers.spawn(write_http(connect().await, writer));
    }
    let written: Vec<Written> = writers.join_all().await.into_iter().flatten().collect();
    both.tcp.close_stream(STREAM).await.expect("closed");

    let records = read_tcp(&both.tcp).await;
    assert_eq!(records.len(), written.len(), "lost or doubled");
    for (text, tail, after) in &written {
        let at = usize::try_from(tail - 1).expect("small");
        let record = &records[at];
        assert_eq!(record.payload, text.as_bytes(), "another record at {at}");
        let end = record.byte + record.payload.len() as u64;
        let expected = text_offset(*tail, end);
        assert!(
            after.as_ref().is_none_or(|after| *after == expected),
            "{after:?} is not {expected}"
        );
    }
    let texts = records
        .iter()
        .map(|record| String::from_utf8_lossy(&record.payload));
    let texts: Vec<String> = texts.map(std::borrow::Cow::into_owned).collect();
    let all = texts.concat();
    assert_eq!(
        subscribed.await.expect("no panic"),
        texts,
        "the subscription"
    );
    assert_eq!(polled.await.expect("no panic"), all, "the long-polls");
    assert_eq!(followed.await.expect("no panic"), all, "the events");
    assert_eq!(read_http(&both, "-1").await, all, "the catch-up reads");
    for record in records.iter().step_by(97) {
        let rest = read_http(&both, &text_offset(record.offset, record.byte)).await;
        let skipped = usize::try_from(record.byte).expect("small");
        assert_eq!(rest, all[skipped..], "from {}", record.offset);
    }

    let head = both.ask(&Request::new("HEAD", STREAM), 200).await;
    let status = both.tcp.stat(STREAM).await.expect("there");
    assert_eq!(next(&head), text_offset(status.tail, status.tail_byte));
    assert_eq!(head.header("stream-closed"), Some("true"));
    assert_eq!(head.header("content-type"), Some(TEXT));
}
