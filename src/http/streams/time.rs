//! Times as RFC 3339 writes them.
//!
//! `humantime` reads and writes them in UTC; a time zone other than `Z` is taken off here first.

use std::time::{Duration, UNIX_EPOCH};

use crate::types::Timestamp;

/// The time that `text` says, with any offset from UTC. `None` if it is no time, or one before 1970.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (local, offset_seconds) = split_zone(text)?;
    let utc = humantime::parse_rfc3339(&format!("{}Z", local.replace('t', "T"))).ok()?;
    let micros = utc.duration_since(UNIX_EPOCH).ok()?.as_micros();
    let micros = i64::try_from(micros).ok()?;
    let shifted = micros.checked_sub(offset_seconds.checked_mul(1_000_000)?)?;
    u64::try_from(shifted).ok().map(Timestamp)
}

/// Date and time, and how many seconds its clock is ahead of UTC.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return Some((local, 0));
    }
    let (local, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, zone) = match zone.strip_prefix('+') {
        Some(zone) => (1, zone),
        None => (-1, zone.strip_prefix('-')?),
    };
    let (hours, minutes) = zone.split_once(':')?;
    let two_digits = |part: &str, limit: i64| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let value: Option<i64> = digits.then(|| part.parse().ok()).flatten();
        value.filter(|value| *value < limit)
    };
    let seconds = two_digits(hours, 24)? * 3600 + two_digits(minutes, 60)? * 60;
    Some((local, sign * seconds))
}

/// The time in UTC, with fractions of a second only if there are any.
pub(super) fn format(at: Timestamp) -> String {
    // A time past what the calendar of `humantime` holds is shown as its end.
    let at = UNIX_EPOCH + Duration::from_micros(at.0.min(LAST.0));
    humantime::format_rfc3339(at).to_string()
}

/// The last second of the year 9999.
const LAST: Timestamp = Timestamp(253_402_300_799_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_zone() {
        let noon = parse("2030-01-02T12:00:00Z").expect("a time");
        for same in [
            "2030-01-02T12:00:00.000Z",
            "2030-01-02T12:00:00+00:00",
            "2030-01-02T14:30:00+02:30",
            "2030-01-01T23:00:00-13:00",
            "2030-01-02T12:00:00z",
            "2030-01-02t14:30:00+02:30",
        ] {
            assert_eq!(parse(same), Some(noon), "{same}");
        }
        assert_eq!(format(noon), "2030-01-02T12:00:00Z");
        assert_eq!(
            format(parse("2030-01-02T12:00:00.25Z").expect("a time")),
            "2030-01-02T12:00:00.250000000Z"
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "tomorrow",
            "2030-01-02",
            "2030-13-02T12:00:00Z",
            "2030-01-02T12:00:00",
            "2030-01-02T12:00:00+1:00",
            "2030-01-02T12:00:00+25:00",
            "1893585600",
            "1969-12-31T23:59:59Z",
            "１２３４５６",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_past_the_calendar_does_not_panic() {
        assert_eq!(format(Timestamp(u64::MAX)), "9999-12-31T23:59:59Z");
    }
}
