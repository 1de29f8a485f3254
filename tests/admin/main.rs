//! Probes and metrics over a real socket, in each state a broker can be in.
//!
//! The routes are started with a readiness value and no broker, as they are while a broker still opens its store.

mod asking;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use axum::Router;
use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::http::admin::Admin;
use streamkeeper::http::streams::{Opening, StreamsFace, StreamsOptions};
use streamkeeper::http::{HttpOptions, HttpServer, Routes};
use streamkeeper::metrics::Metrics;
use streamkeeper::store::Readiness;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

struct Http {
    address: SocketAddr,
    readiness: watch::Sender<Readiness>,
    opening: Opening,
    metrics: Arc<Metrics>,
    draining: CancellationToken,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

async fn start() -> Http {
    let (metrics, exporter) = Metrics::new();
    let starting = Readiness::Starting {
        reason: "replaying the journal (40 of 90 MiB)".into(),
    };
    let (readiness, seen) = watch::channel(starting);
    let http = HttpServer::bind("127.0.0.1:0").await.expect("a free port");
    let address = http.address();
    let stop = CancellationToken::new();
    let opening = Opening::default();
    let admin = Admin::new(seen, Arc::clone(&opening), Arc::clone(&metrics), exporter);
    let streams = StreamsFace::new(
        Arc::clone(&opening),
        StreamsOptions::default(),
        CancellationToken::new(),
        Arc::clone(&metrics),
        Router::new(),
    );
    let routes = Routes::new(streams, admin.routes());
    let options = HttpOptions::default();
    let draining = CancellationToken::new();
    let running = http.run(
        routes,
        options,
        Arc::clone(&metrics),
        draining.clone(),
        stop.clone(),
    );
    let served = tokio::spawn(running);
    Http {
        address,
        readiness,
        opening,
        metrics,
        draining,
        stop,
        served,
    }
}

impl Http {
    /// What a broker process does once its subscriptions are read.
    async fn open(&self) -> Broker {
        let directory = tempfile::tempdir().expect("a directory");
        let broker = Broker::open(BrokerOptions::in_directory(directory.path())).await;
        let broker = broker.expect("it opens");
        self.opening.set(broker.clone()).expect("opened once");
        broker
    }

    /// The whole response to `GET path` as text.
    async fn get(&self, path: &str, header: &str) -> String {
        let (address, path, header) = (self.address, path.to_owned(), header.to_owned());
        tokio::task::spawn_blocking(move || get(address, &path, &header))
            .await
            .expect("the exchange ends")
    }
}

fn get(address: SocketAddr, path: &str, header: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
    let mut socket = TcpStream::connect(address).expect("connected");
    socket.write_all(request.as_bytes()).expect("sent");
    let mut response = String::new();
    socket
        .read_to_string(&mut response)
        .expect("an answer in UTF-8");
    response
}

#[tokio::test]
async fn a_request_that_was_on_its_way_when_the_drain_began_is_answered() {
    let http = start().await;
    let mut early = TcpStream::connect(http.address).expect("connected");
    // Its own connection and the early one.
    let mut looks = 0;
    while !http
        .get("/metrics", "")
        .await
        .contains("streamkeeper_http_connections 2\n")
    {
        looks += 1;
        assert!(looks < 10_000, "the early connection is not accepted");
    }
    http.draining.cancel();
    let late = http.get("/readyz", "").await;
    assert!(late.starts_with("HTTP/1.1 503 "), "{late}");
    let exchange = move || {
        early.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut response = String::new();
        early.read_to_string(&mut response).map(|_| response)
    };
    let answered = tokio::task::spawn_blocking(exchange)
        .await
        .expect("it ends");
    let response = answered.expect("an answer, and then the end");
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
}

#[tokio::test]
async fn readyz_says_which_state_and_why() {
    let http = start().await;
    http.open().await;
    for (state, status, text) in [
        (
            None,
            "503",
            "starting: replaying the journal (40 of 90 MiB)\n",
        ),
        (Some(Readiness::Ready), "200", "ready\n"),
        (
            Some(Readiness::Draining),
            "503",
            "draining: the broker is shutting down\n",
        ),
        (
            Some(Readiness::Faulted {
                reason: "disk".into(),
            }),
            "503",
            "faulted: disk\n",
        ),
    ] {
        if let Some(state) = state {
            http.readiness.send_replace(state);
        }
        let response = http.get("/readyz", "").await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{response}"
        );
        assert!(response.ends_with(&format!("\r\n\r\n{text}")), "{response}");
        let alive = http.get("/livez", "").await;
        assert!(
            alive.starts_with("HTTP/1.1 200 ") && alive.ends_with("alive\n"),
            "{alive}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_says_how_far_the_replay_of_the_journal_is() {
    let directory = asking::unfolded(3 << 20).await;
    let http = start().await;
    let address = http.address;
    let (files, answers) = asking::Asking::over(directory.path(), move || {
        let response = get(address, "/readyz", "");
        let (_, body) = response.split_once("\r\n\r\n").expect("an answer");
        body.trim().to_owned()
    });
    http.readiness.send_replace(Readiness::Starting {
        reason: "opening the store".into(),
    });
    let mut options = BrokerOptions::in_directory(directory.path());
    options.files = Arc::new(files);
    options.readiness = http.readiness.clone();
    options.metrics = Arc::clone(&http.metrics);
    let broker = Broker::open(options).await.expect("it opens");
    let scrape = http.get("/metrics", "").await;
    broker.close_all().await;

    let progress: Vec<(u64, u64)> = answers
        .lock()
        .iter()
        .filter_map(|answer| asking::progress(answer))
        .collect();
    let (first, last) = (progress[0], progress[progress.len() - 1]);
    assert_eq!(first.0, 0, "{progress:?}");
    assert_eq!(last.0, last.1, "{progress:?}");
    assert!(last.1 >= 3, "{progress:?}");
    for pair in progress.windows(2) {
        assert!(
            pair[0].0 < pair[1].0 && pair[0].1 == pair[1].1,
            "{progress:?}"
        );
    }
    assert!(progress.len() > 3, "{progress:?}");
    let replayed = scrape
        .lines()
        .find_map(|line| line.strip_prefix("streamkeeper_journal_replayed_bytes "))
        .and_then(|bytes| bytes.parse::<u64>().ok());
    assert!(replayed > Some((last.1 - 1) << 20), "{replayed:?}");
    assert!(replayed <= Some(last.1 << 20), "{replayed:?}");
}

#[tokio::test]
async fn a_store_that_is_ready_is_starting_until_the_streams_are_served() {
    let http = start().await;
    http.readiness.send_replace(Readiness::Ready);
    let response = http.get("/readyz", "").await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(
        response.ends_with("starting: reading the subscriptions\n"),
        "{response}"
    );
    http.open().await;
    let response = http.get("/readyz", "").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let served = http.get("/v1/stream/a", "").await;
    assert!(served.starts_with("HTTP/1.1 404 "), "{served}");
}

#[tokio::test]
async fn probes_answer_in_json_when_asked() {
    let http = start().await;
    for (path, header) in [
        ("/readyz?verbose", ""),
        ("/readyz", "Accept: application/json\r\n"),
    ] {
        let response = http.get(path, header).await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/json"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["status"], "starting");
        assert_eq!(body["reason"], "replaying the journal (40 of 90 MiB)");
    }
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_text_with_the_state_of_readiness() {
    let http = start().await;
    http.metrics.appends.increment(5);
    let response = http.get("/metrics", "").await;
    assert!(response.contains("content-type: text/plain; version=0.0.4\r\n"));
    assert!(
        response.contains("\nstreamkeeper_appends_total 5\n"),
        "{response}"
    );
    assert!(response.contains("\nstreamkeeper_ready 0\n"), "{response}");
    http.open().await;
    http.readiness.send_replace(Readiness::Ready);
    assert!(
        http.get("/metrics", "")
            .await
            .contains("\nstreamkeeper_ready 1\n")
    );
}

#[tokio::test]
async fn the_index_names_the_routes_and_other_paths_are_not_found() {
    let http = start().await;
    let index = http.get("/", "").await;
    for route in ["/livez", "/readyz", "/metrics"] {
        assert!(index.contains(route), "{index}");
    }
    assert!(http.get("/nope", "").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn streams_are_not_served_before_the_broker_is_open() {
    let http = start().await;
    let response = http.get("/v1/stream/a", "").await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains("\r\nretry-after: 1\r\n"), "{response}");
    assert!(response.contains("\"code\":\"STARTING\""), "{response}");
}

#[tokio::test]
async fn serving_ends_when_told_to() {
    let http = start().await;
    http.stop.cancel();
    http.served.await.unwrap();
    assert!(TcpStream::connect(http.address).is_err());
}
