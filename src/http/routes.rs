//! Who answers a path.
//!
//! Streams are matched by prefix, before anything else and without a table: their path is the hot one, and what follows the
//! prefix is a name, not a pattern.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use tower::ServiceExt as _;

use super::streams::StreamsFace;
use super::{Reply, ReplyBody};

/// All routes of the port.
#[derive(Debug)]
pub struct Routes {
    streams: StreamsFace,
    rest: Router,
}

impl Routes {
    /// Streams under their prefix, and `rest` for every other path.
    pub fn new(streams: StreamsFace, rest: Router) -> Self {
        Self { streams, rest }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Reply {
        if StreamsFace::serves(request.uri().path()) {
            return self.streams.answer(request).await;
        }
        match self.rest.clone().oneshot(request.map(Body::new)).await {
            Ok(reply) => reply.map(ReplyBody::Other),
            Err(never) => match never {},
        }
    }
}
