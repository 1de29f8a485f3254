//! The routes for the tools: a broker that serves checks its own data, or hands out a copy of it.
//!
//! | route | answers |
//! | --- | --- |
//! | `POST /tools/check` | one JSON object a line, as it goes: what is found, and the report (`docs/tools.md`); `{"failed": text}` at the end if it could not be finished |
//! | `POST /tools/backup` | a backup |
//!
//! If the broker asks for tokens, both need one. A request that a browser sends for a page is refused: these are for programs, and a port
//! on the loopback address is reached from any page. One of each kind at a time. The answer is made by a thread of its own, which waits
//! for its reader with a few pieces in memory; a reader that takes nothing for too long is cut off by the port.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::streams::Opening;
use crate::broker::Broker;
use crate::session::Token;
use crate::store::Lease;

/// Bytes of one piece of an answer.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces that wait for the reader.
const PIECES_MAX: usize = 8;

/// How often it is seen whether the reader has taken something.
const POLL: Duration = Duration::from_millis(2);

/// What the routes look at. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ToolsFace {
    opening: Opening,
    tokens: Arc<[Token]>,
    checks: Arc<Semaphore>,
    backups: Arc<Semaphore>,
}

impl ToolsFace {
    /// Routes over the broker that `opening` will hold. `tokens`: those that are accepted; empty: none is needed.
    pub fn new(opening: Opening, tokens: Vec<Token>) -> Self {
        Self {
            opening,
            tokens: tokens.into(),
            checks: Arc::new(Semaphore::new(1)),
            backups: Arc::new(Semaphore::new(1)),
        }
    }

    /// The broker, for who may ask this of it.
    fn broker(&self, headers: &HeaderMap) -> Result<Broker, Refused> {
        if headers.contains_key(ORIGIN) {
            return Err((StatusCode::FORBIDDEN, "not for pages in a browser"));
        }
        let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let shown = shown.and_then(bearer).unwrap_or_default();
        // With every token, so that the time taken does not say which one came close.
        let tokens = self.tokens.iter();
        let known = tokens.fold(false, |known, token| token.matches(shown) | known);
        if !known && !self.tokens.is_empty() {
            return Err((StatusCode::UNAUTHORIZED, "a token is needed"));
        }
        let broker = self.opening.get().cloned();
        broker.ok_or((StatusCode::SERVICE_UNAVAILABLE, "starting"))
    }
}

/// Why a tool is not begun.
type Refused = (StatusCode, &'static str);

/// The token of a `Bearer` credential.
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = credentials.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// The routes, by their full paths.
pub fn routes(face: ToolsFace) -> Router {
    Router::new()
        .route("/tools/check", post(check))
        .route("/tools/backup", post(backup))
        .with_state(face)
}

async fn check(State(face): State<ToolsFace>, headers: HeaderMap) -> Response {
    let work = |broker: Broker, mut to: Pipe| {
        let outcome = broker.check(&mut |event| to.line(&serde_json::json!(event)));
        let last = match outcome {
            Ok(report) => serde_json::json!({ "report": report }),
            Err(error) => serde_json::json!({ "failed": error.to_string() }),
        };
        // If nobody reads any more, nobody needs it.
        let _told = to.line(&last);
    };
    answer(&face, &headers, &face.checks, "application/x-ndjson", work)
}

async fn backup(State(face): State<ToolsFace>, headers: HeaderMap) -> Response {
    let work = |broker: Broker, to: Pipe| {
        let mut to = io::BufWriter::with_capacity(PIECE_BYTES, to);
        if let Err(error) = broker.back_up(&mut to) {
            tracing::warn!(%error, "a backup was not finished");
        }
    };
    answer(
        &face,
        &headers,
        &face.backups,
        "application/octet-stream",
        work,
    )
}

/// Has `work` write the body, on a thread of its own, unless it is not to be begun.
fn answer(
    face: &ToolsFace,
    headers: &HeaderMap,
    turns: &Arc<Semaphore>,
    content_type: &'static str,
    work: impl FnOnce(Broker, Pipe) + Send + 'static,
) -> Response {
    let broker = match face.broker(headers) {
        Ok(broker) => broker,
        Err(refused) => return refusal(refused),
    };
    let Ok(turn) = Arc::clone(turns).try_acquire_owned() else {
        let why = "another one is under way";
        return refusal((StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let (pieces, mut taken) = mpsc::channel(PIECES_MAX);
    let pipe = Pipe {
        pieces,
        lease: broker.lease(),
        broker: broker.clone(),
    };
    tokio::task::spawn_blocking(move || {
        work(broker, pipe);
        drop(turn);
    });
    let body = futures_util::stream::poll_fn(move |context| taken.poll_recv(context));
    let body = Body::from_stream(futures_util::StreamExt::map(body, Ok::<Bytes, io::Error>));
    let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")];
    (StatusCode::OK, headers, body).into_response()
}

fn refusal((status, why): Refused) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], format!("{why}\n")).into_response()
}

/// Where the thread writes what the connection sends.
#[derive(Debug)]
struct Pipe {
    pieces: mpsc::Sender<Bytes>,
    broker: Broker,
    lease: Lease,
}

impl Pipe {
    /// Writes a line. Breaks off if nobody reads any more.
    fn line(&mut self, line: &serde_json::Value) -> ControlFlow<()> {
        match self.put(Bytes::from(format!("{line}\n"))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// Waits for the reader as long as it is there and the broker is open.
    fn put(&mut self, mut piece: Bytes) -> io::Result<()> {
        loop {
            match self.pieces.try_send(piece) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(back)) => piece = back,
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            if self.broker.is_over(self.lease) {
                return Err(io::Error::other("the broker needs its files"));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = bytes.get(..PIECE_BYTES).unwrap_or(bytes);
        self.put(Bytes::copy_from_slice(now))?;
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
