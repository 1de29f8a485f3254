//! From the path of a URL to the name of a stream.
//!
//! The name is all that follows [`PREFIX`], percent-decoded; `%2F` and `/` are the same there. Reserved names belong to the
//! protocol's own routes, however they are spelled.

use percent_encoding::percent_decode_str;

use super::error::Failure;
use crate::types::StreamName;

/// What the paths of all streams begin with.
pub(super) const PREFIX: &str = "/v1/stream/";

/// What follows the prefix, still encoded.
pub(super) fn encoded(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX)
}

/// Whether the path is one of the protocol's own routes.
pub(super) fn is_control(path: &str) -> bool {
    encoded(path).is_some_and(|name| StreamName::check_client(name).is_err())
}

/// The stream that `path` names.
pub(super) fn of_path(path: &str) -> Result<StreamName, Failure> {
    let outside = || Failure::not_found("no route is here: streams live under /v1/stream/");
    let encoded = encoded(path).ok_or_else(outside)?;
    if !is_well_encoded(encoded) {
        let message = "a `%` in the path must be followed by two hexadecimal digits";
        return Err(Failure::bad_request("INVALID_NAME", message));
    }
    let decoded = percent_decode_str(encoded)
        .decode_utf8()
        .ok()
        .ok_or_else(|| Failure::bad_request("INVALID_NAME", "the stream's name is not UTF-8"))?;
    // Whatever stands between would resolve them, and ask for another stream than was meant.
    if decoded.split('/').any(|part| matches!(part, "." | "..")) {
        let message = "a stream's name has no segments `.` or `..`";
        return Err(Failure::bad_request("INVALID_NAME", message));
    }
    Ok(StreamName::of_client(&decoded)?)
}

fn is_well_encoded(encoded: &str) -> bool {
    let digits = |rest: &str| {
        let two = rest.as_bytes().get(..2);
        two.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    encoded.split('%').skip(1).all(digits)
}

/// The stream that the value of `Stream-Forked-From` names: the path of its URL.
pub(super) fn of_source(path: &str) -> Result<StreamName, Failure> {
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(Failure::bad_request(
            "INVALID_FORK",
            "Stream-Forked-From must be the path of a stream's URL: no host, query or fragment",
        ));
    }
    of_path(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> Option<String> {
        of_path(path).ok().map(|name| name.as_str().to_owned())
    }

    #[test]
    fn a_name_is_the_decoded_path() {
        for (path, expected) in [
            ("/v1/stream/a", "a"),
            ("/v1/stream/a/b/c", "a/b/c"),
            ("/v1/stream/a%2Fb%20c", "a/b c"),
            ("/v1/stream/caf%C3%A9", "café"),
            ("/v1/stream/a+b", "a+b"),
            ("/v1/stream/a/", "a/"),
            ("/v1/stream/...", "..."),
            ("/v1/stream/.a/b..", ".a/b.."),
            ("/v1/stream/__dsx", "__dsx"),
        ] {
            assert_eq!(name(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_names_no_stream_is_refused() {
        for path in [
            "/v1/stream/",
            "/v1/stream/%00",
            "/v1/stream/%FF",
            "/v1/stream/a%0Ab",
            "/v1/stream/a%2",
            "/v1/stream/a%zz",
            "/v1/stream/..",
            "/v1/stream/a/%2e%2E/b",
            "/v1/stream/./b",
            "/v1/stream/__ds",
            "/v1/stream/__ds/keys",
            "/v1/stream/%5F_ds%2Fkeys",
            "/v2/stream/a",
        ] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
