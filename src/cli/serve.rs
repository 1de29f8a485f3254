//! `streamkeeper serve`: the broker as a process.
//!
//! The order of the start: configuration, logging, HTTP (so that probes are answered), the listeners (so that a
//! taken address is found before the data is touched), the store, and only then clients. The end runs backwards:
//! answers under way on both faces, the store, and the HTTP port last, so that `/readyz` says "draining" to the end.
//!
//! Stdout gets one line per listener and nothing else; the log goes to stderr.

mod footprint;
mod http;
mod logging;
mod options;
mod owner;
mod signals;
mod upkeep;

use std::sync::Arc;

use clap::Args;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::failure::{Code, Failure};
use super::output::Output;
use crate::broker::{Broker, OpenError};
use crate::config::{Config, Layers};
use crate::metrics::Metrics;
use crate::server::{Drained, Server};
use crate::store::{Readiness, StoreError};
use crate::subscriptions::Subscriptions;
use crate::types::Error;
use http::HttpPort;
use owner::Owner;
use signals::Signals;

/// Tasks that a thread of the runtime runs before it looks whether sockets are ready: an append is not to wait for many readers to be
/// written to.
const TASKS_BETWEEN_LOOKS: u32 = 8;

/// Run the broker
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Print the configuration as a file, with where each value came from, and exit
    #[arg(long)]
    print_config: bool,

    #[command(flatten)]
    layers: Layers,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, resolved) =
            Config::load(self.layers).map_err(|error| Failure::usage(error.to_string()))?;
        if self.print_config {
            let mut output = Output::new(false);
            output.line(resolved.to_string().trim_end())?;
            return output.flush();
        }
        logging::start(&config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .event_interval(TASKS_BETWEEN_LOOKS)
            .thread_name("streamkeeper")
            .build()
            .map_err(|error| Failure::io("starting the runtime", error))?;
        runtime.block_on(serve(config))
    }
}

async fn serve(config: Config) -> Result<(), Failure> {
    let mut signals =
        Signals::install().map_err(|error| Failure::io("waiting for signals", error))?;
    let (metrics, exporter) = Metrics::new();
    // Until the runtime ends, and with HTTP off too: nothing scrapes then.
    tokio::spawn(upkeep::run(exporter.clone()));
    let readiness = watch::Sender::new(Readiness::Starting {
        reason: "opening the store".into(),
    });
    let shutdown = CancellationToken::new();
    let metering = (Arc::clone(&metrics), exporter);
    let http = HttpPort::start(&config, readiness.subscribe(), metering, shutdown.clone()).await?;

    let server = Server::bind(options::server(&config))
        .await
        .map_err(|error| cannot_start(error.to_string()))?;
    let opening = Broker::open(options::broker(&config, metrics, readiness.clone()));
    let broker = tokio::select! {
        opened = opening => opened.map_err(|error| not_opened(&config, &error))?,
        // Nothing was confirmed yet, so there is nothing to drain; the journal is replayed again next time.
        signal = signals.next() => signal.exit_now(),
    };
    let owner = Owner::claim(&config.data);
    let subscriptions = Subscriptions::start(
        broker.clone(),
        options::subscriptions(&config),
        shutdown.clone(),
    );
    let subscriptions = subscriptions.await.map_err(|error| not_read(&error))?;
    http.open(&broker, subscriptions);
    announce(server.local_addresses())?;
    tracing::info!(data = %config.data.display(), "serving");
    tokio::spawn(footprint::let_go_of_code());

    let (drained, ()) = tokio::join!(
        run(server, broker.clone(), signals, shutdown),
        http.drain(options::grace_of_peers(&config)),
    );
    broker.close_all().await;
    drop(owner);
    tracing::info!(
        connections = drained.connections,
        cut = drained.cut,
        "drained"
    );
    http.end(options::grace_of_end(&config) / 2).await;
    let ended = readiness.borrow().clone();
    match ended {
        Readiness::Faulted { reason } => {
            let message = format!("the store failed while serving: {reason}");
            Err(Failure::Other {
                message,
                code: Code::Broken,
            })
        }
        _ => Ok(()),
    }
}

/// Serves until a signal comes, then drains; another signal meanwhile ends the process at once.
async fn run(
    server: Server,
    broker: Broker,
    mut signals: Signals,
    shutdown: CancellationToken,
) -> Drained {
    let serving = tokio::spawn(server.run(broker, shutdown.clone()));
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        signal = signals.next() => {
            tracing::info!(%signal, "draining; a second signal ends at once");
            shutdown.cancel();
            tokio::spawn(async move { signals.next().await.exit_now() });
            serving.await
        }
    };
    // A server that ended by itself takes the HTTP port along.
    shutdown.cancel();
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "the server ended in a panic");
        Drained {
            connections: 0,
            cut: 0,
        }
    })
}

fn announce<'a>(
    addresses: impl Iterator<Item = &'a crate::server::ListenAddress>,
) -> Result<(), Failure> {
    for address in addresses {
        announce_line(&format!("listening on {address}"))?;
    }
    Ok(())
}

/// One line on stdout. A broker serves on even if nobody reads it.
fn announce_line(line: &str) -> Result<(), Failure> {
    let mut output = Output::new(false);
    match output.line(line).and_then(|()| output.flush()) {
        Err(Failure::OutputGone) => Ok(()),
        other => other,
    }
}

fn cannot_start(message: String) -> Failure {
    Failure::Other {
        message,
        code: Code::Refused,
    }
}

fn not_read(error: &Error) -> Failure {
    Failure::Other {
        message: format!("cannot read the subscriptions: {error}"),
        code: Code::Broken,
    }
}

fn not_opened(config: &Config, error: &OpenError) -> Failure {
    match error {
        OpenError::Store(StoreError::Locked { .. }) => {
            let owner = owner::named(&config.data).map(|pid| format!(" (process {pid})"));
            cannot_start(format!("{error}{}", owner.unwrap_or_default()))
        }
        _ => Failure::Other {
            message: format!("cannot open the store: {error}"),
            code: Code::Broken,
        },
    }
}
