//! The HTTP port of a broker process: up before the broker is open, and the last to go.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{announce_line, cannot_start, options};
use crate::broker::Broker;
use crate::cli::failure::Failure;
use crate::config::{Config, Http};
use crate::http::admin::Admin;
use crate::http::streams::{Opening, StreamsFace};
use crate::http::{HttpServer, Routes, subscriptions};
use crate::metrics::Metrics;
use crate::subscriptions::Subscriptions;

/// How long requests may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// The port, serving.
#[derive(Debug)]
pub(super) struct HttpPort {
    opening: Opening,
    subscriptions: subscriptions::Opening,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl HttpPort {
    /// Binds and serves, if the configuration asks for it. Once `draining` is cancelled, no reader waits any more.
    pub(super) async fn start(
        config: &Config,
        admin: Admin,
        metrics: Arc<Metrics>,
        draining: CancellationToken,
    ) -> Result<Self, Failure> {
        let mut port = Self {
            opening: Arc::new(OnceLock::new()),
            subscriptions: Arc::new(OnceLock::new()),
            stop: CancellationToken::new(),
            serving: None,
        };
        let Http::At(address) = &config.http else {
            return Ok(port);
        };
        let server = HttpServer::bind(address).await.map_err(|error| {
            cannot_start(format!("cannot listen for HTTP on {address}: {error}"))
        })?;
        announce_line(&format!("http on {}", server.address()))?;
        let controls = options::subscriptions_face(config, Arc::clone(&port.subscriptions));
        let streams = StreamsFace::new(
            Arc::clone(&port.opening),
            options::streams(config),
            draining,
            Arc::clone(&metrics),
            subscriptions::routes(controls),
        );
        let routes = Routes::new(streams, admin.routes());
        let running = server.run(routes, options::http(config), metrics, port.stop.clone());
        port.serving = Some(tokio::spawn(running));
        Ok(port)
    }

    /// Serves streams and subscriptions from now on.
    pub(super) fn open(&self, broker: &Broker, subscriptions: Subscriptions) {
        // Opened once per process; a second broker could only be the same one.
        drop(self.opening.set(broker.clone()));
        drop(self.subscriptions.set(subscriptions));
    }

    /// Takes no more connections and lets requests under way end, within a time: a prober that holds its connection open
    /// must not hold up the end.
    pub(super) async fn end(self) {
        self.stop.cancel();
        if let Some(serving) = self.serving {
            tokio::time::timeout(GRACE, serving).await.ok();
        }
    }
}
