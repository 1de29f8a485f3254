//! The HTTP port: its listener, and the routes served on it.
//!
//! The listener starts before the broker is open, so that a probe is answered "replaying" and not with a refused
//! connection. So nothing here holds a broker: [`admin`] sees a readiness value and the metrics. Data routes are a
//! router of their own, kept apart, and are merged by whoever starts the listener.

pub mod admin;

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;

/// A bound HTTP listener.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl HttpServer {
    /// Binds `address`, a `HOST:PORT`; port 0 takes any free one.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `routes` until `stop` is done, then finishes the requests under way.
    pub async fn run(
        self,
        routes: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        axum::serve(self.listener, routes)
            .with_graceful_shutdown(stop)
            .await
    }
}
