//! The configuration in the terms of the modules that obey it.

use std::sync::Arc;
use std::time::Duration;

use streamkeeper_protocol::limits::Limits;
use tokio::sync::watch;

use crate::broker::BrokerOptions;
use crate::config::{Config, PublicUrl};
use crate::connection::{ConnectionOptions, Incoming};
use crate::http::streams::StreamsOptions;
use crate::http::subscriptions::{Opening, SubscriptionsFace};
use crate::http::tools::ToolsFace;
use crate::http::{HttpOptions, streams};
use crate::metrics::Metrics;
use crate::rules::RuleLimits;
use crate::server::ServerOptions;
use crate::session::{SessionOptions, Token, Unsent};
use crate::store::Readiness;
use crate::stream::QueueLimits;
use crate::subscriptions::SubscriptionOptions;

/// The most that is kept of `drain_grace` for the end.
const END_MAX: Duration = Duration::from_secs(5);

/// What of `drain_grace` is kept for what comes when the peers are gone: the last folds, and the end of the HTTP port.
pub(super) fn grace_of_end(config: &Config) -> Duration {
    (config.drain_grace / 5).min(END_MAX)
}

/// What of it peers have: then they are cut off.
pub(super) fn grace_of_peers(config: &Config) -> Duration {
    config.drain_grace.saturating_sub(grace_of_end(config))
}

pub(super) fn server(config: &Config) -> ServerOptions {
    ServerOptions {
        listen: config.listen.clone(),
        connections_max: size(config.connections_max.into()),
        drain_grace: grace_of_peers(config),
        session: SessionOptions {
            tokens: tokens(config),
            heartbeat: config.heartbeat,
            limits: Limits {
                frame_bytes_max: config.frame_bytes_max,
                record_bytes_max: config.record_bytes_max,
                batch_records_max: config.batch_records_max,
                subscriptions_max: config.subscriptions_max,
                ..Limits::default()
            },
            unsent: Unsent::new(size(config.unsent_bytes_max)),
            ..SessionOptions::default()
        },
        connection: ConnectionOptions {
            connect_timeout: config.handshake_timeout,
            write_timeout: config.write_timeout,
            incoming: Incoming::new(size(config.incoming_bytes_max)),
            ..ConnectionOptions::default()
        },
    }
}

fn tokens(config: &Config) -> Vec<Token> {
    let token = |secret: &crate::config::Secret| Token::new(secret.reveal());
    config.auth_token.iter().map(token).collect()
}

pub(super) fn http(config: &Config) -> HttpOptions {
    HttpOptions {
        connections_max: size(config.connections_max.into()),
        write_timeout: config.write_timeout,
        ..HttpOptions::default()
    }
}

pub(super) fn streams(config: &Config) -> StreamsOptions {
    let origins = config.cors_origins.iter();
    StreamsOptions {
        tokens: tokens(config),
        cors_origins: origins.map(|origin| origin.0.clone()).collect(),
        long_poll_timeout: config.long_poll_timeout,
        body_bytes_max: size(config.http_body_bytes_max),
        bodies_bytes_max: size(config.http_bodies_bytes_max),
        answers_bytes_max: size(config.http_answers_bytes_max),
        record_bytes_max: size(config.record_bytes_max.into()),
        ..StreamsOptions::default()
    }
}

pub(super) fn subscriptions(config: &Config) -> SubscriptionOptions {
    SubscriptionOptions {
        allow_loopback: config.webhooks_allow_loopback,
        ..SubscriptionOptions::default()
    }
}

/// The routes of the subscriptions that `opening` will hold.
pub(super) fn subscriptions_face(config: &Config, opening: Opening) -> SubscriptionsFace {
    let public_url = match &config.public_url {
        PublicUrl::Auto => None,
        PublicUrl::At(root) => Some(root.as_str()),
    };
    SubscriptionsFace::new(opening, tokens(config), public_url)
}

/// The routes by which the broker that `opening` will hold is asked to check or copy its data.
pub(super) fn tools_face(config: &Config, opening: streams::Opening) -> ToolsFace {
    ToolsFace::new(opening, tokens(config))
}

pub(super) fn broker(
    config: &Config,
    metrics: Arc<Metrics>,
    readiness: watch::Sender<Readiness>,
) -> BrokerOptions {
    BrokerOptions {
        default_storage: config.storage,
        rules: RuleLimits {
            record_bytes_max: config.record_bytes_max.into(),
            ..RuleLimits::default()
        },
        queues: QueueLimits {
            total_bytes_max: size(config.queue_bytes_max),
            stream_bytes_max: size(config.stream_queue_bytes_max),
        },
        commit_bytes_max: size(config.commit_bytes_max),
        hot_tail_bytes_max: size(config.hot_tail_bytes_max),
        fold_bytes: size(config.fold_bytes),
        store_cache_bytes: size(config.store_cache_bytes),
        memory_streams_bytes_max: size(config.memory_streams_bytes_max),
        metrics,
        readiness,
        ..BrokerOptions::in_directory(&config.data)
    }
}

/// A bound that this machine cannot address is no bound.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
