//! Which time limit of a connection runs out next.
//!
//! Pure: times come in as values. The connection notes what happens; one timer is armed for [`Deadlines::next`]. Noting is
//! a store, so the timer may fire early and is then armed again: cheaper than moving it at every frame.
//!
//! ```text
//! socket accepted ──connect_timeout──▶ Due::Connect       unless CONNECT is accepted before
//! last byte heard ──heartbeat──▶ Due::Ping ──heartbeat──▶ Due::Silent
//! first byte of a frame ──frame_timeout──▶ Due::Frame     unless the frame is complete before
//! socket takes nothing ──write_timeout──▶ Due::Stuck      unless it takes something before
//! draining, last request ──quiet──▶ Due::Quiet
//! told to leave ──▶ Due::Leave
//! ```
//!
//! While the broker itself does not read (backpressure), silence and an incomplete frame are not the peer's fault: those
//! two clocks stand still.

use std::time::Duration;

use tokio::time::Instant;

/// How long each thing may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    pub(super) heartbeat: Duration,
    pub(super) frame: Duration,
    pub(super) write: Duration,
    pub(super) quiet: Duration,
}

/// What has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Not connected in time.
    Connect,
    /// Nothing heard: ask.
    Ping,
    /// Nothing heard after asking.
    Silent,
    /// A frame is incomplete for too long.
    Frame,
    /// The socket takes nothing for too long.
    Stuck,
    /// A peer that was told of the drain has asked for nothing for a moment.
    Quiet,
    /// The time to leave has come.
    Leave,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Deadlines {
    allowed: Allowed,
    connect_by: Option<Instant>,
    /// When the peer was last heard; `None` while nobody listens.
    heard_at: Option<Instant>,
    pinged: bool,
    frame_since: Option<Instant>,
    stuck_since: Option<Instant>,
    /// Set while a drain waits for the peer to ask for nothing more.
    quiet_since: Option<Instant>,
    leave_by: Option<Instant>,
}

impl Deadlines {
    pub(super) fn new(allowed: Allowed, now: Instant, connect_timeout: Duration) -> Self {
        Self {
            allowed,
            connect_by: Some(now + connect_timeout),
            heard_at: Some(now),
            pinged: false,
            frame_since: None,
            stuck_since: None,
            quiet_since: None,
            leave_by: None,
        }
    }

    /// CONNECT was accepted.
    pub(super) fn connected(&mut self) {
        self.connect_by = None;
    }

    /// Bytes came from the peer.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = Some(now);
        self.pinged = false;
    }

    /// A drain has begun, or a request has come since: the peer is to ask for nothing more.
    pub(super) fn hush(&mut self, now: Instant) {
        self.quiet_since = Some(now);
    }

    /// All frames that are complete were taken; `partial` says whether part of another is left, `fresh` that it is not
    /// the one that was left last time.
    pub(super) fn split(&mut self, now: Instant, partial: bool, fresh: bool) {
        self.frame_since = match (partial, self.frame_since) {
            (false, _) => None,
            (true, Some(since)) if !fresh => Some(since),
            (true, _) => Some(now),
        };
    }

    /// The broker does not read the peer for now.
    pub(super) fn pause(&mut self) {
        self.heard_at = None;
        self.pinged = false;
        self.frame_since = None;
    }

    /// The broker reads the peer, again.
    pub(super) fn listen(&mut self, now: Instant) {
        self.heard_at.get_or_insert(now);
    }

    /// The socket took something, or there is nothing for it to take.
    pub(super) fn wrote(&mut self) {
        self.stuck_since = None;
    }

    /// Something is to be written and the socket takes nothing.
    pub(super) fn stuck(&mut self, now: Instant) {
        self.stuck_since.get_or_insert(now);
    }

    /// The connection ends at `at` or before.
    pub(super) fn leave_by(&mut self, at: Instant) {
        self.leave_by = Some(self.leave_by.map_or(at, |by| by.min(at)));
    }

    /// The next time at which something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        [
            self.connect_by,
            self.leave_by,
            self.quiet_by(),
            self.speak_by(),
            self.frame_by(),
            self.write_by(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn speak_by(&self) -> Option<Instant> {
        let silences = if self.pinged { 2 } else { 1 };
        self.heard_at
            .map(|heard| heard + self.allowed.heartbeat * silences)
    }

    fn frame_by(&self) -> Option<Instant> {
        self.frame_since.map(|since| since + self.allowed.frame)
    }

    fn quiet_by(&self) -> Option<Instant> {
        self.quiet_since.map(|since| since + self.allowed.quiet)
    }

    fn write_by(&self) -> Option<Instant> {
        self.stuck_since.map(|since| since + self.allowed.write)
    }

    /// What is due now, gravest first.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        let is_due = |by: Option<Instant>| by.is_some_and(|by| by <= now);
        if is_due(self.write_by()) {
            return Some(Due::Stuck);
        }
        if is_due(self.leave_by) {
            return Some(Due::Leave);
        }
        if is_due(self.quiet_by()) {
            self.quiet_since = None;
            return Some(Due::Quiet);
        }
        if is_due(self.connect_by) {
            return Some(Due::Connect);
        }
        if is_due(self.frame_by()) {
            return Some(Due::Frame);
        }
        if !is_due(self.speak_by()) {
            return None;
        }
        if self.pinged {
            return Some(Due::Silent);
        }
        self.pinged = true;
        Some(Due::Ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connected(now: Instant) -> Deadlines {
        let allowed = Allowed {
            heartbeat: 15 * SECOND,
            frame: 20 * SECOND,
            write: 30 * SECOND,
            quiet: SECOND,
        };
        let mut deadlines = Deadlines::new(allowed, now, 10 * SECOND);
        deadlines.connected();
        deadlines
    }

    #[test]
    fn a_silent_peer_is_asked_once_and_then_given_up() {
        let start = Instant::now();
        let mut deadlines = connected(start);
        assert_eq!(deadlines.next(), Some(start + 15 * SECOND));
        assert_eq!(deadlines.due(start + 14 * SECOND), None);
        assert_eq!(deadlines.due(start + 15 * SECOND), Some(Due::Ping));
        assert_eq!(deadlines.due(start + 16 * SECOND), None);
        assert_eq!(deadlines.next(), Some(start + 30 * SECOND));
        assert_eq!(deadlines.due(start + 30 * SECOND), Some(Due::Silent));
    }

    #[test]
    fn a_peer_that_answers_the_ping_stays() {
        let start = Instant::now();
        let mut deadlines = connected(start);
        assert_eq!(deadlines.due(start + 15 * SECOND), Some(Due::Ping));
        deadlines.heard(start + 16 * SECOND);
        assert_eq!(deadlines.due(start + 30 * SECOND), None);
        assert_eq!(deadlines.due(start + 31 * SECOND), Some(Due::Ping));
    }

    #[test]
    fn a_trickled_frame_runs_out_of_time_although_bytes_keep_coming() {
        let start = Instant::now();
        let mut deadlines = connected(start);
        for second in 0..20 {
            let now = start + second * SECOND;
            deadlines.heard(now);
            deadlines.split(now, true, second == 0);
            assert_eq!(deadlines.due(now), None);
        }
        assert_eq!(deadlines.due(start + 20 * SECOND), Some(Due::Frame));
    }

    #[test]
    fn the_clock_of_a_frame_starts_again_with_the_next_frame() {
        let start = Instant::now();
        let mut deadlines = connected(start);
        deadlines.split(start, true, true);
        deadlines.heard(start + 19 * SECOND);
        deadlines.split(start + 19 * SECOND, true, true);
        assert_eq!(deadlines.due(start + 20 * SECOND), None);
        deadlines.split(start + 21 * SECOND, false, false);
        assert_eq!(deadlines.next(), Some(start + 34 * SECOND));
    }

    #[test]
    fn time_in_which_the_broker_does_not_read_is_not_counted() {
        let start = Instant::now();
        let mut deadlines = connected(start);
        deadlines.split(start, true, true);
        deadlines.pause();
        assert_eq!(deadlines.next(), None);
        assert_eq!(deadlines.due(start + 100 * SECOND), None);
        deadlines.listen(start + 100 * SECOND);
        assert_eq!(deadlines.next(), Some(start + 115 * SECOND));
    }

    #[test]
    fn a_socket_that_takes_nothing_is_stuck_and_one_that_takes_a_little_is_not() {
        let start = Instant::now();
        let mut deadlines = connected(start);
        deadlines.pause();
        deadlines.stuck(start);
        deadlines.stuck(start + 29 * SECOND);
        assert_eq!(deadlines.due(start + 30 * SECOND), Some(Due::Stuck));
        deadlines.wrote();
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_drained_peer_is_quiet_when_it_asked_for_nothing_for_a_moment() {
        let start = Instant::now();
        let mut deadlines = connected(start);
        deadlines.hush(start);
        deadlines.hush(start + SECOND / 2);
        deadlines.heard(start + SECOND);
        assert_eq!(deadlines.due(start + SECOND), None);
        assert_eq!(deadlines.due(start + 3 * SECOND / 2), Some(Due::Quiet));
        assert_eq!(deadlines.next(), Some(start + 16 * SECOND));
    }

    #[test]
    fn a_peer_that_never_connects_is_given_up() {
        let start = Instant::now();
        let allowed = Allowed {
            heartbeat: 15 * SECOND,
            frame: 20 * SECOND,
            write: 30 * SECOND,
            quiet: SECOND,
        };
        let mut deadlines = Deadlines::new(allowed, start, 10 * SECOND);
        deadlines.heard(start + 9 * SECOND);
        assert_eq!(deadlines.due(start + 10 * SECOND), Some(Due::Connect));
    }
}
