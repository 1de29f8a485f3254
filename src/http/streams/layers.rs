//! What is put around the handlers: cross-origin headers, compression, security headers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{CONTENT_ENCODING, ETAG, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use axum::http::{StatusCode, Version};
use hyper::body::Incoming;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, service_fn};
use tower_http::compression::{CompressionBody, CompressionLayer};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use super::Face;
use super::headers;
use super::read::Compressible;
use crate::http::{Reply, ReplyBody};

/// The handlers with what is around them.
pub(super) type Layered =
    BoxCloneSyncService<Request<Incoming>, Response<CompressionBody<ReplyBody>>, Infallible>;

/// How long a browser may remember what it may do.
const PREFLIGHT_AGE: Duration = Duration::from_secs(86_400);

/// Cross-origin rules for pages of these origins; `*` is any.
pub(super) fn cors(origins: &[String]) -> CorsLayer {
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::POST,
        Method::DELETE,
    ];
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        // An origin that is no header value is none that a browser could send.
        AllowOrigin::list(origins.iter().filter_map(|origin| origin.parse().ok()))
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods(AllowMethods::list(methods))
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(headers::EXPOSED)
        .max_age(PREFLIGHT_AGE)
}

/// The handlers of `face` within the layers.
pub(super) fn around(face: Arc<Face>, cors: CorsLayer) -> Layered {
    let handlers = service_fn(move |request: Request<Incoming>| {
        let face = Arc::clone(&face);
        async move { Ok::<Reply, Infallible>(face.answer(request).await) }
    });
    let compression = CompressionLayer::new()
        .gzip(true)
        .compress_when(is_compressible);
    let layered = ServiceBuilder::new()
        .layer(cors)
        .layer(compression)
        .service(handlers);
    BoxCloneSyncService::new(layered)
}

fn is_compressible(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<Compressible>().is_some()
}

/// Brings what came out of the layers back to a plain reply.
pub(super) fn undressed(reply: Response<CompressionBody<ReplyBody>>) -> Reply {
    let (mut parts, body) = reply.into_parts();
    if !parts.headers.contains_key(CONTENT_ENCODING) {
        return Response::from_parts(parts, ReplyBody::other(body));
    }
    // The tag is that of the records; the same records in other bytes are its weak equal.
    let weak = parts.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
    if let Some(weak) = weak.map(|etag| headers::value(format!("W/{etag}"))) {
        parts.headers.insert(ETAG, weak);
    }
    Response::from_parts(parts, ReplyBody::other(body))
}

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The headers that every answer carries.
pub(super) fn secure(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
}

/// The method as the metrics know it.
pub(super) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
