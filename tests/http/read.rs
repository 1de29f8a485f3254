//! GET without waiting: offsets, caches, retention.

use crate::support::{Broker, CLOSE, JSON, TEXT};

#[test]
fn an_offset_that_was_never_given_out_is_refused_in_every_mode() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let tail = broker.text(&path, b"abc").next().to_owned();
    broker.text(&path, b"def");
    for offset in [
        "9999999999999999_9999999999999999",
        "0000000000000003_0000000000000006",
        "0000000000000001_0000000000000002",
        "1",
        "",
        "now,now",
    ] {
        for live in ["", "&live=long-poll", "&live=sse"] {
            let answer = broker.get(&format!("{path}?offset={offset}{live}"));
            assert_eq!(answer.status, 400, "{offset}{live}: {answer:?}");
        }
    }
    let rest = broker.get(&format!("{path}?offset={tail}"));
    assert_eq!((rest.status, rest.text()), (200, "def"));
}

#[test]
fn queries_are_strict_about_what_they_know() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    for query in [
        "offset=-1&live=",
        "offset=-1&live=SSE",
        "offset=-1&live=websocket",
        "live=sse",
        "live=long-poll",
        "offset=-1&offset=-1",
        "offset=-1&live=sse&live=sse",
    ] {
        assert_eq!(
            broker.get(&format!("{path}?{query}")).status,
            400,
            "{query}"
        );
    }
    assert_eq!(
        broker.get(&format!("{path}?whatever=1&offset=-1")).status,
        200
    );
}

#[test]
fn a_tag_changes_when_the_stream_closes() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let tail = broker.text(&path, b"abc").next().to_owned();
    let at_tail = format!("{path}?offset={tail}");
    let whole = broker.get(&path);
    let empty = broker.get(&at_tail);
    assert_eq!(empty.header("cache-control"), Some("public, no-cache"));
    let ask = |url: &str, etag: &str| broker.send("GET", url, &[("If-None-Match", etag)], b"");
    let (whole_tag, empty_tag) = (
        whole.header("etag").expect("a tag"),
        empty.header("etag").expect("a tag"),
    );
    let unchanged = ask(&at_tail, empty_tag);
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), Some(empty_tag));
    assert_eq!(unchanged.next(), tail);
    assert_eq!(ask(&path, &format!("\"x\", W/{whole_tag}")).status, 304);
    assert_eq!(broker.post(&path, &[CLOSE], b"").status, 204);
    let closed = ask(&at_tail, empty_tag);
    assert_eq!(
        (closed.status, closed.header("stream-closed")),
        (200, Some("true"))
    );
    let closed = ask(&path, whole_tag);
    assert_eq!((closed.status, closed.text()), (200, "abc"));
    assert_eq!(closed.header("stream-closed"), Some("true"));
    assert_eq!(
        ask(&path, closed.header("etag").expect("a tag")).status,
        304
    );
}

#[test]
fn what_moves_is_not_kept_and_what_does_not_is() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    broker.text(&path, b"abc");
    let cache = |method, path: &str| {
        let answer = broker.send(method, path, &[], b"");
        let value = answer.header("cache-control").expect("a rule for caches");
        (value.to_owned(), answer.header("etag").is_some())
    };
    let kept = String::from("public, max-age=60, stale-while-revalidate=300");
    let never = String::from("no-store");
    assert_eq!(cache("GET", &path), (kept, true));
    assert_eq!(cache("HEAD", &path), (never.clone(), false));
    assert_eq!(
        cache("GET", &format!("{path}?offset=now")),
        (never.clone(), false)
    );
    assert_eq!(cache("GET", "/v1/stream/none"), (never, false));
    let short = "/v1/stream/short";
    let ttl = ("Stream-TTL", "20");
    assert_eq!(broker.send("PUT", short, &[TEXT, ttl], b"x").status, 201);
    let bounded = String::from("public, max-age=20, stale-while-revalidate=0");
    assert_eq!(cache("GET", short), (bounded, true));
}

#[test]
fn reading_what_was_trimmed_says_where_the_stream_begins() {
    let broker = Broker::start();
    let path = "/v1/stream/a";
    let keep = ("Stream-Retention-Max-Records", "2");
    assert_eq!(broker.send("PUT", path, &[TEXT, keep], b"").status, 201);
    let first = broker.get(path).next().to_owned();
    for record in [b"aa", b"bb", b"cc"] {
        broker.text(path, record);
    }
    let earliest = "0000000000000001_0000000000000002";
    for live in ["", "&live=long-poll", "&live=sse"] {
        let trimmed = broker.get(&format!("{path}?offset={first}{live}"));
        assert_eq!((trimmed.status, trimmed.code().as_str()), (410, "TRIMMED"));
        assert_eq!(trimmed.header("stream-earliest-offset"), Some(earliest));
    }
    assert_eq!(
        broker.get(&format!("{path}?offset={earliest}")).text(),
        "bbcc"
    );
    assert_eq!(broker.get(&format!("{path}?offset=-1")).text(), "bbcc");
}

#[test]
fn pages_are_compressed_if_asked_for_and_worth_it() {
    let broker = Broker::start();
    let path = broker.create("a", "application/json");
    let value = format!("[\"{}\"]", "x".repeat(5_000));
    assert_eq!(broker.post(&path, &[JSON], value.as_bytes()).status, 204);
    let gzip = ("Accept-Encoding", "gzip");
    let plain = broker.get(&path);
    assert_eq!(
        (plain.header("content-encoding"), plain.text()),
        (None, value.as_str())
    );
    let packed = broker.send("GET", &path, &[gzip], b"");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < 1_000 && packed.body.starts_with(&[0x1f, 0x8b]));
    let vary = packed
        .header("vary")
        .expect("caches are told")
        .to_ascii_lowercase();
    assert!(vary.contains("accept-encoding"), "{vary}");
    // The same records in other bytes: weakly the same.
    let tag = plain.header("etag").expect("a tag");
    assert_eq!(packed.header("etag"), Some(format!("W/{tag}").as_str()));
    let headers = [
        gzip,
        ("If-None-Match", packed.header("etag").expect("a tag")),
    ];
    assert_eq!(broker.send("GET", &path, &headers, b"").status, 304);
    assert_eq!(broker.post(&path, &[JSON, CLOSE], b"1").status, 204);
    let events = broker.send("GET", &format!("{path}?offset=-1&live=sse"), &[gzip], b"");
    assert_eq!(events.header("content-encoding"), None);
    let small = broker.create("b", "application/json");
    let small = broker.send("GET", &small, &[gzip], b"");
    assert_eq!(small.header("content-encoding"), None);
}
