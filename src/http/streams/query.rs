//! The query of a GET: where to read from, and how.
//!
//! Strict about the parameters the protocol knows, each at most once; any other is ignored.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::Failure;
use super::live_cursor;
use crate::types::{Position, Start};

/// How a read waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// Not at all.
    No,
    /// For one answer.
    LongPoll,
    /// For a stream of events.
    Sse,
}

/// The query of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadQuery {
    /// Where to begin.
    pub(super) from: Start,
    /// The offset given, if it was one and not a word for one.
    pub(super) position: Option<Position>,
    /// How to wait.
    pub(super) live: Live,
    /// The cursor of an earlier live answer.
    pub(super) cursor: Option<u64>,
}

impl ReadQuery {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Failure> {
        let (mut offset, mut live, mut cursor) = (None, None, None);
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match decoded(name).as_ref() {
                "offset" => &mut offset,
                "live" => &mut live,
                "cursor" => &mut cursor,
                _ => continue,
            };
            if slot.replace(decoded(value)).is_some() {
                let message = format!("query parameter {name} comes twice");
                return Err(Failure::bad_request("INVALID_QUERY", message));
            }
        }
        let live = match live.as_deref() {
            None => Live::No,
            Some("long-poll") => Live::LongPoll,
            Some("sse") => Live::Sse,
            Some(_) => return Err(bad("live must be `long-poll` or `sse`")),
        };
        if live != Live::No && offset.is_none() {
            return Err(bad(
                "a live read needs an offset: one of this stream, -1 or now",
            ));
        }
        let (from, position) = match offset.as_deref() {
            None | Some("-1") => (Start::Beginning, None),
            Some("now") => (Start::Now, None),
            Some(text) => {
                let malformed = || bad("offset must be one of this stream, -1 or now");
                let position: Position = text.parse().ok().ok_or_else(malformed)?;
                (Start::At(position.offset), Some(position))
            }
        };
        Ok(Self {
            from,
            position,
            live,
            cursor: cursor.as_deref().and_then(live_cursor::parse),
        })
    }
}

fn bad(message: &'static str) -> Failure {
    Failure::bad_request("INVALID_QUERY", message)
}

/// Form decoding. What is not UTF-8 matches nothing.
fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Offset;

    fn parse(query: &str) -> Option<ReadQuery> {
        ReadQuery::parse(Some(query)).ok()
    }

    #[test]
    fn where_to_read_from() {
        let from = |query: &str| parse(query).map(|query| query.from);
        assert_eq!(from(""), Some(Start::Beginning));
        assert_eq!(from("offset=-1"), Some(Start::Beginning));
        assert_eq!(from("offset=now"), Some(Start::Now));
        assert_eq!(
            from("offset=0000000000000003_0000000000000042"),
            Some(Start::At(Offset(3)))
        );
        assert_eq!(from("x=1&offset=now&y"), Some(Start::Now));
        assert_eq!(from("offset=%6eow"), Some(Start::Now));
    }

    #[test]
    fn what_is_no_offset_is_refused() {
        for query in [
            "offset=",
            "offset",
            "offset=-1&offset=-1",
            "offset=0,1",
            "offset=0+1",
            "offset=3",
            "offset=-2",
            "offset=NOW",
            "offset=0000000000000003_000000000000004x",
            "offset=%FF",
        ] {
            assert_eq!(parse(query), None, "{query}");
        }
    }

    #[test]
    fn live_modes_are_two_and_need_an_offset() {
        let live = |query: &str| parse(query).map(|query| query.live);
        assert_eq!(live("offset=-1"), Some(Live::No));
        assert_eq!(live("offset=-1&live=long-poll"), Some(Live::LongPoll));
        assert_eq!(live("offset=-1&live=sse"), Some(Live::Sse));
        for query in [
            "live=sse",
            "live=long-poll",
            "offset=-1&live=",
            "offset=-1&live=SSE",
            "offset=-1&live=true",
            "offset=-1&live=sse&live=sse",
        ] {
            assert_eq!(live(query), None, "{query}");
        }
    }

    #[test]
    fn a_cursor_that_is_none_is_ignored() {
        let cursor = |query: &str| parse(query).and_then(|query| query.cursor);
        assert_eq!(cursor("offset=-1&live=sse&cursor=12"), Some(12));
        assert_eq!(cursor("offset=-1&live=sse&cursor=abc"), None);
    }
}
