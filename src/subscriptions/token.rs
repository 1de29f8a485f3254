//! Tokens of workers: JWTs signed with HMAC-SHA256 that name a subscription, one wake of it, and when they end.
//!
//! A token says who may speak for a wake; whether that wake is still the one that counts is the core's business. So a token
//! outlives its wake by far: a late worker is told that it is fenced, not that it is a stranger.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::types::Timestamp;

/// How long a token is good for, and so how long one wake may be worked on.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// `{"alg":"HS256","typ":"JWT"}`, the only header that is taken.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// No token of ours is longer.
const TOKEN_BYTES_MAX: usize = 4_096;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    sub: String,
    #[serde(rename = "gen")]
    generation: u64,
    wake: String,
    exp: u64,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    /// Not ours, or of another subscription.
    #[error("the token is not valid for this subscription")]
    Invalid,
    /// Ours, but too old.
    #[error("the token has expired")]
    Expired,
}

/// A token for one wake of `subscription`.
pub(super) fn mint(
    key: &hmac::Key,
    subscription: &str,
    generation: u64,
    wake_id: &str,
    now: Timestamp,
) -> String {
    let claims = Claims {
        sub: subscription.to_owned(),
        generation,
        wake: wake_id.to_owned(),
        exp: now.after(LIFETIME).0 / 1_000_000,
    };
    let claims = serde_json::to_vec(&claims).expect("claims are plain text and numbers");
    let mut token = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
    let tag = hmac::sign(key, token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(tag, &mut token);
    token
}

/// The generation and the wake that a token speaks for.
pub(super) fn verify(
    key: &hmac::Key,
    subscription: &str,
    token: &str,
    now: Timestamp,
) -> Result<(u64, String), TokenError> {
    let claims = claims(key, token).ok_or(TokenError::Invalid)?;
    if claims.sub != subscription {
        return Err(TokenError::Invalid);
    }
    if claims.exp <= now.0 / 1_000_000 {
        return Err(TokenError::Expired);
    }
    Ok((claims.generation, claims.wake))
}

/// What a token of ours says. The signature is compared in constant time, before anything in the token is looked at.
fn claims(key: &hmac::Key, token: &str) -> Option<Claims> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (signed, tag) = token.rsplit_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    hmac::verify(key, signed.as_bytes(), &tag).ok()?;
    let (header, claims) = signed.split_once('.')?;
    if header != HEADER {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice(&claims).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[1; 32])
    }

    #[test]
    fn a_token_speaks_for_its_wake() {
        let token = mint(&key(), "sub-1", 7, "w_1", NOW);
        assert_eq!(verify(&key(), "sub-1", &token, NOW), Ok((7, "w_1".into())));
    }

    #[test]
    fn another_subscription_another_key_or_any_change_is_invalid() {
        let token = mint(&key(), "sub-1", 7, "w_1", NOW);
        let invalid = Err(TokenError::Invalid);
        assert_eq!(verify(&key(), "sub-2", &token, NOW), invalid);
        let other = hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]);
        assert_eq!(verify(&other, "sub-1", &token, NOW), invalid);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(verify(&key(), "sub-1", &changed, NOW), invalid, "{at}");
        }
        for text in ["", ".", "..", "a.b.c"] {
            assert_eq!(verify(&key(), "sub-1", text, NOW), invalid);
        }
    }

    #[test]
    fn a_token_ends_after_a_day() {
        let token = mint(&key(), "sub-1", 7, "w_1", NOW);
        let late = NOW.after(LIFETIME);
        assert_eq!(
            verify(&key(), "sub-1", &token, late),
            Err(TokenError::Expired)
        );
    }
}
