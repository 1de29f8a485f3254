//! The state of one subscription, in the form that is stored.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::{Config, Facts, Links, StreamInfo, text};
use crate::types::{StreamName, Timestamp};

/// All but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One subscription: what is stored of it, and its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// All but the streams.
    pub head: Head,
    /// The streams.
    pub links: Links,
}

/// All of a subscription but its streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What the client calls it.
    pub id: String,
    /// What the client said.
    pub config: Config,
    /// Where workers reach this broker: the root of the streams' URLs, without a slash at its end.
    pub base_url: String,
    /// When it was created.
    #[serde(with = "text::micros")]
    pub created_at: Timestamp,
    /// The number of the latest wake; 0 before the first.
    pub generation: u64,
    /// The wake that is out.
    pub wake: Option<Wake>,
    /// Failed deliveries in a row.
    #[serde(default)]
    pub failures: u32,
    /// Nothing is delivered before this time.
    #[serde(with = "text::optional_micros", default)]
    pub next_attempt_at: Option<Timestamp>,
}

/// A wake that is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Unique among all wakes.
    pub id: String,
    /// How far its delivery is.
    pub attempt: Attempt,
    /// The worker that claimed it.
    pub holder: Option<String>,
    /// When it ends by itself; `None` while it waits to be claimed.
    #[serde(with = "text::optional_micros")]
    pub lease_until: Option<Timestamp>,
    /// When its worker was told of the streams, or is to be: what was created later it does not know.
    #[serde(with = "text::micros", default)]
    pub told_at: Timestamp,
    /// Streams that a client took away since; its worker may still report them.
    #[serde(with = "text::list", default)]
    pub removed: Vec<StreamName>,
    /// Which incarnation of the wake stream its event was written to.
    #[serde(with = "text::optional_micros", default)]
    pub event_in: Option<Timestamp>,
    /// When the event is written again if nobody claims until then.
    #[serde(with = "text::optional_micros", default)]
    pub repeat_at: Option<Timestamp>,
    /// How often it was written.
    #[serde(default)]
    pub events: u32,
}

impl Wake {
    /// Streams taken away that are remembered at most; a report that names others is refused.
    const REMOVED_MAX: usize = 1_000;

    /// Whether its worker is to be found yet.
    pub(super) fn is_unclaimed(&self) -> bool {
        self.lease_until.is_none()
    }

    pub(super) fn remember_removed(&mut self, name: &StreamName) {
        if self.removed.len() < Self::REMOVED_MAX && !self.removed.contains(name) {
            self.removed.push(name.clone());
        }
    }
}

/// How far the delivery of a wake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attempt {
    /// To be made at `next_attempt_at`, or now if there is none.
    Due,
    /// To be made as soon as there is a place for it.
    Queued,
    /// Being made.
    InFlight,
    /// Succeeded, or no longer needed.
    Accepted,
}

impl Subscription {
    /// A subscription that never woke anybody.
    pub fn new(
        id: String,
        config: Config,
        base_url: String,
        created_at: Timestamp,
        links: Links,
    ) -> Self {
        let head = Head {
            id,
            config,
            base_url,
            created_at,
            generation: 0,
            wake: None,
            failures: 0,
            next_attempt_at: None,
        };
        Self { head, links }
    }

    /// As it is stored, brought back to work: how a delivery under way ended is not known, so it is made again.
    pub fn revived(mut head: Head, links: Links) -> Self {
        if let Some(wake) = &mut head.wake
            && matches!(wake.attempt, Attempt::Queued | Attempt::InFlight)
        {
            wake.attempt = Attempt::Due;
        }
        Self { head, links }
    }

    /// Its path below the root of the streams, fit for a URL.
    pub fn path(&self) -> String {
        let id = utf8_percent_encode(&self.head.id, ENCODED);
        format!("__ds/subscriptions/{id}")
    }

    /// `failed` while an attempt is scheduled after one that failed, `active` otherwise.
    pub fn status(&self) -> &'static str {
        if self.head.failures > 0 {
            "failed"
        } else {
            "active"
        }
    }

    /// When something is to be done without anybody asking.
    pub fn next_timer(&self) -> Option<Timestamp> {
        let head = &self.head;
        let Some(wake) = &head.wake else {
            return head
                .next_attempt_at
                .filter(|_| self.links.first_pending().is_some());
        };
        let attempt =
            (wake.attempt == Attempt::Due).then(|| head.next_attempt_at.unwrap_or_default());
        let repeat = wake
            .repeat_at
            .filter(|_| wake.is_unclaimed() && wake.attempt == Attempt::Accepted);
        [wake.lease_until, attempt, repeat]
            .into_iter()
            .flatten()
            .min()
    }

    /// There is a place for the delivery that waits for one: it begins, and its lease with it. Gives whether one waits.
    pub fn begin_delivery(&mut self, now: Timestamp) -> bool {
        let lease = self.head.config.lease();
        match &mut self.head.wake {
            Some(wake) if wake.attempt == Attempt::Queued => {
                wake.attempt = Attempt::InFlight;
                wake.lease_until = Some(now.after(lease));
                true
            }
            _ => false,
        }
    }

    /// Takes what was observed of a stream. Gives whether it is linked now.
    pub fn observe(&mut self, name: &StreamName, facts: Option<Facts>) -> bool {
        let matches = self.head.config.matches(name);
        let wake = self.head.wake.as_ref();
        let told = wake.map(|wake| (self.head.generation, wake.told_at));
        self.links.observe(name, facts, matches, told)
    }

    /// The streams as a worker is told of them.
    pub fn infos(&self) -> Vec<StreamInfo> {
        /// Keeps a wake's body near 200 KB at most; streams left out are told of by the next wake.
        const STREAMS_OF_A_WAKE_MAX: usize = 1_000;
        self.links.infos(STREAMS_OF_A_WAKE_MAX)
    }
}
