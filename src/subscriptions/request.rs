//! What is asked of subscriptions, what is answered, and why something is refused.

use serde::Serialize;
use tokio::sync::oneshot;

use super::core::{Ack, Config, Rejection, StreamInfo, Subscription};
use super::target::TargetError;
use crate::types::{Error, StreamName, Timestamp};

/// A worker's report: what it processed, and for which wake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The wake it works for.
    pub wake_id: String,
    /// Its generation.
    pub generation: u64,
    /// What it processed.
    pub acks: Vec<Ack>,
    /// Whether it is done.
    pub done: bool,
}

/// Over which route a worker reports; a route belongs to one kind of subscription or to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The callback of a webhook.
    Callback,
    /// The ack of a claim.
    Ack,
}

/// A subscription as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub id: String,
    /// Its path below the root of the streams.
    pub path: String,
    /// What the client said.
    pub config: Config,
    /// Where this broker is reached, for URLs in answers.
    pub base_url: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// `active` or `failed`.
    pub status: &'static str,
    /// When a delivery that failed is tried again.
    pub next_attempt_at: Option<Timestamp>,
    /// All its streams.
    pub streams: Vec<StreamInfo>,
    /// The key that webhooks are signed with; only of a subscription with a webhook.
    pub kid: Option<String>,
}

impl Description {
    pub(super) fn of(subscription: &Subscription, kid: Option<String>) -> Self {
        let head = &subscription.head;
        Self {
            id: head.id.clone(),
            path: subscription.path(),
            config: head.config.clone(),
            base_url: head.base_url.clone(),
            created_at: head.created_at,
            status: subscription.status(),
            next_attempt_at: head.next_attempt_at,
            streams: subscription.links.infos(usize::MAX),
            kid,
        }
    }
}

/// What a successful claim answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The wake.
    pub wake_id: String,
    /// Its generation.
    pub generation: u64,
    /// What the worker shows with its reports.
    pub token: String,
    /// The streams.
    pub streams: Vec<StreamInfo>,
    /// How long it may stay silent, in milliseconds.
    pub lease_ttl_ms: u64,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    /// No such subscription.
    #[error("no such subscription")]
    NotFound,
    /// It exists with another configuration.
    #[error("the subscription exists with another configuration")]
    AlreadyExists,
    /// The webhook's URL is refused.
    #[error(transparent)]
    UrlRejected(#[from] TargetError),
    /// The request cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// The token is not ours, or of another subscription.
    #[error("the token is not valid for this subscription")]
    TokenInvalid,
    /// The token is too old.
    #[error("the token has expired")]
    TokenExpired,
    /// The rules say no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// There are as many as there may be.
    #[error("the broker keeps at most {limit} subscriptions")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// More is being asked than can be answered soon. Nothing was done.
    #[error("too many requests wait: try again")]
    Busy,
    /// The system gives no random bytes, or the stored keys are damaged.
    #[error("the keys cannot be used: {0}")]
    Keys(String),
    /// The broker could not do it.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, SubscriptionError>>;

/// One question to the dispatcher.
#[derive(Debug)]
pub(super) enum Request {
    /// Create or confirm; answers whether it was created.
    Put {
        id: String,
        config: Config,
        base_url: String,
        reply: Reply<(bool, Description)>,
    },
    /// Describe.
    Get {
        id: String,
        reply: Reply<Description>,
    },
    /// Delete; one that is not there is as good as deleted.
    Delete { id: String, reply: Reply<()> },
    /// Link streams.
    AddStreams {
        id: String,
        streams: Vec<StreamName>,
        reply: Reply<()>,
    },
    /// Take a link away.
    RemoveStream {
        id: String,
        stream: StreamName,
        reply: Reply<()>,
    },
    /// Claim the lease.
    Claim {
        id: String,
        worker: String,
        reply: Reply<Claim>,
    },
    /// Report; answers whether another wake follows.
    Acknowledge {
        id: String,
        route: Route,
        token: String,
        report: Report,
        reply: Reply<bool>,
    },
    /// Give the lease back.
    Release {
        id: String,
        token: String,
        generation: u64,
        wake_id: String,
        reply: Reply<()>,
    },
    /// The public keys.
    Jwks { reply: Reply<serde_json::Value> },
}
