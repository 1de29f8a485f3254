//! Bounds: bodies, their sum, connections.

use std::io::Write as _;
use std::net::Shutdown;

use crate::support::{Broker, Open, TEXT, head, poll};

#[test]
fn a_body_over_the_limit_is_refused_however_it_comes() {
    let broker = Broker::start_with(&["--http-body-bytes-max", "64KiB"]);
    let path = broker.create("a", "text/plain");
    let body = vec![b'x'; (64 << 10) + 1];
    let refused = broker.post(&path, &[TEXT], &body);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (413, "BODY_TOO_LARGE")
    );
    assert_eq!(broker.post(&path, &[TEXT], &body[1..]).status, 204);
    let mut socket = broker.connect();
    let chunked = head(
        "POST",
        &path,
        &[TEXT, ("Transfer-Encoding", "chunked")],
        None,
    );
    socket.write_all(chunked.as_bytes()).expect("sent");
    // The client sends all of a much larger body before it looks for an answer, and gets one.
    for _ in 0..200 {
        socket.write_all(b"10000\r\n").expect("sent");
        socket.write_all(&body[1..]).expect("sent");
        socket.write_all(b"\r\n").expect("sent");
    }
    socket.write_all(b"0\r\n\r\n").expect("sent");
    assert_eq!(Open::read(socket).rest().status, 413);
    let put = broker.send("PUT", "/v1/stream/b", &[TEXT], &body);
    assert_eq!(put.status, 413);
    assert_eq!(broker.get("/v1/stream/b").status, 404);
}

#[test]
fn a_client_that_asks_first_need_not_send_what_is_refused() {
    let broker = Broker::start_with(&["--http-body-bytes-max", "1KiB"]);
    let path = broker.create("a", "text/plain");
    let mut socket = broker.connect();
    let expecting = head(
        "POST",
        &path,
        &[TEXT, ("Expect", "100-continue")],
        Some(2 << 10),
    );
    socket.write_all(expecting.as_bytes()).expect("sent");
    assert_eq!(Open::read(socket).answer.status, 413);
    let mut socket = broker.connect();
    let expecting = head("POST", &path, &[TEXT, ("Expect", "100-continue")], Some(3));
    socket.write_all(expecting.as_bytes()).expect("sent");
    let go_on = Open::read(socket.try_clone().expect("a second handle"));
    assert_eq!(go_on.answer.status, 100);
    socket.write_all(b"abc").expect("sent");
    assert_eq!(Open::read(socket).answer.status, 204);
}

#[test]
fn bodies_over_their_common_limit_are_put_off() {
    let limits = [
        "--http-body-bytes-max",
        "64KiB",
        "--http-bodies-bytes-max",
        "64KiB",
    ];
    let broker = Broker::start_with(&limits);
    let path = broker.create("a", "text/plain");
    // One body that is not finished holds what it has sent.
    let mut socket = broker.connect();
    let slow = head("POST", &path, &[TEXT], Some(64 << 10));
    socket.write_all(slow.as_bytes()).expect("sent");
    socket.write_all(&vec![b'x'; 60 << 10]).expect("sent");
    let held = format!("\nstreamkeeper_http_body_bytes {}\n", 60 << 10);
    poll(|| broker.get("/metrics").text().contains(&held).then_some(()));
    let put_off = broker.post(&path, &[TEXT], &[b'y'; 8 << 10]);
    assert_eq!((put_off.status, put_off.code().as_str()), (429, "BUSY"));
    assert_eq!(put_off.header("retry-after"), Some("1"));
    // A client that went away gives it back.
    socket.shutdown(Shutdown::Both).expect("shut");
    poll(|| {
        let answer = broker.post(&path, &[TEXT], &[b'z'; 8 << 10]);
        (answer.status == 204).then_some(())
    });
    assert!(!broker.get(&path).text().contains(['x', 'y']));
}

#[test]
fn a_connection_over_the_limit_is_told_so() {
    let broker = Broker::start_with(&["--connections-max", "2"]);
    let (_one, _two) = (broker.connect(), broker.connect());
    let refused = poll(|| {
        let answer = Open::read(broker.connect()).answer;
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(refused.header("retry-after"), Some("1"));
}
