//! How long to wait after a failed delivery.

use std::time::Duration;

/// The wait after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait, before jitter.
const LONGEST: Duration = Duration::from_secs(60);
/// How much jitter moves a wait, of its length.
const JITTER: f64 = 0.2;

/// The wait after `failures` failures in a row (at least 1): doubled each time from 1 s to 60 s, and moved by up to a
/// fifth either way. `jitter` is between -1 and 1.
pub fn backoff(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    let wait = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    wait.mul_f64(1.0 + JITTER * jitter.clamp(-1.0, 1.0))
}

/// After how long an event that nobody claims on is written again, when it was `repeats` times before: `lease`, doubled each time
/// until it is as long as the longest wait.
pub(super) fn repeat_after(lease: Duration, repeats: u32) -> Duration {
    let doubled = lease.saturating_mul(1 << repeats.min(6));
    doubled.min(LONGEST.max(lease))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_to_sixty() {
        let waits: Vec<u64> = (1..9).map(|n| backoff(n, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(u32::MAX, 0.0), LONGEST);
    }

    #[test]
    fn jitter_moves_a_wait_by_a_fifth_at_most() {
        assert_eq!(backoff(1, 1.0), Duration::from_millis(1200));
        assert_eq!(backoff(1, -1.0), Duration::from_millis(800));
        assert_eq!(backoff(7, 9.0), Duration::from_secs(72));
    }
}
