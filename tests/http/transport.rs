//! Connections: kept alive, pipelined, and HTTP/2 by prior knowledge.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::{Broker, TEXT};

#[test]
fn requests_may_be_pipelined_on_one_connection() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let mut socket = broker.connect();
    let append = |number: usize| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n");
        format!("{head}Content-Length: 1\r\n\r\n{number}")
    };
    let read = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let requests = (0..10).map(append).collect::<String>() + &read;
    socket.write_all(requests.as_bytes()).expect("sent");
    let mut answers = String::new();
    socket.read_to_string(&mut answers).expect("all answers");
    assert_eq!(answers.matches("HTTP/1.1 204 ").count(), 10, "{answers}");
    assert!(answers.ends_with("\r\n\r\n0123456789"), "{answers}");
}

#[test]
fn events_are_not_held_up_by_a_request_behind_them() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let mut socket = broker.connect();
    let events = format!("GET {path}?offset=-1&live=sse HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.write_all(events.as_bytes()).expect("sent");
    socket.write_all(events.as_bytes()).expect("sent");
    let mut seen = String::new();
    let mut piece = [0; 4096];
    while !seen.contains("streamNextOffset") {
        let count = socket.read(&mut piece).expect("events");
        assert_ne!(count, 0, "{seen}");
        seen += &String::from_utf8_lossy(&piece[..count]);
    }
}

#[test]
fn what_is_no_http_is_closed() {
    let broker = Broker::start();
    let mut socket = broker.connect();
    socket
        .write_all(b"\x00\x01 nonsense\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("closed");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(broker.get("/livez").status, 200);
}

#[tokio::test]
async fn http_2_is_spoken_to_who_begins_with_it() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let socket = tokio::net::TcpStream::connect(&broker.http)
        .await
        .expect("connected");
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = |method, path: &str, body| {
        axum::http::Request::builder()
            .method(method)
            .uri(format!("http://broker.test{path}"))
            .header(TEXT.0, TEXT.1)
            .body(Full::new(Bytes::from_static(body)))
            .expect("a request")
    };
    let created = client
        .send_request(request("PUT", "/v1/stream/two", b"2"))
        .await
        .expect("answered");
    assert_eq!(created.status(), 201);
    assert_eq!(
        created.headers()["location"],
        "http://broker.test/v1/stream/two"
    );
    // An event reader and appends share the connection.
    let events = client
        .send_request(request("GET", &format!("{path}?offset=-1&live=sse"), b""))
        .await
        .expect("answered");
    assert_eq!(events.status(), 200);
    let appended = client
        .send_request(request("POST", &path, b"over two"))
        .await
        .expect("answered");
    assert_eq!(appended.status(), 204);
    let mut body = events.into_body();
    let mut seen = String::new();
    while !seen.contains("data:over two") {
        let frame = body.frame().await.expect("not the end").expect("a frame");
        seen += &String::from_utf8_lossy(frame.data_ref().expect("data"));
    }
    drop((client, body));
    connection.await.expect("no panic").expect("a clean end");
}
