//! How long to wait between attempts to reconnect.
//!
//! The pause doubles from `base` to `max`; jitter takes a random share off it, so that many clients that
//! lost one server do not return at the same instant. Pure arithmetic apart from the random bits, which come from the
//! standard library's hasher keys; the sleeping is the connection task's.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// When and how often a lost connection is opened again.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconnect {
    base: Duration,
    max: Duration,
    attempts_max: Option<u32>,
    jitter: f64,
}

impl Default for Reconnect {
    /// 50 ms doubling to 5 s, half of it random, without an end.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(50),
            max: Duration::from_secs(5),
            attempts_max: None,
            jitter: 0.5,
        }
    }
}

impl Reconnect {
    /// Never reconnects: a lost connection closes the client.
    pub fn never() -> Self {
        Self {
            attempts_max: Some(0),
            ..Self::default()
        }
    }

    /// The pause before the first attempt (default 50 ms).
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// The longest pause (default 5 s).
    #[must_use]
    pub fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Gives up after this many attempts in a row (default: never gives up).
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts_max = Some(attempts);
        self
    }

    /// The share of each pause that is random, 0.0 to 1.0 (default 0.5); other values are clamped.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        };
        self
    }

    /// The pause after a refusal that asks for patience and names no time.
    pub(crate) fn first_pause(&self) -> Duration {
        self.base.max(Duration::from_millis(10))
    }

    /// The pause before attempt number `attempt` (from 0), or `None` when it is time to give up.
    pub(crate) fn pause(&self, attempt: u32) -> Option<Duration> {
        let allowed = self.attempts_max.is_none_or(|max| attempt < max);
        allowed.then(|| self.delay(attempt))
    }

    /// How long a connection must have lasted for the next pauses to begin at the base again.
    pub(crate) fn stable_after(&self) -> Duration {
        self.max
    }

    /// The pause number `doublings`, however many attempts are allowed.
    pub(crate) fn delay(&self, doublings: u32) -> Duration {
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let full = self.base.saturating_mul(factor).min(self.max);
        full.mul_f64(1.0 - self.jitter * random_share())
    }
}

/// A number from 0.0 up to 1.0, different on each call.
fn random_share() -> f64 {
    f64::from((random_bits() >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

/// 64 random bits: the hash of nothing under a fresh key.
pub(crate) fn random_bits() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_maximum() {
        let policy = Reconnect::default()
            .base(Duration::from_millis(10))
            .max(Duration::from_millis(50))
            .jitter(0.0);
        let pauses: Vec<_> = (0..5)
            .map(|n| policy.pause(n).unwrap().as_millis())
            .collect();
        assert_eq!(pauses, [10, 20, 40, 50, 50]);
        assert_eq!(policy.pause(u32::MAX).unwrap().as_millis(), 50);
    }

    #[test]
    fn jitter_only_shortens_the_pause() {
        let policy = Reconnect::default()
            .base(Duration::from_secs(1))
            .max(Duration::from_secs(1));
        for _ in 0..1_000 {
            let pause = policy.pause(0).unwrap();
            assert!(pause >= Duration::from_millis(500) && pause <= Duration::from_secs(1));
        }
    }

    #[test]
    fn it_gives_up_after_the_allowed_attempts() {
        assert_eq!(Reconnect::never().pause(0), None);
        let policy = Reconnect::default().attempts(2);
        assert!(policy.pause(1).is_some());
        assert_eq!(policy.pause(2), None);
    }
}
