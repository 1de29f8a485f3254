//! What a client says about a subscription: normalised, so that two ways to say the same are one configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::glob::Pattern;
use super::text;
use crate::types::StreamName;

/// The configuration of a subscription, fixed at its creation.
///
/// `streams` is sorted and without duplicates; fields that the kind of delivery does not use are not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// How workers are woken.
    pub delivery: Delivery,
    /// Streams that belong to it by their names.
    #[serde(with = "text::optional", default)]
    pub pattern: Option<Pattern>,
    /// Streams named when it was created.
    #[serde(with = "text::list", default)]
    pub streams: Vec<StreamName>,
    /// How long a worker may stay silent, in milliseconds: 1 s to 10 min.
    pub lease_ttl_ms: u64,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
}

/// How workers are woken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Delivery {
    /// A signed request to this URL.
    Webhook {
        /// As the client wrote it; checked.
        url: String,
    },
    /// An event on a stream that workers read.
    PullWake {
        /// That stream.
        #[serde(with = "text::one")]
        wake_stream: StreamName,
    },
}

impl Config {
    /// Bounds of `lease_ttl_ms`.
    pub const LEASE_TTL_MS: std::ops::RangeInclusive<u64> = 1_000..=600_000;
    /// `lease_ttl_ms` of those who do not say.
    pub const LEASE_TTL_MS_DEFAULT: u64 = 30_000;

    /// The configuration in its normal form.
    #[must_use]
    pub fn normal(mut self) -> Self {
        self.streams.sort();
        self.streams.dedup();
        self
    }

    /// How long a worker may stay silent.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ttl_ms)
    }

    /// Whether a stream of this name belongs by the pattern. The own wake stream never does: each event would be work.
    pub fn matches(&self, name: &StreamName) -> bool {
        let is_own =
            matches!(&self.delivery, Delivery::PullWake { wake_stream } if wake_stream == name);
        let pattern = self.pattern.as_ref().filter(|_| !is_own);
        pattern.is_some_and(|pattern| pattern.matches(name.as_str()))
    }

    /// Whether workers claim this subscription.
    pub fn is_pull(&self) -> bool {
        matches!(self.delivery, Delivery::PullWake { .. })
    }

    /// SHA-256 over all fields in a fixed order. Equal configurations, and only those, have equal hashes.
    ///
    /// # Panics
    /// Never: all of it is text and numbers.
    pub fn hash(&self) -> [u8; 32] {
        let text = serde_json::to_vec(self).expect("a configuration is plain text and numbers");
        let digest = ring::digest::digest(&ring::digest::SHA256, &text);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        hash
    }
}
