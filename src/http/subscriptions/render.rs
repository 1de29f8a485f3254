//! From answers to responses: JSON bodies, and one place where what is refused becomes a status and a code.

use std::time::{Duration, UNIX_EPOCH};

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::subscriptions::core::{Delivery, Pattern, Rejection};
use crate::subscriptions::{Description, SubscriptionError};
use crate::types::{Error, Fault, Timestamp};

/// What is answered when a request is not done.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: Value,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Failure {
    fn new(status: StatusCode, code: &str, message: &str) -> Self {
        Self {
            status,
            error: json!({ "code": code, "message": message }),
            header: None,
        }
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    /// 400 with a text that says what is wrong.
    pub(super) fn invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
    }

    /// 401 of a route that needs a token of the broker.
    pub(super) fn unauthorized() -> Self {
        let message = "show a token of this broker: Authorization: Bearer TOKEN";
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
            .with(WWW_AUTHENTICATE, r#"Bearer realm="streamkeeper""#)
    }

    /// 401 of a route that needs the token of a wake.
    pub(super) fn token_missing() -> Self {
        let message = "show the token of the wake: Authorization: Bearer TOKEN";
        Self::new(StatusCode::UNAUTHORIZED, "TOKEN_INVALID", message)
            .with(WWW_AUTHENTICATE, r#"Bearer realm="streamkeeper wake""#)
    }

    /// 503 before the broker is open.
    pub(super) fn starting() -> Self {
        let reason = "opening the store".to_owned();
        Self::from(SubscriptionError::Engine(Fault::Starting { reason }.into()))
    }

    /// 404 of a path that is none of the routes.
    pub(super) fn no_route() -> Self {
        let message = "no route is here: __ds holds subscriptions/ID and jwks.json";
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    /// 405.
    pub(super) fn method() -> Self {
        let message = "the route does not take this method";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            message,
        )
    }
}

impl From<SubscriptionError> for Failure {
    fn from(error: SubscriptionError) -> Self {
        let message = error.to_string();
        let (status, code) = match &error {
            SubscriptionError::NotFound => (StatusCode::NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"),
            SubscriptionError::AlreadyExists => {
                (StatusCode::CONFLICT, "SUBSCRIPTION_ALREADY_EXISTS")
            }
            SubscriptionError::UrlRejected(_) => (StatusCode::BAD_REQUEST, "WEBHOOK_URL_REJECTED"),
            SubscriptionError::Invalid(_) => (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
            SubscriptionError::TokenInvalid => (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"),
            SubscriptionError::TokenExpired => (StatusCode::UNAUTHORIZED, "TOKEN_EXPIRED"),
            SubscriptionError::Rejected(rejection) => of_rejection(rejection),
            SubscriptionError::TooMany { .. } => (StatusCode::CONFLICT, "TOO_MANY_SUBSCRIPTIONS"),
            SubscriptionError::Busy => (StatusCode::TOO_MANY_REQUESTS, "BUSY"),
            SubscriptionError::Keys(_) => (StatusCode::INTERNAL_SERVER_ERROR, "KEYS"),
            SubscriptionError::Engine(error) => of_engine(error),
        };
        let mut failure = Self::new(status, code, &message);
        if let SubscriptionError::Rejected(Rejection::AlreadyClaimed { holder, generation }) = error
        {
            failure.error = json!({
                "code": code,
                "message": message,
                "current_holder": holder,
                "generation": generation,
            });
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                failure.with(WWW_AUTHENTICATE, r#"Bearer realm="streamkeeper wake""#)
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                failure.with(RETRY_AFTER, "1")
            }
            _ => failure,
        }
    }
}

fn of_rejection(rejection: &Rejection) -> (StatusCode, &'static str) {
    match rejection {
        Rejection::NotPullWake => (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
        Rejection::AlreadyClaimed { .. } => (StatusCode::CONFLICT, "ALREADY_CLAIMED"),
        Rejection::NoPendingWork => (StatusCode::CONFLICT, "NO_PENDING_WORK"),
        Rejection::Fenced => (StatusCode::CONFLICT, "FENCED"),
        Rejection::InvalidOffset { .. } => (StatusCode::CONFLICT, "INVALID_OFFSET"),
        Rejection::TooManyStreams { .. } => (StatusCode::CONFLICT, "TOO_MANY_STREAMS"),
    }
}

fn of_engine(error: &Error) -> (StatusCode, &'static str) {
    let unavailable = |code| (StatusCode::SERVICE_UNAVAILABLE, code);
    match error {
        // The state of a subscription is written by the broker itself: that this is refused is not the client's doing.
        Error::Refused(_) => (StatusCode::INTERNAL_SERVER_ERROR, "NOT_STORED"),
        Error::Fault(Fault::StoreFaulted { .. }) => unavailable("STORE_FAULTED"),
        Error::Fault(Fault::Starting { .. }) => unavailable("STARTING"),
        Error::Fault(Fault::Draining) => unavailable("DRAINING"),
        Error::Fault(Fault::StoreFull { .. }) => (StatusCode::INSUFFICIENT_STORAGE, "STORE_FULL"),
        Error::Fault(Fault::Corrupt { .. }) => (StatusCode::INTERNAL_SERVER_ERROR, "CORRUPT"),
        Error::Fault(Fault::Read { .. }) => (StatusCode::INTERNAL_SERVER_ERROR, "READ_FAILED"),
    }
}

/// A response that no cache keeps, unless it says otherwise.
pub(super) fn answer(answered: Result<Response, Failure>) -> Response {
    let mut response = answered.unwrap_or_else(|failure| {
        let Failure {
            status,
            error,
            header,
        } = failure;
        let mut response = json(&json!({ "error": error }));
        *response.status_mut() = status;
        response.headers_mut().extend(header);
        response
    });
    let headers = response.headers_mut();
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// 200 with JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("answers are plain text and numbers");
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// 204.
pub(super) fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Answers a report.
pub(super) fn acknowledged(next_wake: bool) -> Response {
    json(&json!({ "ok": true, "next_wake": next_wake }))
}

/// The public keys.
pub(super) fn jwks(keys: &Value) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/jwk-set+json"),
        (CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, keys.to_string()).into_response()
}

/// A subscription that was created or confirmed.
pub(super) fn put(created: bool, described: &Description) -> Response {
    let mut response = description(described);
    if created {
        *response.status_mut() = StatusCode::CREATED;
        let url = format!("{}/{}", described.base_url, described.path);
        if let Ok(url) = HeaderValue::try_from(url) {
            response.headers_mut().insert(LOCATION, url);
        }
    }
    response
}

/// A subscription.
pub(super) fn description(described: &Description) -> Response {
    let config = &described.config;
    let (kind, webhook, wake_stream) = match &config.delivery {
        Delivery::Webhook { url } => {
            let signing = described.kid.as_ref().map(|kid| {
                let jwks_url = format!("{}/__ds/jwks.json", described.base_url);
                json!({ "alg": "ed25519", "kid": kid, "jwks_url": jwks_url })
            });
            let webhook = json!({ "url": url, "signing": signing });
            ("webhook", Some(webhook), None)
        }
        Delivery::PullWake { wake_stream } => ("pull-wake", None, Some(wake_stream.as_str())),
    };
    let streams = described.streams.iter().map(|stream| {
        json!({
            "path": stream.path.as_str(),
            "link_type": stream.link_type,
            "acked_offset": stream.acked_offset,
        })
    });
    let pattern = config.pattern.as_ref().map(Pattern::as_str);
    json(&json!({
        "id": described.id,
        "subscription_id": described.id,
        "type": kind,
        "pattern": pattern,
        "streams": streams.collect::<Vec<_>>(),
        "webhook": webhook,
        "wake_stream": wake_stream,
        "lease_ttl_ms": config.lease_ttl_ms,
        "created_at": rfc_3339(described.created_at),
        "status": described.status,
        "next_attempt_at": described.next_attempt_at.map(rfc_3339),
        "description": config.description,
    }))
}

fn rfc_3339(at: Timestamp) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_micros(at.0));
    humantime::format_rfc3339_millis(time.unwrap_or(UNIX_EPOCH)).to_string()
}
