//! Probes and metrics. They answer in every state of the broker, and never wait for it.
//!
//! | route | answers |
//! | --- | --- |
//! | `/` | this list, as text |
//! | `/livez` | 200 while the process runs; a faulted store does not make it fail, for reads still work |
//! | `/readyz` | 200 `ready`, or 503 with the state and its reason: `starting`, `draining`, `full`, `faulted` |
//! | `/metrics` | all metrics in the text format of Prometheus |
//!
//! The probes answer in JSON if asked with `Accept: application/json` or `?verbose`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;

use super::streams::Opening;
use crate::metrics::{Exporter, Metrics};
use crate::store::Readiness;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

const INDEX: &str = concat!(
    "Streamkeeper ",
    env!("CARGO_PKG_VERSION"),
    "\n\n/v1/stream/NAME  streams, by the Durable Streams protocol\n/livez    is the process alive\n/readyz   does the broker serve (?verbose for JSON)\n/metrics  \
     for Prometheus\n/tools/check, /tools/backup  for `streamkeeper check` and `backup`\n",
);

/// What the routes look at. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    readiness: watch::Receiver<Readiness>,
    opening: Opening,
    metrics: Arc<Metrics>,
    exporter: Exporter,
}

impl Admin {
    /// Routes that report `readiness` and render `exporter`; its gauge of readiness is set at each scrape. The store may be ready before
    /// the streams are served: until `opening` is set, that is no more than `starting`.
    pub fn new(
        readiness: watch::Receiver<Readiness>,
        opening: Opening,
        metrics: Arc<Metrics>,
        exporter: Exporter,
    ) -> Self {
        Self {
            readiness,
            opening,
            metrics,
            exporter,
        }
    }

    fn readiness(&self) -> Readiness {
        let readiness = self.readiness.borrow().clone();
        match readiness {
            Readiness::Ready if self.opening.get().is_none() => Readiness::Starting {
                reason: "reading the subscriptions".into(),
            },
            other => other,
        }
    }

    /// The routes.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/", get(index))
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn index() -> Response {
    answer(StatusCode::OK, TEXT, INDEX.to_owned())
}

async fn live(RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    probe(
        StatusCode::OK,
        "alive",
        None,
        wants_json(query.as_deref(), &headers),
    )
}

async fn ready(
    State(admin): State<Admin>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let readiness = admin.readiness();
    let status = match readiness {
        Readiness::Ready => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let (state, reason) = match &readiness {
        Readiness::Ready => ("ready", None),
        Readiness::Starting { reason } => ("starting", Some(reason.as_str())),
        Readiness::Draining => ("draining", Some("the broker is shutting down")),
        Readiness::Full { reason } => ("full", Some(reason.as_str())),
        Readiness::Faulted { reason } => ("faulted", Some(reason.as_str())),
    };
    probe(
        status,
        state,
        reason,
        wants_json(query.as_deref(), &headers),
    )
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let ready = admin.readiness() == Readiness::Ready;
    admin.metrics.ready.set(u64::from(ready));
    answer(
        StatusCode::OK,
        Exporter::CONTENT_TYPE,
        admin.exporter.render(),
    )
}

fn probe(status: StatusCode, state: &str, reason: Option<&str>, json: bool) -> Response {
    if json {
        let version = env!("CARGO_PKG_VERSION");
        let body = serde_json::json!({ "status": state, "reason": reason, "version": version });
        return answer(status, JSON, format!("{body}\n"));
    }
    let text = match reason {
        Some(reason) => format!("{state}: {reason}\n"),
        None => format!("{state}\n"),
    };
    answer(status, TEXT, text)
}

fn wants_json(query: Option<&str>, headers: &HeaderMap) -> bool {
    let verbose = |query: &str| {
        query
            .split('&')
            .any(|pair| pair == "verbose" || pair.starts_with("verbose="))
    };
    let accepts =
        |value: &axum::http::HeaderValue| value.to_str().is_ok_and(|text| text.contains(JSON));
    query.is_some_and(verbose) || headers.get_all(ACCEPT).iter().any(accepts)
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let headers: [(HeaderName, &str); 2] =
        [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}
