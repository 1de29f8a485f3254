//! Positions and times as people write them.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use streamkeeper_client::Start;

use crate::types::{Clock, Position};

/// What `--from` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct From(pub(super) Start);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let start = match text {
            "-1" | "start" => Start::Beginning,
            "now" => Start::Now,
            _ => offset(text)
                .map(Start::Offset)
                .or_else(|| time(text).map(Start::Time))
                .ok_or_else(|| NEED.to_owned())?,
        };
        Ok(Self(start))
    }
}

const NEED: &str =
    "expected start (or -1), now, an offset, a time (2026-01-31T12:00:00Z) or an age (15m)";

fn offset(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| {
        text.parse::<Position>()
            .ok()
            .map(|position| position.offset.0)
    })
}

/// Microseconds since the epoch of a point in time, or of an age counted back from now.
pub(super) fn time(text: &str) -> Option<u64> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return time.duration_since(UNIX_EPOCH).ok().and_then(micros);
    }
    let age = micros(humantime::parse_duration(text).ok()?)?;
    Some(Clock::System.now().0.saturating_sub(age))
}

fn micros(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_micros()).ok()
}

/// The last microsecond that RFC 3339 can name: the end of the year 9999.
const MICROS_MAX: u64 = 253_402_300_799_999_999;

/// A time as RFC 3339 text; a time beyond the year 9999 as the number it is.
pub(super) fn show_time(micros: u64) -> String {
    if micros > MICROS_MAX {
        return micros.to_string();
    }
    let time: SystemTime = UNIX_EPOCH + Duration::from_micros(micros);
    humantime::format_rfc3339_micros(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_takes_words_offsets_text_offsets_times_and_ages() {
        let from = |text: &str| text.parse::<From>().map(|from| from.0);
        assert_eq!(from("-1"), Ok(Start::Beginning));
        assert_eq!(from("start"), Ok(Start::Beginning));
        assert_eq!(from("now"), Ok(Start::Now));
        assert_eq!(from("17"), Ok(Start::Offset(17)));
        assert_eq!(
            from("0000000000000017_0000000000000999"),
            Ok(Start::Offset(17))
        );
        assert_eq!(from("1970-01-01T00:00:02Z"), Ok(Start::Time(2_000_000)));
        assert!(matches!(from("15m"), Ok(Start::Time(_))));
        assert!(from("yesterday").is_err() && from("-2").is_err() && from("").is_err());
    }

    #[test]
    fn a_time_beyond_rfc_3339_is_shown_as_a_number() {
        assert_eq!(show_time(1_000_001), "1970-01-01T00:00:01.000001Z");
        assert_eq!(show_time(MICROS_MAX), "9999-12-31T23:59:59.999999Z");
        assert_eq!(show_time(u64::MAX), u64::MAX.to_string());
    }
}
