//! The Durable Streams protocol: streams as URLs under `/v1/stream/`.
//!
//! A handler reads what the request says (`headers`, `query`, `name`, `body`), calls the broker, and renders its answer
//! (`read`, `sse_encode`, `error`); the rules are the engine's. `docs/http.md` says how the protocol is served; the
//! reserved `__ds` routes are a router of their own, handed in.
//!
//! Every answer of these routes carries the security headers, whatever it is. Cross-origin headers and compression are layers
//! of `tower-http`; requests that can have neither (a POST or events for a program that is no browser) go around them.

mod append;
mod body;
mod cache;
mod create;
mod crowd;
mod error;
mod headers;
mod layers;
mod live_cursor;
mod name;
mod outgoing;
mod query;
mod read;
mod sse;
mod sse_encode;
mod text;
mod time;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::body::Bodies;
use self::crowd::Crowd;
use self::error::Failure;
use self::layers::Layered;
use self::outgoing::Outgoing;
use self::query::{Live, ReadQuery};
use super::{Reply, ReplyBody};
use crate::broker::Broker;
use crate::metrics::Metrics;
use crate::session::Token;
use crate::types::{Error, Fault};

/// What the face allows.
#[derive(Clone, Debug)]
pub struct StreamsOptions {
    /// Tokens that are accepted; empty: none is needed.
    pub tokens: Vec<Token>,
    /// Origins whose pages may use the streams; `*` is any.
    pub cors_origins: Vec<String>,
    /// How long a long-poll waits.
    pub long_poll_timeout: Duration,
    /// Largest body.
    pub body_bytes_max: usize,
    /// All bodies that are being read or appended, together.
    pub bodies_bytes_max: usize,
    /// All answers that wait to be taken, together.
    pub answers_bytes_max: usize,
    /// Largest record: bodies of byte streams are cut to it.
    pub record_bytes_max: usize,
    /// About how much one answer to a read holds.
    pub read_bytes_max: usize,
}

impl Default for StreamsOptions {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            cors_origins: vec![String::from("*")],
            long_poll_timeout: Duration::from_secs(30),
            body_bytes_max: 8 << 20,
            bodies_bytes_max: 32 << 20,
            answers_bytes_max: 64 << 20,
            record_bytes_max: 1 << 20,
            read_bytes_max: 1 << 20,
        }
    }
}

/// The broker, once it is open.
pub type Opening = Arc<OnceLock<Broker>>;

/// The routes of the protocol.
#[derive(Debug)]
pub struct StreamsFace {
    face: Arc<Face>,
    layered: Layered,
}

/// What all requests share.
#[derive(Debug)]
struct Face {
    broker: Opening,
    options: StreamsOptions,
    bodies: Bodies,
    outgoing: Outgoing,
    crowd: Arc<Crowd>,
    draining: CancellationToken,
    metrics: Arc<Metrics>,
    controls: Router,
}

impl StreamsFace {
    /// Routes over the broker that `broker` will hold; `draining` ends the waits of readers. `controls` answers the paths
    /// under `/v1/stream/__ds`.
    pub fn new(
        broker: Opening,
        options: StreamsOptions,
        draining: CancellationToken,
        metrics: Arc<Metrics>,
        controls: Router,
    ) -> Self {
        let cors = layers::cors(&options.cors_origins);
        let outgoing = Outgoing::new(options.answers_bytes_max);
        let face = Arc::new(Face {
            broker,
            bodies: Bodies::new(
                options.body_bytes_max,
                options.bodies_bytes_max,
                metrics.http_body_bytes.clone(),
            ),
            options,
            outgoing,
            crowd: Arc::default(),
            draining,
            metrics,
            controls,
        });
        let layered = layers::around(Arc::clone(&face), cors);
        Self { face, layered }
    }

    /// Whether a path is one of these routes.
    pub fn serves(path: &str) -> bool {
        path.starts_with(name::PREFIX)
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Reply {
        let method = layers::method_label(request.method());
        let mut reply = if is_plain(&request) {
            self.face.answer(request).await
        } else {
            match self.layered.clone().oneshot(request).await {
                Ok(reply) => layers::undressed(reply),
                Err(never) => match never {},
            }
        };
        layers::secure(reply.headers_mut());
        self.face
            .metrics
            .http_requests
            .increment(method, reply.status().as_u16());
        reply
    }
}

impl Face {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        if !self.may_write(request.method(), request.headers()) {
            let (head, mut body) = request.into_parts();
            body::discard(&head.headers, &mut body).await;
            return Failure::foreign_origin().into_reply();
        }
        if name::is_control(request.uri().path()) {
            let answered = self.controls.clone().oneshot(request.map(Body::new)).await;
            return match answered {
                Ok(reply) => reply.map(ReplyBody::Other),
                Err(never) => match never {},
            };
        }
        let (head, mut body) = request.into_parts();
        match self.handle(&head, &mut body).await {
            Ok(reply) => reply,
            Err(failure) => {
                body::discard(&head.headers, &mut body).await;
                failure.into_reply()
            }
        }
    }

    async fn handle(&self, head: &Parts, body: &mut Incoming) -> Result<Reply, Failure> {
        self.authorize(&head.headers)?;
        let stream = name::of_path(head.uri.path())?;
        let broker = self.broker.get().ok_or_else(Failure::starting)?;
        match head.method {
            Method::POST => self.append(broker, &stream, &head.headers, body).await,
            Method::GET => {
                let query = ReadQuery::parse(head.uri.query())?;
                // It would end at once, and its reader come back at once.
                if query.live != Live::No && self.draining.is_cancelled() {
                    return Err(Error::Fault(Fault::Draining).into());
                }
                match query.live {
                    Live::Sse => self.sse(broker, &stream, &query).await,
                    Live::No | Live::LongPoll => {
                        self.read(broker, &stream, &query, &head.headers).await
                    }
                }
            }
            Method::HEAD => Self::head(broker, &stream).await,
            Method::PUT => {
                self.create(broker, &stream, &head.uri, &head.headers, body)
                    .await
            }
            Method::DELETE => Self::delete(broker, &stream).await,
            _ => Err(Failure::method()),
        }
    }

    /// Whether a request may change anything: a browser sends some writes before it asks, so one from a page that is not
    /// named is refused here.
    fn may_write(&self, method: &Method, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else {
            return true;
        };
        let mut named = self.options.cors_origins.iter();
        !matches!(*method, Method::PUT | Method::POST | Method::DELETE)
            || named.any(|named| named == "*" || named.as_bytes() == origin.as_bytes())
    }

    /// Compares with every token, so that the time taken does not say which one came close.
    fn authorize(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.options.tokens.is_empty() {
            return Ok(());
        }
        let shown = headers
            .get(AUTHORIZATION)
            .map(axum::http::HeaderValue::as_bytes);
        let shown = shown.and_then(bearer).unwrap_or_default();
        let tokens = self.options.tokens.iter();
        let known = tokens.fold(false, |known, token| token.matches(shown) | known);
        known.then_some(()).ok_or_else(Failure::unauthorized)
    }

    /// Whether what is read is only for who may show a token.
    fn is_private(&self) -> bool {
        !self.options.tokens.is_empty()
    }
}

/// Whether the answer can be neither compressed nor for a page of another origin.
fn is_plain(request: &Request<Incoming>) -> bool {
    let uncompressed = match *request.method() {
        Method::POST => true,
        Method::GET => {
            ReadQuery::parse(request.uri().query()).is_ok_and(|query| query.live == Live::Sse)
        }
        _ => false,
    };
    uncompressed && !request.headers().contains_key(ORIGIN)
}

/// The token of a `Bearer` credential.
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = credentials.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}
