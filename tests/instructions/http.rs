//! A POST over HTTP/1.1: the server's side of a connection, polled by hand over a pipe in memory.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use streamkeeper::http::Routes;
use streamkeeper::http::streams::{StreamsFace, StreamsOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::paths::on_one_thread;
use crate::peer::{Peer, RECORD, broker};

/// Requests of a round, one after the other.
pub(crate) const POSTS: u64 = 8;

pub(crate) fn post(rounds: u64) {
    on_one_thread(async {
        let (broker, _directory) = broker().await;
        Peer::connected(&broker).await.create("orders").await;
        let metrics = Arc::clone(broker.metrics());
        let opening = Arc::new(OnceLock::from(broker.clone()));
        let (options, token) = (StreamsOptions::default(), CancellationToken::new());
        let streams = StreamsFace::new(opening, options, token, metrics, Router::new());
        let routes = Routes::new(streams, Router::new());
        let answer =
            async |request: Request<Incoming>| Ok::<_, Infallible>(routes.answer(request).await);
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service_fn(answer));
        let mut serving = pin!(serving);
        let request = request();
        for _ in 0..rounds * POSTS {
            client.write_all(&request).await.expect("the pipe has room");
            let mut answer = vec![0; 4096];
            let mut answered = pin!(client.read(&mut answer));
            let length = std::future::poll_fn(|cx| {
                let polled = counted_poll(serving.as_mut(), cx);
                assert!(polled.is_pending(), "the connection goes on");
                answered.as_mut().poll(cx)
            });
            let length = length.await.expect("an answer");
            let answer = answer.get(..length).unwrap_or_default();
            assert!(
                answer.starts_with(b"HTTP/1.1 204"),
                "{}",
                String::from_utf8_lossy(answer)
            );
        }
        broker.close_all().await;
    });
}

fn request() -> Vec<u8> {
    let head = format!(
        "POST /v1/stream/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n\
        Content-Length: {}\r\n\r\n",
        RECORD.len()
    );
    [head.as_bytes(), &RECORD].concat()
}

/// The server's turn: from bytes to the write queue, or from the reply to bytes.
#[inline(never)]
fn counted_poll<F: Future>(connection: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    connection.poll(cx)
}
