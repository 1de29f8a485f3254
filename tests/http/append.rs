//! POST.

use crate::support::{Broker, CLOSE, JSON, TEXT};

fn stamp<'a>(epoch: &'a str, seq: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        TEXT,
        ("Producer-Id", "p"),
        ("Producer-Epoch", epoch),
        ("Producer-Seq", seq),
    ]
}

#[test]
fn a_producer_is_told_what_became_of_each_append() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let new = broker.post(&path, &stamp("0", "0"), b"a");
    assert_eq!(new.status, 200);
    assert_eq!(new.header("producer-epoch"), Some("0"));
    assert_eq!(new.header("producer-seq"), Some("0"));
    assert_eq!(broker.post(&path, &stamp("0", "1"), b"b").status, 200);
    let duplicate = broker.post(&path, &stamp("0", "0"), b"a");
    assert_eq!(duplicate.status, 204);
    assert_eq!(duplicate.header("producer-seq"), Some("1"));
    let gap = broker.post(&path, &stamp("0", "5"), b"c");
    assert_eq!(gap.status, 409);
    assert_eq!(gap.header("producer-expected-seq"), Some("2"));
    assert_eq!(gap.header("producer-received-seq"), Some("5"));
    assert_eq!(broker.post(&path, &stamp("3", "0"), b"c").status, 200);
    let fenced = broker.post(&path, &stamp("2", "0"), b"d");
    assert_eq!(fenced.status, 403);
    assert_eq!(fenced.header("producer-epoch"), Some("3"));
    assert_eq!(broker.post(&path, &stamp("4", "1"), b"d").status, 400);
    assert_eq!(broker.get(&path).text(), "abc");
}

#[test]
fn a_producers_close_is_confirmed_again_and_nothing_else_is() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let closing = [stamp("0", "0"), vec![CLOSE]].concat();
    let closed = broker.post(&path, &closing, b"");
    assert_eq!(closed.status, 204);
    assert_eq!(closed.header("stream-closed"), Some("true"));
    assert_eq!(closed.header("producer-seq"), Some("0"));
    assert_eq!(broker.post(&path, &closing, b"").status, 204);
    let other = [stamp("0", "1"), vec![CLOSE]].concat();
    let refused = broker.post(&path, &other, b"");
    assert_eq!(refused.status, 409);
    assert_eq!(refused.header("stream-closed"), Some("true"));
    assert_eq!(refused.next(), closed.next());
}

#[test]
fn producer_headers_are_strict() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let long = "p".repeat(257);
    for headers in [
        vec![("Producer-Id", "p")],
        vec![("Producer-Epoch", "0"), ("Producer-Seq", "0")],
        vec![("Producer-Id", "p"), ("Producer-Epoch", "0")],
        vec![
            ("Producer-Id", ""),
            ("Producer-Epoch", "0"),
            ("Producer-Seq", "0"),
        ],
        vec![
            ("Producer-Id", "p"),
            ("Producer-Epoch", "00"),
            ("Producer-Seq", "0"),
        ],
        vec![
            ("Producer-Id", "p"),
            ("Producer-Epoch", "0"),
            ("Producer-Seq", "1e3"),
        ],
        vec![
            ("Producer-Id", "p"),
            ("Producer-Epoch", "0"),
            ("Producer-Seq", "9007199254740992"),
        ],
        vec![
            ("Producer-Id", &long),
            ("Producer-Epoch", "0"),
            ("Producer-Seq", "0"),
        ],
        vec![("Stream-Seq", &long)],
        vec![("Stream-Seq", "")],
        vec![("Stream-Seq", "1"), ("Stream-Seq", "2")],
    ] {
        let headers = [vec![TEXT], headers].concat();
        assert_eq!(
            broker.post(&path, &headers, b"x").status,
            400,
            "{headers:?}"
        );
    }
    assert_eq!(broker.get(&path).text(), "");
}

#[test]
fn stream_seq_is_per_stream_and_byte_wise() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let other = broker.create("b", "text/plain");
    let with = |path: &str, seq| broker.post(path, &[TEXT, ("Stream-Seq", seq)], b"x").status;
    assert_eq!(with(&path, "10"), 204);
    assert_eq!(with(&path, "9"), 204);
    assert_eq!(with(&path, "9"), 409);
    assert_eq!(with(&path, "10"), 409);
    assert_eq!(with(&path, "A"), 204);
    assert_eq!(with(&path, "a"), 204);
    assert_eq!(with(&other, "0"), 204);
}

#[test]
fn what_is_missing_is_said() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    assert_eq!(broker.post(&path, &[TEXT], b"").code(), "EMPTY_BODY");
    assert_eq!(broker.post(&path, &[], b"x").code(), "MISSING_CONTENT_TYPE");
    let mismatch = broker.post(&path, &[JSON], b"1");
    assert_eq!(
        (mismatch.status, mismatch.code().as_str()),
        (409, "CONTENT_TYPE_MISMATCH")
    );
    assert_eq!(broker.post("/v1/stream/none", &[TEXT], b"x").status, 404);
    let closed = broker.post(&path, &[JSON, ("Stream-Closed", "True")], b"");
    assert_eq!(closed.status, 204);
    let late = broker.post(&path, &[JSON], b"1");
    assert_eq!((late.status, late.code().as_str()), (409, "STREAM_CLOSED"));
    assert_eq!(late.next(), closed.next());
    assert_eq!(broker.post(&path, &[CLOSE], b"").status, 204);
    assert_eq!(broker.post(&path, &[TEXT, CLOSE], b"x").status, 409);
}

#[test]
fn a_large_body_of_bytes_is_cut_and_one_of_json_is_not() {
    let broker = Broker::start_with(&["--record-bytes-max", "1000"]);
    let bytes = broker.create("bytes", "application/octet-stream");
    let body: Vec<u8> = (0..2_500_u32).map(|n| n.to_le_bytes()[0]).collect();
    let octets = ("Content-Type", "application/octet-stream");
    let appended = broker.post(&bytes, &[octets], &body);
    assert_eq!(appended.next(), "0000000000000003_0000000000002500");
    assert_eq!(broker.get(&bytes).body, body);
    let json = broker.create("json", "application/json");
    let value = format!("\"{}\"", "x".repeat(2_500));
    let refused = broker.post(&json, &[JSON], value.as_bytes());
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (413, "RECORD_TOO_LARGE")
    );
    let many = format!("[{}1]", "1,".repeat(2_000));
    assert_eq!(broker.post(&json, &[JSON], many.as_bytes()).status, 204);
}
