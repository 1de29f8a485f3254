//! PUT: create a stream, with content, closed, or as a fork of another; DELETE; HEAD.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};
use hyper::body::Incoming;

use super::append::records;
use super::error::Failure;
use super::headers::{self, ForkHeaders};
use super::{Face, name};
use crate::broker::{Broker, Put, PutRequest};
use crate::http::{Reply, ReplyBody};
use crate::rules::is_json;
use crate::storage::Storage as _;
use crate::types::{Expiry, ForkRequest, Metadata, Position, StorageKind, Str, StreamName};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

impl Face {
    pub(super) async fn create(
        &self,
        broker: &Broker,
        stream: &StreamName,
        uri: &Uri,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> Result<Reply, Failure> {
        let content_type = headers::content_type(headers)?;
        let expiry = headers::expiry(headers)?;
        let retention = headers::retention(headers)?;
        let storage = headers::storage(headers)?;
        let fork = match headers::fork(headers)? {
            Some(fork) => Some(fork_request(broker, &fork).await?),
            None => None,
        };
        let payload = self.bodies.read(body).await?;
        let whole = self
            .keeps_whole(
                broker,
                payload.bytes(),
                content_type.as_ref(),
                fork.as_ref(),
            )
            .await?;
        let request = PutRequest {
            content_type,
            expiry,
            retention,
            storage,
            body: records(payload.bytes(), whole, self.options.record_bytes_max),
            closed: headers::closed(headers),
            fork,
        };
        let source = request.fork.as_ref().map(|fork| fork.source.clone());
        let put = match (broker.put(stream, request).await, source) {
            (Ok(put), _) => put,
            (Err(error), None) => return Err(error.into()),
            // What was trimmed, or is not there yet, is the source's.
            (Err(error), Some(source)) => {
                return Err(Failure::located(broker, &source, error).await);
            }
        };
        drop(payload);
        Ok(created(&put, uri, headers))
    }

    /// Whether the body of a create must be one record: JSON is not cut.
    async fn keeps_whole(
        &self,
        broker: &Broker,
        body: &[u8],
        content_type: Option<&Str>,
        fork: Option<&ForkRequest>,
    ) -> Result<bool, Failure> {
        match (content_type, fork) {
            (Some(content_type), _) => Ok(is_json(content_type.as_bytes())),
            // Only now does it matter what the fork inherits.
            (None, Some(fork)) if body.len() > self.options.record_bytes_max => {
                let source = broker.get_metadata(&fork.source).await?;
                Ok(is_json(source.options.content_type.as_bytes()))
            }
            (None, _) => Ok(false),
        }
    }

    pub(super) async fn delete(broker: &Broker, stream: &StreamName) -> Result<Reply, Failure> {
        broker.delete(stream).await?;
        let mut reply = Response::new(ReplyBody::Empty);
        *reply.status_mut() = StatusCode::NO_CONTENT;
        Ok(reply)
    }

    /// Facts only: looking is no read, so a sliding ttl is not put off.
    pub(super) async fn head(broker: &Broker, stream: &StreamName) -> Result<Reply, Failure> {
        let metadata = broker.get_metadata(stream).await?;
        let mut reply = Response::new(ReplyBody::Empty);
        describe(reply.headers_mut(), &metadata);
        Ok(reply)
    }
}

async fn fork_request(broker: &Broker, fork: &ForkHeaders<'_>) -> Result<ForkRequest, Failure> {
    let source = name::of_source(fork.source)?;
    let parse = |text: &str| {
        let malformed =
            || Failure::header(&headers::FORK_OFFSET, "must be an offset of the source");
        text.parse().ok().ok_or_else(malformed)
    };
    // Where a stream begins has a name of its own in queries, so it has it here.
    let offset = match fork.offset {
        // A source that cannot be looked at is refused by the engine, with the reason.
        Some("-1") => Some(match broker.get_metadata(&source).await {
            Ok(metadata) => metadata.earliest,
            Err(_) => Position::START,
        }),
        Some("now") | None => None,
        Some(text) => Some(parse(text)?),
    };
    Ok(ForkRequest {
        source,
        offset,
        sub_offset: fork.sub_offset,
    })
}

fn created(put: &Put, uri: &Uri, request: &HeaderMap) -> Reply {
    let mut reply = Response::new(ReplyBody::Empty);
    let headers = reply.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        headers::value(put.content_type.as_bytes().to_vec()),
    );
    headers.insert(
        headers::NEXT_OFFSET,
        headers::value(put.created.tail.to_string()),
    );
    if put.created.closed {
        headers.insert(headers::CLOSED, headers::TRUE);
    }
    if !put.created.existed {
        headers.insert(LOCATION, headers::value(location(uri, request)));
        *reply.status_mut() = StatusCode::CREATED;
    }
    reply
}

/// The stream's URL as the client sees it; only its path if the request does not say which host that is.
fn location(uri: &Uri, request: &HeaderMap) -> String {
    let path = uri.path();
    let named = request.get(HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str));
    let forwarded = request.get(FORWARDED_PROTO).map(HeaderValue::as_bytes);
    let scheme = if forwarded.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https")) {
        "https"
    } else {
        "http"
    };
    match host {
        Some(host) => format!("{scheme}://{host}{path}"),
        None => path.to_owned(),
    }
}

fn describe(out: &mut HeaderMap, metadata: &Metadata) {
    let options = &metadata.options;
    let content_type = options.content_type.as_bytes().to_vec();
    out.insert(CONTENT_TYPE, headers::value(content_type));
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    out.insert(
        headers::NEXT_OFFSET,
        headers::value(metadata.tail.to_string()),
    );
    if metadata.closed {
        out.insert(headers::CLOSED, headers::TRUE);
    }
    match options.expiry {
        Expiry::Never => {}
        Expiry::Ttl(seconds) => drop(out.insert(headers::TTL, headers::number(seconds))),
        Expiry::At(at) => drop(out.insert(headers::EXPIRES_AT, headers::time(at))),
    }
    let retention = &options.retention;
    let limits = [
        (
            headers::RETENTION_AGE,
            retention.max_age.map(|age| age.as_secs()),
        ),
        (headers::RETENTION_RECORDS, retention.max_records),
        (headers::RETENTION_BYTES, retention.max_bytes),
    ];
    for (name, limit) in limits {
        if let Some(limit) = limit {
            out.insert(name, headers::number(limit));
        }
    }
    if !retention.is_unlimited() || metadata.earliest != Position::START {
        let earliest = headers::value(metadata.earliest.to_string());
        out.insert(headers::EARLIEST_OFFSET, earliest);
    }
    let storage = match options.storage {
        StorageKind::Durable => "durable",
        StorageKind::Memory => "memory",
    };
    out.insert(headers::STORAGE, HeaderValue::from_static(storage));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_is_what_the_client_asked_for() {
        let uri = Uri::from_static("/v1/stream/a%20b?x=1");
        let mut headers = HeaderMap::new();
        assert_eq!(location(&uri, &headers), "/v1/stream/a%20b");
        headers.insert(HOST, HeaderValue::from_static("example.test:4437"));
        assert_eq!(
            location(&uri, &headers),
            "http://example.test:4437/v1/stream/a%20b"
        );
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
        assert_eq!(
            location(&uri, &headers),
            "https://example.test:4437/v1/stream/a%20b"
        );
    }
}
