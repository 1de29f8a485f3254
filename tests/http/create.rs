//! PUT, HEAD, DELETE.

use crate::support::{Broker, CLOSE, JSON, TEXT};

#[test]
fn a_create_says_where_the_stream_is() {
    let broker = Broker::start();
    let path = "/v1/stream/a%20b/c";
    let created = broker.send("PUT", path, &[TEXT], b"");
    assert_eq!(created.status, 201);
    assert_eq!(
        created.header("location"),
        Some("http://broker.test/v1/stream/a%20b/c")
    );
    let proxied = [TEXT, ("X-Forwarded-Proto", "https")];
    let created = broker.send("PUT", "/v1/stream/d", &proxied, b"");
    assert_eq!(
        created.header("location"),
        Some("https://broker.test/v1/stream/d")
    );
    let again = broker.send("PUT", path, &[TEXT], b"");
    assert_eq!((again.status, again.header("location")), (200, None));
}

#[test]
fn a_content_type_is_echoed_as_given_with_its_parameters() {
    let broker = Broker::start();
    let given = "Text/Plain; charset=UTF-8";
    let path = broker.create("a", given);
    assert_eq!(broker.get(&path).header("content-type"), Some(given));
    let head = broker.send("HEAD", &path, &[], b"");
    assert_eq!(head.header("content-type"), Some(given));
    let other_case = [("Content-Type", "text/PLAIN; charset=UTF-8")];
    let same = broker.send("PUT", &path, &other_case, b"");
    assert_eq!(
        (same.status, same.header("content-type")),
        (200, Some(given))
    );
    assert_eq!(broker.post(&path, &[TEXT], b"x").status, 204);
}

#[test]
fn a_create_must_match_whether_the_stream_is_closed() {
    let broker = Broker::start();
    let open = broker.create("open", "text/plain");
    let closed = "/v1/stream/closed";
    let created = broker.send("PUT", closed, &[TEXT, ("Stream-Closed", "TRUE")], b"all");
    assert_eq!(created.status, 201);
    assert_eq!(created.header("stream-closed"), Some("true"));
    assert_eq!(broker.send("PUT", closed, &[TEXT], b"").status, 409);
    assert_eq!(broker.send("PUT", &open, &[TEXT, CLOSE], b"").status, 409);
    let again = broker.send("PUT", closed, &[TEXT, CLOSE], b"");
    assert_eq!(again.status, 200);
    assert_eq!(again.header("stream-closed"), Some("true"));
    assert_eq!(broker.get(closed).text(), "all");
    let not_true = broker.send("PUT", &open, &[TEXT, ("Stream-Closed", "yes")], b"");
    assert_eq!(not_true.status, 200);
}

#[test]
fn our_own_headers_set_retention_and_storage_and_are_echoed() {
    let broker = Broker::start();
    let own = [
        ("stream-retention-max-age", "3600"),
        ("stream-retention-max-records", "2"),
        ("stream-retention-max-bytes", "4096"),
        ("stream-storage", "memory"),
    ];
    let path = "/v1/stream/a";
    let headers = [&[TEXT], own.as_slice()].concat();
    assert_eq!(broker.send("PUT", path, &headers, b"").status, 201);
    assert_eq!(broker.send("PUT", path, &headers, b"").status, 200);
    assert_eq!(broker.send("PUT", path, &[TEXT], b"").status, 409);
    let head = broker.send("HEAD", path, &[], b"");
    for (name, value) in own {
        assert_eq!(head.header(name), Some(value), "{name}");
    }
    for (name, bad) in [
        ("stream-retention-max-records", "0"),
        ("stream-retention-max-records", "1.5"),
        ("stream-retention-max-age", "-1"),
        ("stream-storage", "cloud"),
    ] {
        let refused = broker.send("PUT", "/v1/stream/b", &[TEXT, (name, bad)], b"");
        assert_eq!(refused.status, 400, "{name}: {bad}");
    }
}

#[test]
fn expiries_are_read_in_any_zone_and_shown_in_utc() {
    let broker = Broker::start();
    let expires = ("Stream-Expires-At", "2050-01-02T12:00:00+02:00");
    let path = "/v1/stream/a";
    assert_eq!(broker.send("PUT", path, &[TEXT, expires], b"").status, 201);
    let same = ("Stream-Expires-At", "2050-01-02T10:00:00.000Z");
    assert_eq!(broker.send("PUT", path, &[TEXT, same], b"").status, 200);
    let head = broker.send("HEAD", path, &[], b"");
    assert_eq!(
        head.header("stream-expires-at"),
        Some("2050-01-02T10:00:00Z")
    );
}

#[test]
fn names_that_are_none_are_refused() {
    let broker = Broker::start();
    let long = format!("/v1/stream/{}", "x".repeat(1_025));
    for path in [
        "/v1/stream/",
        "/v1/stream/%00",
        "/v1/stream/%ff",
        "/v1/stream/%5F%5Fds/keys",
        &long,
    ] {
        assert_eq!(broker.send("PUT", path, &[TEXT], b"").status, 400, "{path}");
    }
    // The reserved routes themselves; no stream is ever made there.
    let reserved = broker.send("PUT", "/v1/stream/__ds/keys", &[TEXT], b"");
    assert!(reserved.status >= 400, "{reserved:?}");
    assert_eq!(broker.get("/v2/stream/a").status, 404);
    assert_eq!(broker.get("/v1/stream").status, 404);
}

#[test]
fn a_fork_names_its_source_by_path() {
    let broker = Broker::start();
    let source = broker.create("source/with%20space", "application/json");
    assert_eq!(broker.post(&source, &[JSON], b"[1,2,3]").status, 204);
    let from = ("Stream-Forked-From", source.as_str());
    let fork = "/v1/stream/fork";
    let forked = broker.send("PUT", fork, &[from], b"[4]");
    assert_eq!(forked.status, 201, "{forked:?}");
    assert_eq!(forked.header("content-type"), Some("application/json"));
    assert_eq!(broker.get(fork).text(), "[1,2,3,4]");
    for bad in ["source", "http://elsewhere/v1/stream/a"] {
        let refused = broker.send("PUT", "/v1/stream/b", &[("Stream-Forked-From", bad)], b"");
        assert_eq!(refused.status, 400, "{bad}");
    }
    assert_eq!(broker.send("DELETE", &source, &[], b"").status, 204);
    for method in ["GET", "HEAD", "DELETE"] {
        assert_eq!(
            broker.send(method, &source, &[], b"").status,
            410,
            "{method}"
        );
    }
    assert_eq!(broker.get(fork).text(), "[1,2,3,4]");
}

#[test]
fn a_deleted_stream_is_gone_and_its_name_free() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    broker.text(&path, b"old");
    let before = broker.get(&path);
    assert_eq!(broker.send("DELETE", &path, &[], b"").status, 204);
    assert_eq!(broker.send("DELETE", &path, &[], b"").status, 404);
    assert_eq!(broker.get(&path).status, 404);
    broker.create("a", "text/plain");
    broker.text(&path, b"new");
    let etag = before.header("etag").expect("a tag");
    let after = broker.send("GET", &path, &[("If-None-Match", etag)], b"");
    assert_eq!((after.status, after.text()), (200, "new"));
}

#[test]
fn where_a_source_begins_is_said_to_who_forks_before_it() {
    let broker = Broker::start();
    let path = "/v1/stream/source";
    let retention = ("Stream-Retention-Max-Records", "1");
    assert_eq!(
        broker.send("PUT", path, &[TEXT, retention], b"").status,
        201
    );
    let trimmed = broker.text(path, b"a").next().to_owned();
    let earliest = broker.text(path, b"b").next().to_owned();
    broker.text(path, b"c");
    let source = ("Stream-Forked-From", path);
    let fork = |name: &str, offset: &str| {
        let headers = [TEXT, source, ("Stream-Fork-Offset", offset)];
        broker.send("PUT", &format!("/v1/stream/{name}"), &headers, b"")
    };
    let gone = fork("before", &trimmed);
    assert_eq!(gone.status, 410);
    assert_eq!(
        gone.header("stream-earliest-offset"),
        Some(earliest.as_str())
    );
    assert_eq!(fork("first", "-1").status, 201);
    let head = broker.send("HEAD", "/v1/stream/first", &[], b"");
    assert_eq!(head.next(), earliest);
    assert_eq!(
        head.header("stream-earliest-offset"),
        Some(earliest.as_str())
    );
}

#[test]
fn a_source_is_named_by_its_path_and_nothing_else() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    for (source, status) in [
        ("/nope", 404),
        ("/v2/stream/a", 404),
        ("/v1/stream/none", 404),
        (&format!("{path}?x"), 400),
        (&format!("{path}#x"), 400),
        (&path, 201),
    ] {
        let forked = broker.send(
            "PUT",
            "/v1/stream/b",
            &[TEXT, ("Stream-Forked-From", source)],
            b"",
        );
        assert_eq!(forked.status, status, "{source}: {forked:?}");
    }
}
