//! The headers of the protocol: their names, and strict readers for those that requests carry.
//!
//! A protocol header that comes twice, or is not the text it must be, is refused; nothing is guessed. The one exception is
//! `Stream-Closed`, where the specification says that any value but `true` counts as absent.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use streamkeeper_protocol::limits::{CONTENT_TYPE_BYTES_MAX, PRODUCER_ID_BYTES_MAX, SEQ_BYTES_MAX};

use super::error::Failure;
use crate::types::{Expiry, ProducerStamp, Retention, StorageKind, Str, Timestamp};

/// Where to read on.
pub(super) const NEXT_OFFSET: HeaderName = HeaderName::from_static("stream-next-offset");
/// Everything there is was read.
pub(super) const UP_TO_DATE: HeaderName = HeaderName::from_static("stream-up-to-date");
/// Closed, or to be closed.
pub(super) const CLOSED: HeaderName = HeaderName::from_static("stream-closed");
/// To be echoed by the next live read.
pub(super) const CURSOR: HeaderName = HeaderName::from_static("stream-cursor");
/// Sequence string of a writer.
pub(super) const SEQ: HeaderName = HeaderName::from_static("stream-seq");
/// Sliding time to live in seconds.
pub(super) const TTL: HeaderName = HeaderName::from_static("stream-ttl");
/// Absolute end.
pub(super) const EXPIRES_AT: HeaderName = HeaderName::from_static("stream-expires-at");
/// Source of a fork.
pub(super) const FORKED_FROM: HeaderName = HeaderName::from_static("stream-forked-from");
/// Where a fork leaves its source.
pub(super) const FORK_OFFSET: HeaderName = HeaderName::from_static("stream-fork-offset");
/// Refines [`FORK_OFFSET`].
pub(super) const FORK_SUB_OFFSET: HeaderName = HeaderName::from_static("stream-fork-sub-offset");
/// Who appends.
pub(super) const PRODUCER_ID: HeaderName = HeaderName::from_static("producer-id");
/// Fencing epoch.
pub(super) const PRODUCER_EPOCH: HeaderName = HeaderName::from_static("producer-epoch");
/// Number of an append within the epoch.
pub(super) const PRODUCER_SEQ: HeaderName = HeaderName::from_static("producer-seq");
/// The number that would have been taken.
pub(super) const PRODUCER_EXPECTED: HeaderName = HeaderName::from_static("producer-expected-seq");
/// The number that came.
pub(super) const PRODUCER_RECEIVED: HeaderName = HeaderName::from_static("producer-received-seq");
/// How the data of an SSE answer is encoded.
pub(super) const SSE_ENCODING: HeaderName = HeaderName::from_static("stream-sse-data-encoding");
/// Our own: the earliest offset kept.
pub(super) const EARLIEST_OFFSET: HeaderName = HeaderName::from_static("stream-earliest-offset");
/// Our own: oldest age of records, in seconds.
pub(super) const RETENTION_AGE: HeaderName = HeaderName::from_static("stream-retention-max-age");
/// Our own: most records kept.
pub(super) const RETENTION_RECORDS: HeaderName =
    HeaderName::from_static("stream-retention-max-records");
/// Our own: most bytes kept.
pub(super) const RETENTION_BYTES: HeaderName =
    HeaderName::from_static("stream-retention-max-bytes");
/// Our own: `durable` or `memory`.
pub(super) const STORAGE: HeaderName = HeaderName::from_static("stream-storage");

/// Answers that a browser may show to a page of another origin.
pub(super) const EXPOSED: [HeaderName; 20] = [
    NEXT_OFFSET,
    UP_TO_DATE,
    CLOSED,
    CURSOR,
    TTL,
    EXPIRES_AT,
    PRODUCER_EPOCH,
    PRODUCER_SEQ,
    PRODUCER_EXPECTED,
    PRODUCER_RECEIVED,
    SSE_ENCODING,
    EARLIEST_OFFSET,
    RETENTION_AGE,
    RETENTION_RECORDS,
    RETENTION_BYTES,
    STORAGE,
    axum::http::header::ETAG,
    axum::http::header::LOCATION,
    axum::http::header::RETRY_AFTER,
    axum::http::header::CONTENT_ENCODING,
];

/// `true`.
pub(super) const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Largest integer that every client can hold: 2^53 - 1.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The value of a header that may come once.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Failure> {
    let Some(first) = headers.get(name) else {
        return Ok(None);
    };
    if headers.get_all(name).iter().nth(1).is_some() {
        return Err(Failure::header(name, "must not come twice"));
    }
    Ok(Some(first))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let value = single(headers, name)?;
    let text = value.map(|value| value.to_str().ok());
    match text {
        None => Ok(None),
        Some(Some(text)) => Ok(Some(text)),
        Some(None) => Err(Failure::header(name, "must be visible ASCII")),
    }
}

/// A whole number in its one decimal spelling: digits without a sign or leading zeros.
fn strict_integer(text: &str, max: u64) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    let value: Option<u64> = (digits && canonical).then(|| text.parse().ok()).flatten();
    value.filter(|value| *value <= max)
}

fn integer(headers: &HeaderMap, name: &HeaderName, max: u64) -> Result<Option<u64>, Failure> {
    let Some(text) = text(headers, name)? else {
        return Ok(None);
    };
    if let Some(value) = strict_integer(text, max) {
        return Ok(Some(value));
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Err(if digits && !text.starts_with('0') {
        Failure::header(name, &format!("must be at most {max}"))
    } else {
        let must = "must be a whole number, digits only and no leading zeros";
        Failure::header(name, must)
    })
}

/// Whether the request asks for a close.
pub(super) fn closed(headers: &HeaderMap) -> bool {
    headers
        .get(&CLOSED)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// The content type as given, parameters included; an empty one counts as absent.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<Str>, Failure> {
    let Some(given) = text(headers, &CONTENT_TYPE)?.map(str::trim) else {
        return Ok(None);
    };
    if given.is_empty() {
        return Ok(None);
    }
    let media_type = given.split(';').next().unwrap_or_default().trim();
    let parts = media_type.split_once('/');
    let named = parts.is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    if !named || given.len() > CONTENT_TYPE_BYTES_MAX {
        return Err(Failure::header(
            &CONTENT_TYPE,
            "must be a media type of at most 255 bytes",
        ));
    }
    Ok(Some(Str::from(given)))
}

/// A token of RFC 9110.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// `Stream-Seq`, any bytes.
pub(super) fn seq(headers: &HeaderMap) -> Result<Option<Bytes>, Failure> {
    let Some(value) = single(headers, &SEQ)? else {
        return Ok(None);
    };
    let bytes = value.as_bytes();
    if bytes.is_empty() || bytes.len() > SEQ_BYTES_MAX {
        return Err(Failure::header(&SEQ, "must be 1 to 256 bytes"));
    }
    Ok(Some(Bytes::copy_from_slice(bytes)))
}

/// The producer's stamp: all three headers or none.
pub(super) fn producer(headers: &HeaderMap) -> Result<Option<ProducerStamp>, Failure> {
    let id = text(headers, &PRODUCER_ID)?;
    let epoch = integer(headers, &PRODUCER_EPOCH, INTEGER_MAX)?;
    let seq = integer(headers, &PRODUCER_SEQ, INTEGER_MAX)?;
    match (id, epoch, seq) {
        (None, None, None) => Ok(None),
        (Some(id), Some(epoch), Some(seq)) => {
            if id.is_empty() || id.len() > PRODUCER_ID_BYTES_MAX {
                return Err(Failure::header(&PRODUCER_ID, "must be 1 to 256 bytes"));
            }
            let id = Str::from(id);
            Ok(Some(ProducerStamp { id, epoch, seq }))
        }
        _ => Err(Failure::bad_request(
            "INVALID_PRODUCER",
            "Producer-Id, Producer-Epoch and Producer-Seq come together or not at all",
        )),
    }
}

/// `Stream-TTL` or `Stream-Expires-At`.
pub(super) fn expiry(headers: &HeaderMap) -> Result<Expiry, Failure> {
    let ttl = integer(headers, &TTL, u64::MAX)?;
    let at = text(headers, &EXPIRES_AT)?;
    match (ttl, at) {
        (Some(_), Some(_)) => Err(Failure::bad_request(
            "INVALID_OPTION",
            "Stream-TTL and Stream-Expires-At exclude each other",
        )),
        (Some(seconds), None) => Ok(Expiry::Ttl(seconds)),
        (None, Some(text)) => super::time::parse(text)
            .map(Expiry::At)
            .ok_or_else(|| Failure::header(&EXPIRES_AT, "must be a time as in RFC 3339")),
        (None, None) => Ok(Expiry::Never),
    }
}

/// Our own headers for retention.
pub(super) fn retention(headers: &HeaderMap) -> Result<Retention, Failure> {
    Ok(Retention {
        max_age: integer(headers, &RETENTION_AGE, u64::MAX)?.map(Duration::from_secs),
        max_records: integer(headers, &RETENTION_RECORDS, u64::MAX)?,
        max_bytes: integer(headers, &RETENTION_BYTES, u64::MAX)?,
    })
}

/// Our own header for the backend.
pub(super) fn storage(headers: &HeaderMap) -> Result<Option<StorageKind>, Failure> {
    match text(headers, &STORAGE)? {
        None => Ok(None),
        Some(kind) if kind.eq_ignore_ascii_case("durable") => Ok(Some(StorageKind::Durable)),
        Some(kind) if kind.eq_ignore_ascii_case("memory") => Ok(Some(StorageKind::Memory)),
        Some(_) => Err(Failure::header(&STORAGE, "must be `durable` or `memory`")),
    }
}

/// The headers of a fork, as text: source path, offset, sub-offset.
pub(super) struct ForkHeaders<'a> {
    pub(super) source: &'a str,
    pub(super) offset: Option<&'a str>,
    pub(super) sub_offset: u64,
}

/// The headers of a fork, if the request is for one.
pub(super) fn fork(headers: &HeaderMap) -> Result<Option<ForkHeaders<'_>>, Failure> {
    let source = text(headers, &FORKED_FROM)?;
    let offset = text(headers, &FORK_OFFSET)?;
    let sub_offset = integer(headers, &FORK_SUB_OFFSET, u64::MAX)?;
    let Some(source) = source else {
        if offset.is_some() || sub_offset.is_some() {
            return Err(Failure::bad_request(
                "INVALID_FORK",
                "Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From",
            ));
        }
        return Ok(None);
    };
    if offset.is_none() && sub_offset.is_some_and(|sub| sub > 0) {
        return Err(Failure::bad_request(
            "INVALID_FORK",
            "Stream-Fork-Sub-Offset needs Stream-Fork-Offset: nothing follows the tail",
        ));
    }
    Ok(Some(ForkHeaders {
        source,
        offset,
        sub_offset: sub_offset.unwrap_or_default(),
    }))
}

/// A number as a header's value.
pub(super) fn number(value: u64) -> HeaderValue {
    HeaderValue::from(value)
}

/// Text made here, which is visible ASCII.
pub(super) fn value(text: impl Into<Bytes>) -> HeaderValue {
    HeaderValue::from_maybe_shared(text.into()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A time as a header's value.
pub(super) fn time(at: Timestamp) -> HeaderValue {
    value(super::time::format(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a header name");
            headers.append(name, value.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn whole_numbers_have_one_spelling() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("3600", 3600),
            ("9007199254740991", INTEGER_MAX),
        ] {
            assert_eq!(strict_integer(text, INTEGER_MAX), Some(value));
        }
        for text in [
            "",
            "00",
            "07",
            "+7",
            "-7",
            "7.0",
            "7e2",
            " 7",
            "0x7",
            "9007199254740992",
            "١",
        ] {
            assert_eq!(strict_integer(text, INTEGER_MAX), None, "{text}");
        }
    }

    #[test]
    fn closed_is_true_in_any_case_and_nothing_else() {
        for value in ["true", "TRUE", "True"] {
            assert!(closed(&headers(&[("stream-closed", value)])), "{value}");
        }
        for value in ["false", "yes", "1", "", "true,true"] {
            assert!(!closed(&headers(&[("stream-closed", value)])), "{value}");
        }
        assert!(!closed(&headers(&[])));
    }

    #[test]
    fn a_producer_is_all_three_headers_or_none() {
        let all = [
            ("producer-id", "p"),
            ("producer-epoch", "0"),
            ("producer-seq", "1"),
        ];
        assert!(matches!(producer(&headers(&all)), Ok(Some(_))));
        assert!(matches!(producer(&headers(&[])), Ok(None)));
        for (index, _) in all.iter().enumerate() {
            let mut some = all.to_vec();
            some.remove(index);
            assert!(producer(&headers(&some)).is_err(), "{some:?}");
        }
        let twice = [all.as_slice(), &[("producer-seq", "1")]].concat();
        assert!(producer(&headers(&twice)).is_err());
        let nameless = [
            ("producer-id", ""),
            ("producer-epoch", "0"),
            ("producer-seq", "0"),
        ];
        assert!(producer(&headers(&nameless)).is_err());
    }

    #[test]
    fn a_content_type_is_kept_as_given() {
        let given = "Text/Plain; charset=UTF-8";
        let parsed = content_type(&headers(&[("content-type", given)])).expect("a media type");
        assert_eq!(parsed.as_deref(), Some(given));
        for bad in ["plain", "/", "text/", "a b/c", "text/pl ain"] {
            assert!(
                content_type(&headers(&[("content-type", bad)])).is_err(),
                "{bad}"
            );
        }
        assert_eq!(
            content_type(&headers(&[("content-type", " ")])).ok(),
            Some(None)
        );
    }
}
