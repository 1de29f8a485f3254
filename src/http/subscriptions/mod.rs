//! The reserved routes of the protocol: subscriptions under `/v1/stream/__ds`.
//!
//! | route | does |
//! | --- | --- |
//! | `PUT`, `GET`, `DELETE` `.../subscriptions/ID` | create or confirm, describe, delete |
//! | `POST .../subscriptions/ID/streams` | link streams |
//! | `DELETE .../subscriptions/ID/streams/PATH` | take a link away |
//! | `POST .../subscriptions/ID/callback` | a webhook's worker reports |
//! | `POST .../subscriptions/ID/claim`, `ack`, `release` | a worker of a pull-wake subscription |
//! | `GET .../jwks.json` | the public keys of webhook signatures |
//!
//! Handlers parse, ask [`Subscriptions`], and render. If the broker asks for tokens, all routes need one but the keys, which are
//! public, and those where a worker shows the token of its wake. The routes answer 503 until the broker is open.

mod parse;
mod render;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use axum::routing::{delete, get, post, put};

use self::render::Failure;
use crate::session::Token;
use crate::subscriptions::{Route, Subscriptions};

/// Largest body of a request: reports of all the streams of one wake fit.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Where streams are, below the root of the server.
const STREAMS: &str = "/v1/stream";

/// The subscriptions, once the broker is open.
pub type Opening = Arc<OnceLock<Subscriptions>>;

/// What the routes look at. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SubscriptionsFace {
    subscriptions: Opening,
    tokens: Arc<[Token]>,
    public_url: Option<Arc<str>>,
}

impl SubscriptionsFace {
    /// Routes over the subscriptions that `subscriptions` will hold. `tokens`: those that are accepted; empty: none is needed.
    /// `public_url`: the root under which clients reach this port, if the `Host` they send does not say.
    pub fn new(subscriptions: Opening, tokens: Vec<Token>, public_url: Option<&str>) -> Self {
        Self {
            subscriptions,
            tokens: tokens.into(),
            public_url: public_url.map(|url| Arc::from(url.trim_end_matches('/'))),
        }
    }

    fn subscriptions(&self) -> Result<&Subscriptions, Failure> {
        self.subscriptions.get().ok_or_else(Failure::starting)
    }

    /// The subscriptions, for who may control them. Compares with every token, so that the time taken does not say which
    /// one came close.
    fn control(&self, headers: &HeaderMap) -> Result<&Subscriptions, Failure> {
        let shown = bearer(headers).unwrap_or_default().as_bytes();
        let tokens = self.tokens.iter();
        let known = tokens.fold(false, |known, token| token.matches(shown) | known);
        if known || self.tokens.is_empty() {
            return self.subscriptions();
        }
        Err(Failure::unauthorized())
    }

    /// The root of the streams as the client that sends this reaches it.
    fn base_url(&self, uri: &Uri, headers: &HeaderMap) -> Result<String, Failure> {
        if let Some(root) = &self.public_url {
            return Ok(format!("{root}{STREAMS}"));
        }
        let said = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = said.or_else(|| uri.authority().map(Authority::as_str));
        let host = host
            .and_then(|host| host.parse::<Authority>().ok())
            .filter(|host| !host.as_str().contains('@'))
            .ok_or_else(|| Failure::invalid("a Host header is required"))?;
        let forwarded = headers.get("x-forwarded-proto").map(HeaderValue::as_bytes);
        let scheme = match forwarded {
            Some(b"https") => "https",
            _ => "http",
        };
        Ok(format!("{scheme}://{host}{STREAMS}"))
    }
}

/// The token of a `Bearer` credential.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let credentials = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = credentials.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The token of a worker, which it must show.
fn worker_token(headers: &HeaderMap) -> Result<String, Failure> {
    bearer(headers)
        .map(str::to_owned)
        .ok_or_else(Failure::token_missing)
}

/// The routes, by their full paths.
pub fn routes(face: SubscriptionsFace) -> Router {
    let one = put(create).get(describe).delete(remove);
    let routes = Router::new()
        .route("/subscriptions/{id}", one)
        .route("/subscriptions/{id}/streams", post(add_streams))
        .route("/subscriptions/{id}/streams/{*path}", delete(remove_stream))
        .route("/subscriptions/{id}/callback", post(callback))
        .route("/subscriptions/{id}/claim", post(claim))
        .route("/subscriptions/{id}/ack", post(ack))
        .route("/subscriptions/{id}/release", post(release))
        .route("/jwks.json", get(jwks))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(face);
    Router::new()
        .nest("/v1/stream/__ds", routes)
        .fallback(async || render::answer(Err(Failure::no_route())))
        .method_not_allowed_fallback(async || render::answer(Err(Failure::method())))
}

type Face = State<SubscriptionsFace>;

async fn create(
    State(face): Face,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let put = async {
        let subscriptions = face.control(&headers)?;
        let config = parse::config(&body)?;
        let base_url = face.base_url(&uri, &headers)?;
        Ok(subscriptions.put(id, config, base_url).await?)
    };
    render::answer(
        put.await
            .map(|(created, described)| render::put(created, &described)),
    )
}

async fn describe(State(face): Face, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let get = async { Ok(face.control(&headers)?.get(id).await?) };
    render::answer(get.await.map(|described| render::description(&described)))
}

async fn remove(State(face): Face, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let delete = async { Ok(face.control(&headers)?.delete(id).await?) };
    render::answer(delete.await.map(|()| render::nothing()))
}

async fn add_streams(
    State(face): Face,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let add = async {
        let subscriptions = face.control(&headers)?;
        let streams = parse::streams(&body)?;
        Ok(subscriptions.add_streams(id, streams).await?)
    };
    render::answer(add.await.map(|()| render::nothing()))
}

async fn remove_stream(
    State(face): Face,
    Path((id, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let remove = async {
        let subscriptions = face.control(&headers)?;
        let stream = parse::stream(&path)?;
        Ok(subscriptions.remove_stream(id, stream).await?)
    };
    render::answer(remove.await.map(|()| render::nothing()))
}

async fn claim(
    State(face): Face,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let claim = async {
        let subscriptions = face.control(&headers)?;
        let worker = parse::worker(&body)?;
        Ok(subscriptions.claim(id, worker).await?)
    };
    render::answer(claim.await.map(|claimed| render::json(&claimed)))
}

async fn callback(
    State(face): Face,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    report(&face, id, Route::Callback, &headers, &body).await
}

async fn ack(
    State(face): Face,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    report(&face, id, Route::Ack, &headers, &body).await
}

async fn report(
    face: &SubscriptionsFace,
    id: String,
    route: Route,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let report = async {
        let token = worker_token(headers)?;
        let report = parse::report(body)?;
        let subscriptions = face.subscriptions()?;
        Ok(subscriptions.acknowledge(id, route, token, report).await?)
    };
    render::answer(report.await.map(render::acknowledged))
}

async fn release(
    State(face): Face,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let release = async {
        let token = worker_token(&headers)?;
        let report = parse::report(&body)?;
        let subscriptions = face.subscriptions()?;
        let released = subscriptions.release(id, token, report.generation, report.wake_id);
        Ok(released.await?)
    };
    render::answer(release.await.map(|()| render::nothing()))
}

async fn jwks(State(face): Face) -> Response {
    let jwks = async { Ok(face.subscriptions()?.jwks().await?) };
    render::answer(jwks.await.map(|keys| render::jwks(&keys)))
}
