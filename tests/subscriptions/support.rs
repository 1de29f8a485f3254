//! A broker process, a receiver of webhooks, and what one says to the other.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

/// How long anything may take; far more than it does, so that a slow machine fails no test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A broker process; killed when dropped, as by a power cut.
pub(crate) struct Broker {
    child: Child,
    root: String,
    client: reqwest::Client,
    pub(crate) token: Option<&'static str>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }

    /// Checks for a refusal with this status and code.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["error"]["code"], code, "{body}");
        assert!(body["error"]["message"].is_string(), "{body}");
        body
    }
}

impl Broker {
    /// Starts one that lets webhooks go to loopback.
    pub(crate) fn start(data: &TempDir) -> Self {
        Self::start_with(data.path(), &["--webhooks-allow-loopback", "true"], &[])
    }

    pub(crate) fn start_with(
        data: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamkeeper"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STREAMKEEPER_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(data)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let http = lines
            .find_map(|line| line.strip_prefix("http on ").map(str::to_owned))
            .expect("the broker says where HTTP is");
        lines
            .find(|line| line.starts_with("listening on "))
            .expect("the broker serves");
        // For clients without TLS too, the library asks for a provider.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(DEADLINE)
            .build()
            .expect("a client");
        Self {
            child,
            root: format!("http://{http}/v1/stream/"),
            client,
            token: None,
        }
    }

    /// Ends it as a power cut would end the process.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process ends");
    }

    /// The URL of a path below the root of the streams.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.send_with(method, &self.url(path), body, self.token)
            .await
    }

    pub(crate) async fn send_with(
        &self,
        method: &str,
        url: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> Answer {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.expect("a whole body");
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status,
            headers,
            body,
        }
    }

    /// Creates or confirms a subscription.
    pub(crate) async fn subscribe(&self, id: &str, config: &Value) -> Answer {
        self.send("PUT", &subscription(id, ""), Some(config)).await
    }

    /// Describes a subscription.
    pub(crate) async fn describe(&self, id: &str) -> Value {
        self.send("GET", &subscription(id, ""), None)
            .await
            .expect(200)
    }

    /// Creates a JSON stream that holds this value.
    pub(crate) async fn create(&self, stream: &str, body: &Value) {
        self.send("PUT", stream, Some(body)).await.expect(201);
    }

    /// Appends a value to a JSON stream.
    pub(crate) async fn append(&self, stream: &str, body: &Value) {
        let status = self.send("POST", stream, Some(body)).await.status;
        assert!((200..300).contains(&status), "{status}");
    }

    /// The records of a JSON stream.
    pub(crate) async fn read(&self, stream: &str) -> Vec<Value> {
        let body = self.send("GET", stream, None).await.expect(200);
        body.as_array().expect("an array").clone()
    }

    /// Claims a subscription for a worker.
    pub(crate) async fn claim(&self, id: &str, worker: &str) -> Answer {
        let path = subscription(id, "/claim");
        self.send("POST", &path, Some(&json!({ "worker": worker })))
            .await
    }

    /// A worker's request with the token of its claim.
    pub(crate) async fn work(&self, id: &str, action: &str, token: &str, body: &Value) -> Answer {
        let url = self.url(&subscription(id, action));
        self.send_with("POST", &url, Some(body), Some(token)).await
    }

    /// Describes a subscription until `check` is content.
    pub(crate) async fn described(&self, id: &str, check: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let described = self.describe(id).await;
            if check(&described) {
                return described;
            }
            assert!(Instant::now() < deadline, "it never came: {described}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Reads the wake stream until it tells of this generation; gives that event.
    pub(crate) async fn woken(&self, generation: u64) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let events = self.read("wake").await;
            let of_it = |event: &&Value| event["generation"] == generation;
            if let Some(event) = events.iter().find(of_it) {
                return event.clone();
            }
            assert!(Instant::now() < deadline, "it never came: {events:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Usually over already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The path of a subscription, and an action on it.
pub(crate) fn subscription(id: &str, action: &str) -> String {
    format!("__ds/subscriptions/{id}{action}")
}

/// A subscription of all `events/*` by webhook.
pub(crate) fn by_webhook(url: &str, lease_ttl_ms: u64) -> Value {
    json!({
        "type": "webhook",
        "pattern": "events/*",
        "webhook": { "url": url },
        "lease_ttl_ms": lease_ttl_ms,
    })
}

/// A subscription of all `events/*` by events on `wake`.
pub(crate) fn by_pull_wake(lease_ttl_ms: u64) -> Value {
    json!({
        "type": "pull-wake",
        "pattern": "events/*",
        "wake_stream": "wake",
        "lease_ttl_ms": lease_ttl_ms,
    })
}

/// The stream of this name in what a worker is told, or in a description.
#[track_caller]
pub(crate) fn stream<'a>(told: &'a Value, path: &str) -> &'a Value {
    let streams = told["streams"].as_array().expect("streams");
    let mut found = streams.iter().filter(|stream| stream["path"] == path);
    found.next().expect("the stream is among them")
}

/// The report of a worker that is done with all it was told of.
pub(crate) fn all_done(told: &Value) -> Value {
    let streams = told["streams"].as_array().expect("streams");
    let acks: Vec<Value> = streams
        .iter()
        .map(|stream| json!({ "stream": stream["path"], "offset": stream["tail_offset"] }))
        .collect();
    json!({
        "wake_id": told["wake_id"],
        "generation": told["generation"],
        "acks": acks,
        "done": true,
    })
}

/// A text in a JSON body.
#[track_caller]
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("a text")
}

/// A webhook that was received.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) body: Bytes,
    pub(crate) signature: String,
}

impl Received {
    /// What it says.
    pub(crate) fn told(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a webhook is JSON")
    }
}

/// What the receiver answers.
type Reply = Arc<Mutex<(u16, &'static str)>>;

/// A server that webhooks are sent to.
pub(crate) struct Receiver {
    pub(crate) url: String,
    reply: Reply,
    received: AsyncMutex<mpsc::UnboundedReceiver<Received>>,
}

impl Receiver {
    /// One that answers like this.
    pub(crate) async fn start(status: u16, body: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (receiver, routes) = Self::at(format!("http://{address}/hook"), status, body);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        receiver
    }

    /// One at this URL, and the routes that somebody is to serve there.
    pub(crate) fn at(url: String, status: u16, body: &'static str) -> (Self, Router) {
        let reply: Reply = Arc::new(Mutex::new((status, body)));
        let (sender, received) = mpsc::unbounded_channel();
        let routes = Router::new()
            .fallback(receive)
            .with_state((Arc::clone(&reply), sender));
        let made = Self {
            url,
            reply,
            received: AsyncMutex::new(received),
        };
        (made, routes)
    }

    /// Answers like this from now on.
    pub(crate) fn answer(&self, status: u16, body: &'static str) {
        *self.reply.lock() = (status, body);
    }

    /// The next webhook.
    pub(crate) async fn next(&self) -> Received {
        let mut received = self.received.lock().await;
        let next = tokio::time::timeout(DEADLINE, received.recv()).await;
        next.expect("a webhook in time").expect("the receiver runs")
    }

    /// Whether no webhook waits to be looked at.
    pub(crate) async fn is_quiet(&self) -> bool {
        self.received.lock().await.try_recv().is_err()
    }
}

async fn receive(
    State((reply, received)): State<(Reply, mpsc::UnboundedSender<Received>)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signature = headers.get("webhook-signature");
    let signature = signature.and_then(|value| value.to_str().ok());
    let webhook = Received {
        at: Instant::now(),
        body,
        signature: signature.unwrap_or_default().to_owned(),
    };
    let (status, body) = *reply.lock();
    // A test that is over listens no more.
    received.send(webhook).ok();
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [("location", "/elsewhere")], body).into_response()
}

/// A local address for a receiver that is not there.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    listener.local_addr().expect("an address")
}
