//! `Stream-Cursor`: numbers that make the URLs of live reads differ over time, so that caches cannot serve one empty answer
//! for ever.
//!
//! Time is cut into intervals counted from a fixed day; a cursor is the number of the current one. A client that shows a cursor
//! which is not behind that is sent a random distance past its own: never back, never the same twice.

use crate::types::{Clock, Timestamp};

/// 2024-10-09T00:00:00Z, in seconds.
const EPOCH_SECONDS: u64 = 1_728_432_000;
const INTERVAL_SECONDS: u64 = 20;
/// How far past the client's own cursor it may be sent.
const JITTER_SECONDS: u64 = 3_600;

/// The cursors of one answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveCursor {
    floor: u64,
}

impl LiveCursor {
    /// For a client that showed `shown`.
    pub(super) fn new(shown: Option<u64>) -> Self {
        let current = interval(Clock::System.now());
        let floor = match shown {
            Some(shown) if shown >= current => shown.saturating_add(jitter()),
            _ => current,
        };
        Self { floor }
    }

    /// The cursor now; never less than the last.
    pub(super) fn now(self) -> u64 {
        interval(Clock::System.now()).max(self.floor)
    }
}

fn interval(at: Timestamp) -> u64 {
    (at.0 / 1_000_000).saturating_sub(EPOCH_SECONDS) / INTERVAL_SECONDS
}

/// 1 to 3,600 seconds in intervals, at least one.
fn jitter() -> u64 {
    fastrand::u64(1..=JITTER_SECONDS).div_ceil(INTERVAL_SECONDS)
}

/// A cursor as a client shows it. What is no number counts as none; one past all numbers as the last, for it must not go back.
pub(super) fn parse(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_counted_from_the_epoch() {
        let at = |seconds: u64| Timestamp(seconds * 1_000_000);
        assert_eq!(interval(at(0)), 0);
        assert_eq!(interval(at(EPOCH_SECONDS + 19)), 0);
        assert_eq!(interval(at(EPOCH_SECONDS + 20)), 1);
        assert_eq!(interval(at(EPOCH_SECONDS + 20 * 1000)), 1000);
    }

    #[test]
    fn a_cursor_moves_past_the_one_shown() {
        let current = LiveCursor::new(None).now();
        for shown in [current, current + 1, current + 500] {
            for _ in 0..100 {
                let next = LiveCursor::new(Some(shown)).now();
                assert!(next > shown && next <= shown + 181, "{shown} {next}");
            }
        }
        let behind = LiveCursor::new(Some(current - 1)).now();
        assert!((current..=current + 1).contains(&behind));
    }

    #[test]
    fn a_cursor_never_goes_back() {
        assert_eq!(parse("abc"), None);
        assert_eq!(parse("18446744073709551616"), Some(u64::MAX));
        assert_eq!(LiveCursor::new(Some(u64::MAX)).now(), u64::MAX);
        assert_eq!(parse("1000"), Some(1000));
    }
}
