//! What caches may keep: entity tags, `If-None-Match`, and `Cache-Control`.
//!
//! A range of records never changes, so its tag is which stream, from where, to where. The tag also says whether the stream
//! ends there: a close without records must not be hidden by a 304.

use std::fmt::Write as _;

use axum::http::header::{ACCEPT_ENCODING, GetAll};
use axum::http::{HeaderMap, HeaderValue};

use super::headers;
use crate::broker::Runs;
use crate::types::{Clock, Expiry};

/// How long an answer stays right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Not even once: it says where the tail is.
    Never,
    /// Until the stream changes: ask with the tag.
    IfUnchanged,
    /// The records in it never change.
    ForAWhile,
}

const MAX_AGE_SECONDS: u64 = 60;
const STALE_SECONDS: u64 = 300;

/// The entity tag of an answer, quotes included.
pub(super) fn etag(runs: &Runs) -> String {
    let mut tag = String::with_capacity(112);
    let ended = if runs.closed { ":c" } else { "" };
    // Writing to a string does not fail.
    write!(
        tag,
        "\"{:x}-{:x}:{}:{}{ended}\"",
        runs.stream.0, runs.created_at.0, runs.from, runs.next
    )
    .ok();
    tag
}

/// Whether `If-None-Match` names `etag`: compared weakly, as RFC 9110 asks for.
pub(super) fn matches(given: &GetAll<'_, HeaderValue>, etag: &str) -> bool {
    let names = |value: &HeaderValue| {
        let Ok(list) = value.to_str() else {
            return false;
        };
        // Our tags hold no comma, so splitting cannot cut a tag that is ours.
        list.split(',')
            .map(str::trim)
            .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == etag)
    };
    given.iter().any(names)
}

/// `Cache-Control` of an answer. Nothing is kept past the time the stream may live.
pub(super) fn control(freshness: Freshness, expiry: Expiry, private: bool) -> HeaderValue {
    let scope = if private { "private" } else { "public" };
    let left = match expiry {
        Expiry::Never => u64::MAX,
        Expiry::Ttl(seconds) => seconds,
        Expiry::At(at) => at.since(Clock::System.now()).as_secs(),
    };
    match freshness {
        Freshness::Never => HeaderValue::from_static("no-store"),
        Freshness::IfUnchanged => headers::value(format!("{scope}, no-cache")),
        Freshness::ForAWhile => {
            let max_age = left.min(MAX_AGE_SECONDS);
            let stale = (left - max_age).min(STALE_SECONDS);
            headers::value(format!(
                "{scope}, max-age={max_age}, stale-while-revalidate={stale}"
            ))
        }
    }
}

/// Whether a client takes gzip.
pub(super) fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(ACCEPT_ENCODING).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let gzip = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let refused = |part: &str| {
                let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
                weight.is_some_and(|weight| weight.parse().is_ok_and(|weight: f32| weight <= 0.0))
            };
            gzip && !parts.any(refused)
        })
}

/// Whether a content type is text that compresses well.
pub(super) fn is_text(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|&byte| byte == b';').next();
    let media_type = media_type
        .unwrap_or_default()
        .trim_ascii()
        .to_ascii_lowercase();
    let suffixes: [&[u8]; 5] = [b"json", b"xml", b"javascript", b"yaml", b"ndjson"];
    media_type.starts_with(b"text/")
        || media_type.starts_with(b"application/")
            && suffixes.iter().any(|suffix| media_type.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;
    use axum::http::header::IF_NONE_MATCH;
    use std::time::Duration;

    #[test]
    fn if_none_match_is_a_list_of_weak_comparisons() {
        let matches = |values: &[&str]| {
            let mut map = HeaderMap::new();
            for value in values {
                map.append(IF_NONE_MATCH, value.parse().expect("a value"));
            }
            super::matches(&map.get_all(IF_NONE_MATCH), "\"a:b\"")
        };
        for yes in [
            &["\"a:b\""][..],
            &["W/\"a:b\""],
            &["*"],
            &["\"x\", \"a:b\""],
            &["\"x\"", "\"a:b\""],
        ] {
            assert!(matches(yes), "{yes:?}");
        }
        for no in [&[][..], &["\"a:b:c\""], &["a:b"], &["\"a\", \"b\""]] {
            assert!(!matches(no), "{no:?}");
        }
    }

    #[test]
    fn gzip_is_taken_by_who_says_so() {
        let takes = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            accepts_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, value)]))
        };
        assert!(takes("gzip") && takes("br, GZIP;q=0.5"));
        assert!(!takes("br") && !takes("gzip;q=0, br") && !takes(""));
    }

    #[test]
    fn nothing_is_kept_longer_than_the_stream() {
        let control = |expiry| {
            let value = control(Freshness::ForAWhile, expiry, false);
            value.to_str().expect("text").to_owned()
        };
        assert_eq!(
            control(Expiry::Never),
            "public, max-age=60, stale-while-revalidate=300"
        );
        assert_eq!(
            control(Expiry::Ttl(100)),
            "public, max-age=60, stale-while-revalidate=40"
        );
        assert_eq!(
            control(Expiry::Ttl(10)),
            "public, max-age=10, stale-while-revalidate=0"
        );
        assert_eq!(
            control(Expiry::At(Timestamp(5))),
            "public, max-age=0, stale-while-revalidate=0"
        );
        let soon = Clock::System.now().after(Duration::from_secs(3_600));
        assert_eq!(
            control(Expiry::At(soon)),
            "public, max-age=60, stale-while-revalidate=300"
        );
    }

    #[test]
    fn text_is_told_from_bytes() {
        for text in [
            "text/plain; charset=utf-8",
            "application/json",
            "application/ld+json",
            "TEXT/HTML",
        ] {
            assert!(is_text(text.as_bytes()), "{text}");
        }
        for bytes in ["application/octet-stream", "image/svg+xml", "video/mp4"] {
            assert!(!is_text(bytes.as_bytes()), "{bytes}");
        }
    }
}
