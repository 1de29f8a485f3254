//! What a session allows its peer: limits, times and credentials.
//!
//! Validated by whoever builds it (the configuration); the session only obeys. The limits that a peer must know are
//! announced in INFO.

use std::fmt;
use std::hint::black_box;
use std::time::Duration;

use streamkeeper_protocol::limits::{self, Limits};

use super::Unsent;

/// A shared secret that a client shows in CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<[u8]>);

impl Token {
    /// Takes the secret.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into().into_boxed_slice())
    }

    /// Whether `shown` is this token. The time taken depends on the length of `shown` only, not on where it differs.
    pub fn matches(&self, shown: &[u8]) -> bool {
        let expected = self.0.iter().copied().chain(std::iter::repeat(0));
        let mut differing = u8::from(shown.len() != self.0.len());
        for (shown, expected) in shown.iter().zip(expected) {
            differing = black_box(differing | (shown ^ expected));
        }
        differing == 0
    }
}

impl fmt::Debug for Token {
    /// Never shows the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Limits, times and credentials of every session of a server.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Names this server in INFO.
    pub server_id: String,
    /// Tokens that are accepted; several while one is being replaced. Empty: no authentication.
    pub tokens: Vec<Token>,
    /// A peer silent for this long is sent a PING; silent for as long again, it is disconnected. At least 1 ms.
    pub heartbeat: Duration,
    /// What the peer may send, as announced.
    pub limits: Limits,
    /// Most unanswered READs of one connection; one more is refused with `TOO_MANY_REQUESTS`.
    pub reads_max: usize,
    /// Most unanswered STATs and LISTs of one connection; it is not read further until one is answered.
    pub queries_max: usize,
    /// Most bytes of runs in one RECORDS frame, unless a single record is larger.
    pub read_bytes_max: u32,
    /// Longest a READ may wait for records.
    pub read_wait_max: Duration,
    /// Most bytes of runs in one DELIVER frame, unless a single record is larger.
    pub deliver_bytes_max: usize,
    /// Most reads of the store that subscriptions of one connection have under way.
    pub loads_max: usize,
    /// What all connections together hold for peers that do not take it.
    pub unsent: Unsent,
}

impl SessionOptions {
    /// Most bytes of runs in one DELIVER, within what a frame holds.
    pub(super) fn deliver_bytes_max(&self) -> usize {
        self.runs_bytes_max().min(self.deliver_bytes_max)
    }

    /// Most bytes of runs in one RECORDS, within what a frame holds.
    pub(super) fn read_bytes_max(&self) -> u32 {
        let frame = u32::try_from(self.runs_bytes_max()).unwrap_or(u32::MAX);
        let most = frame.min(self.read_bytes_max);
        let share = usize::try_from(most).unwrap_or(usize::MAX);
        u32::try_from(self.unsent.share(share)).unwrap_or(most)
    }

    /// Most bytes that one read of the store brings: a single record may be larger than what a frame is to hold.
    pub(super) fn load_bytes_max(&self) -> usize {
        let record = usize::try_from(self.limits.record_bytes_max).unwrap_or(usize::MAX);
        record.max(self.deliver_bytes_max())
    }

    fn runs_bytes_max(&self) -> usize {
        let bytes = self
            .limits
            .frame_bytes_max
            .saturating_sub(limits::ENVELOPE_BYTES_MAX);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            server_id: String::from("streamkeeper"),
            tokens: Vec::new(),
            heartbeat: Duration::from_millis(limits::HEARTBEAT_MS.into()),
            limits: Limits::default(),
            reads_max: 16,
            queries_max: 16,
            read_bytes_max: 1 << 20,
            read_wait_max: Duration::from_millis(limits::WAIT_MS_MAX.into()),
            // Large enough that the syscall is small beside the copy, small enough that one subscription does not
            // hold up a reply on the same connection for long.
            deliver_bytes_max: 256 << 10,
            loads_max: 4,
            unsent: Unsent::new(64 << 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_itself_and_nothing_else() {
        let token = Token::new("secret");
        assert!(token.matches(b"secret"));
        for other in [&b""[..], b"secre", b"secret\0", b"secreT", b"xecret"] {
            assert!(!token.matches(other), "{other:?}");
        }
        assert!(Token::new("").matches(b""));
        assert!(!format!("{token:?}").contains("secret"));
    }
}
