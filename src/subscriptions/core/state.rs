//! The state of one subscription, in the form that is stored.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::{Config, Links, StreamInfo, text};
use crate::types::Timestamp;

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
}

/// How far the delivery of a wake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attempt {
    /// To be made at `next_attempt_at`, or now if there is none.
    Due,
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
            && wake.attempt == Attempt::InFlight
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
        [wake.lease_until, attempt].into_iter().flatten().min()
    }

    /// The streams as a worker is told of them.
    pub fn infos(&self) -> Vec<StreamInfo> {
        /// Keeps a wake's body near 200 KB at most; streams left out are told of by the next wake.
        const STREAMS_OF_A_WAKE_MAX: usize = 1_000;
        self.links.infos(STREAMS_OF_A_WAKE_MAX)
    }
}
