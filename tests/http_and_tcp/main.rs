//! Both faces show the same streams: what is written over one is read over the other, at once, alike and in order.
//!
//! The real binary, the real client for TCP, and bare HTTP. `at_once` lets many writers and readers loose on one stream;
//! `across` states one behaviour per test.

#[path = "../outside/broker.rs"]
mod broker;
#[path = "../outside/events.rs"]
mod events;
#[path = "../outside/http.rs"]
mod http;

mod across;
mod at_once;

use std::time::Duration;

use broker::Broker;
use http::{Answer, Http, Request};
use streamkeeper_client::Client;

/// How long anything may take that takes milliseconds. Less than a long-poll lasts, which so must have been woken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker, and a connection to each of its faces.
struct Both {
    broker: Broker,
    tcp: Client,
    http: Http,
}

impl Both {
    async fn start() -> Self {
        let broker = Broker::start(&["--long-poll-timeout", "60s"]);
        let tcp = Client::connect(&broker.tcp).await.expect("TCP is served");
        let http = Http::connect(&broker.http).await.expect("HTTP is served");
        Self { broker, tcp, http }
    }

    /// The answer to a request, which must have this status.
    async fn ask(&self, request: &Request, status: u16) -> Answer {
        let answer = soon(self.http.ask(request)).await;
        let answer = answer.expect("HTTP is answered");
        assert_eq!(answer.status, status, "{request:?}: {answer:?}");
        answer
    }
}

/// What does not come in time fails the test.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, future).await;
    came.expect("it comes in time")
}

/// An offset as HTTP writes it.
fn text_offset(record: u64, byte: u64) -> String {
    format!("{record:016}_{byte:016}")
}

/// Where an answer says to read on.
fn next(answer: &Answer) -> String {
    let next = answer.header("stream-next-offset");
    next.expect("the answer says where to read on").to_owned()
}

/// A GET from an offset, with more of a query.
fn get(stream: &str, offset: &str, more: &str) -> Request {
    Request::new("GET", &format!("{stream}?offset={offset}{more}"))
}
