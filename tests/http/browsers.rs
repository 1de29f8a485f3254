//! What browsers look at, on every answer; and who may come in at all.

use crate::support::{Answer, Broker, TEXT};

#[track_caller]
fn assert_secure(answer: &Answer) {
    let security = [
        answer.header("x-content-type-options"),
        answer.header("cross-origin-resource-policy"),
    ];
    assert_eq!(
        security,
        [Some("nosniff"), Some("cross-origin")],
        "{answer:?}"
    );
}

#[test]
fn every_answer_carries_the_security_headers() {
    let broker = Broker::start_with(&[
        "--http-body-bytes-max",
        "1KiB",
        "--long-poll-timeout",
        "10ms",
    ]);
    let path = broker.create("a", "text/plain");
    let preflight = [
        ("Origin", "https://example.com"),
        ("Access-Control-Request-Method", "PUT"),
    ];
    for (method, path, headers, body, status) in [
        ("PUT", path.as_str(), &[TEXT][..], &b""[..], 200),
        ("PUT", "/v1/stream/b", &[TEXT], b"", 201),
        ("POST", &path, &[TEXT], b"x", 204),
        ("POST", &path, &[], b"", 400),
        ("POST", &path, &[TEXT], &[b'x'; 2_000], 413),
        ("GET", &path, &[], b"", 200),
        (
            "GET",
            &format!("{path}?offset=now&live=long-poll"),
            &[],
            b"",
            204,
        ),
        ("GET", "/v1/stream/none", &[], b"", 404),
        ("GET", "/v1/stream/", &[], b"", 400),
        ("HEAD", &path, &[], b"", 200),
        ("PATCH", &path, &[], b"", 405),
        ("OPTIONS", &path, &preflight, b"", 200),
        ("DELETE", &path, &[], b"", 204),
    ] {
        let answer = broker.send(method, path, headers, body);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_secure(&answer);
    }
}

#[test]
fn any_page_may_use_the_streams_unless_told_otherwise() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let preflight = [
        ("Origin", "https://example.com"),
        ("Access-Control-Request-Method", "POST"),
        (
            "Access-Control-Request-Headers",
            "authorization,producer-id",
        ),
    ];
    let allowed = broker.send("OPTIONS", &path, &preflight, b"");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        allowed.header("access-control-allow-headers"),
        Some("authorization,producer-id")
    );
    let methods = allowed
        .header("access-control-allow-methods")
        .expect("methods");
    assert!(
        ["GET", "HEAD", "PUT", "POST", "DELETE"]
            .iter()
            .all(|one| methods.contains(one))
    );
    // A cache may show one page what another asked for, so it is said even to who is no browser.
    let answer = broker.get(&path);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let posted = broker.post(&path, &[TEXT, ("Origin", "https://example.com")], b"x");
    assert_eq!(posted.header("access-control-allow-origin"), Some("*"));
    let exposed = posted
        .header("access-control-expose-headers")
        .expect("headers");
    for header in [
        "stream-next-offset",
        "stream-closed",
        "producer-expected-seq",
        "etag",
        "location",
    ] {
        assert!(exposed.contains(header), "{header}: {exposed}");
    }
}

#[test]
fn only_the_origins_named_may_if_some_are() {
    let broker = Broker::start_with(&["--cors-origins", "https://a.example"]);
    let path = broker.create("a", "text/plain");
    let allowed = |origin| {
        let answer = broker.send("GET", &path, &[("Origin", origin)], b"");
        assert!(
            answer
                .header("vary")
                .is_some_and(|vary| vary.contains("origin")),
            "{answer:?}"
        );
        answer
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    assert_eq!(
        allowed("https://a.example").as_deref(),
        Some("https://a.example")
    );
    assert_eq!(allowed("https://b.example"), None);
}

#[test]
fn a_token_is_needed_if_one_is_set() {
    let broker = Broker::start_with(&["--auth-token", "open-sesame", "--auth-token", "other"]);
    let path = "/v1/stream/a";
    for headers in [
        vec![TEXT],
        vec![TEXT, ("Authorization", "Bearer wrong")],
        vec![TEXT, ("Authorization", "Basic other")],
        vec![TEXT, ("Authorization", "other")],
        vec![TEXT, ("Authorization", "Bearer ")],
    ] {
        for method in ["PUT", "POST", "GET", "HEAD", "DELETE"] {
            let refused = broker.send(method, path, &headers, b"");
            assert_eq!(refused.status, 401, "{method} {headers:?}");
            assert!(refused.header("www-authenticate").is_some());
            assert_secure(&refused);
        }
    }
    let token = ("Authorization", "bearer open-sesame");
    assert_eq!(broker.send("PUT", path, &[TEXT, token], b"x").status, 201);
    let token = ("Authorization", "Bearer other");
    let read = broker.send("GET", path, &[token], b"");
    assert_eq!((read.status, read.text()), (200, "x"));
    let kept = read.header("cache-control").expect("a rule for caches");
    assert!(kept.starts_with("private, "), "{kept}");
    let preflight = [
        ("Origin", "https://example.com"),
        ("Access-Control-Request-Method", "PUT"),
    ];
    assert_eq!(broker.send("OPTIONS", path, &preflight, b"").status, 200);
    // Probes need none.
    assert_eq!(broker.get("/readyz").status, 200);
}

#[test]
fn a_page_that_is_not_named_may_not_write() {
    let broker = Broker::start_with(&["--cors-origins", "https://a.example"]);
    let path = broker.create("a", "text/plain");
    let foreign = ("Origin", "https://b.example");
    for method in ["PUT", "POST", "DELETE"] {
        let refused = broker.send(method, &path, &[TEXT, foreign], b"x");
        assert_eq!(refused.status, 403, "{method}");
        assert_secure(&refused);
    }
    assert_eq!(broker.send("GET", &path, &[foreign], b"").text(), "");
    let named = ("Origin", "https://a.example");
    assert_eq!(broker.post(&path, &[TEXT, named], b"x").status, 204);
}
