//! The HTTP port of a broker process: up before the broker is open, and the last to go.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{announce_line, cannot_start, options};
use crate::broker::Broker;
use crate::cli::failure::Failure;
use crate::config::{Config, Http};
use crate::http::admin::Admin;
use crate::http::streams::{Opening, StreamsFace};
use crate::http::{HttpServer, Routes, subscriptions, tools};
use crate::metrics::{Exporter, Metrics};
use crate::store::Readiness;
use crate::subscriptions::Subscriptions;

/// The port, serving.
#[derive(Debug)]
pub(super) struct HttpPort {
    opening: Opening,
    subscriptions: subscriptions::Opening,
    draining: CancellationToken,
    stop: CancellationToken,
    connections: Option<TaskTracker>,
    serving: Option<JoinHandle<()>>,
}

impl HttpPort {
    /// Binds and serves, if the configuration asks for it. Once `draining` is cancelled, no reader waits any more.
    pub(super) async fn start(
        config: &Config,
        readiness: watch::Receiver<Readiness>,
        (metrics, exporter): (Arc<Metrics>, Exporter),
        draining: CancellationToken,
    ) -> Result<Self, Failure> {
        let mut port = Self {
            opening: Arc::new(OnceLock::new()),
            subscriptions: Arc::new(OnceLock::new()),
            draining: draining.clone(),
            stop: CancellationToken::new(),
            connections: None,
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
            draining.clone(),
            Arc::clone(&metrics),
            subscriptions::routes(controls),
        );
        let opening = Arc::clone(&port.opening);
        let admin = Admin::new(readiness, opening, Arc::clone(&metrics), exporter).routes();
        let tools = options::tools_face(config, Arc::clone(&port.opening));
        let routes = Routes::new(streams, admin.merge(tools::routes(tools)));
        port.connections = Some(server.connections());
        let options = options::http(config);
        let running = server.run(routes, options, metrics, draining, port.stop.clone());
        port.serving = Some(tokio::spawn(running));
        Ok(port)
    }

    /// Serves streams and subscriptions from now on.
    pub(super) fn open(&self, broker: &Broker, subscriptions: Subscriptions) {
        // Opened once per process; a second broker could only be the same one. The streams last: they make the broker ready.
        drop(self.subscriptions.set(subscriptions));
        drop(self.opening.set(broker.clone()));
    }

    /// Waits for the drain to begin, and then up to `grace` for the connections there were: each ends after the answer it is
    /// at. New ones are still taken, for one request each, so that probes are answered to the end.
    pub(super) async fn drain(&self, grace: Duration) {
        self.draining.cancelled().await;
        if let Some(connections) = &self.connections {
            connections.close();
            if tokio::time::timeout(grace, connections.wait())
                .await
                .is_err()
            {
                let left = connections.len();
                tracing::info!(connections = left, "HTTP: not waited for any longer");
            }
        }
    }

    /// Takes no more connections and lets requests under way end, within `grace`: a prober that holds its connection open
    /// must not hold up the end.
    pub(super) async fn end(self, grace: Duration) {
        self.stop.cancel();
        if let Some(serving) = self.serving {
            tokio::time::timeout(grace, serving).await.ok();
        }
    }
}
