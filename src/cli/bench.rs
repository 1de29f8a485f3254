//! `streamkeeper bench`: a load generator over real sockets.
//!
//! Each workload is one file and answers one question, those over HTTP under [`http`]; [`broker`] gives it a broker to load (its own process in a
//! fresh directory, unless one is named), [`measure`] counts and times, [`report`] and [`rounds`] show the outcome. [`growth`] and [`goals`] are made of
//! runs of the workloads, each in a process of its own ([`own`]), and so are the neighbours of [`neighbours`].
//!
//! Load and broker share this machine's cores, as an application and its sidecar do. Latencies are taken from the
//! moment an append was due, so a stall is not hidden by the load waiting for it (`--rate`).

mod append;
mod broker;
mod catch_up;
mod connections;
mod deliver;
mod fill;
mod goals;
mod growth;
mod http;
mod measure;
mod neighbours;
mod own;
mod page_cache;
mod plot;
mod probes;
mod process;
mod progress;
mod raw;
mod report;
mod rounds;
mod serial;
mod stalled;
mod start;
mod streams;
mod writers;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output::Output;
use broker::{Broker, Face};
use report::Report;
use rounds::Rounds;

/// Measure a broker: by default one that is started for it, so that there is nothing to set up
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Bench {
    #[command(subcommand)]
    workload: Option<Workload>,

    #[command(flatten)]
    default: append::Append,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Workload {
    Append(WithCommon<append::Append>),
    Serial(WithCommon<serial::Serial>),
    Deliver(WithCommon<deliver::Deliver>),
    CatchUp(WithCommon<catch_up::CatchUp>),
    Streams(WithCommon<streams::Streams>),
    Connections(WithCommon<connections::Connections>),
    Start(WithCommon<start::Start>),
    Neighbours(WithCommon<neighbours::Neighbours>),
    Growth(growth::Growth),
    All(goals::All),
    Http(http::Http),
}

#[derive(Debug, Args)]
struct WithCommon<T: Args> {
    #[command(flatten)]
    workload: T,

    #[command(flatten)]
    common: Common,
}

// What every workload takes. No doc comment: clap would show it in place of the workload's own.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Broker and output")]
struct Common {
    /// Load this broker (HOST:PORT or unix:PATH) instead of one started for the purpose. Not taken from the
    /// environment, so that no broker is loaded by accident
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,

    /// Token to show to it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "STREAMKEEPER_TOKEN",
        hide_env_values = true,
        requires = "server"
    )]
    token: Option<String>,

    /// Start a broker of this same program for the run; the default without --server
    #[arg(long, conflicts_with = "server")]
    spawn: bool,

    /// Keep the data of the started broker in a fresh directory under DIR [default: the temporary directory]
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    dir: Option<std::path::PathBuf>,

    /// Talk to the started broker over a Unix socket
    #[arg(long, conflicts_with = "server")]
    unix: bool,

    /// Measure so many times, each with a broker of its own, and tell the median of each number
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// More arguments of `serve` for the started broker
    #[arg(last = true, value_name = "SERVE_ARGS", conflicts_with = "server")]
    serve_args: Vec<String>,
}

impl Bench {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Some(workload) = self.workload else {
            let load = self.default;
            return run(self.common, Face::Tcp, async |b| load.clone().run(b).await).await;
        };
        match workload {
            Workload::Append(WithCommon { workload, common }) => {
                run(common, Face::Tcp, async |b| workload.clone().run(b).await).await
            }
            Workload::Serial(WithCommon { workload, common }) => {
                run(common, Face::Tcp, async |b| workload.clone().run(b).await).await
            }
            Workload::Deliver(WithCommon { workload, common }) => {
                run(common, Face::Tcp, async |b| workload.clone().run(b).await).await
            }
            Workload::CatchUp(WithCommon { workload, common }) => {
                run(common, Face::Tcp, async |b| workload.clone().run(b).await).await
            }
            Workload::Streams(WithCommon { workload, common }) => {
                run(common, Face::Tcp, async |b| workload.clone().run(b).await).await
            }
            Workload::Connections(WithCommon { workload, common }) => {
                run(common, Face::Tcp, async |b| workload.clone().run(b).await).await
            }
            Workload::Start(WithCommon { workload, common }) => {
                run(common, Face::Tcp, async |b| workload.clone().run(b).await).await
            }
            Workload::Neighbours(WithCommon { workload, common }) => {
                run(common, Face::Tcp, async |b| workload.clone().run(b).await).await
            }
            Workload::Growth(growth) => growth.run(),
            Workload::All(all) => all.run(),
            Workload::Http(http) => http.run().await,
        }
    }

    /// Whether one thread makes all or nearly all of the load, so that the broker has the rest of the machine.
    pub(super) fn is_lean(&self) -> bool {
        matches!(
            self.workload,
            Some(Workload::Http(_) | Workload::Serial(_) | Workload::Neighbours(_))
        )
    }
}

/// Runs a workload, each round against a broker of its own; Ctrl-C ends it early. What it left behind is removed either way.
async fn run(
    common: Common,
    face: Face,
    workload: impl AsyncFn(&mut Broker) -> Result<Report, Failure>,
) -> Result<(), Failure> {
    let mut rounds = Rounds(Vec::new());
    for _ in 0..common.rounds {
        rounds.0.push(round(&common, face, &workload).await?);
    }
    let mut output = Output::new(common.json);
    if common.json {
        output.object(&rounds.to_json())?;
    } else {
        output.line(rounds)?;
    }
    output.flush()
}

async fn round(
    common: &Common,
    face: Face,
    workload: &impl AsyncFn(&mut Broker) -> Result<Report, Failure>,
) -> Result<Report, Failure> {
    let mut broker = Broker::obtain(common, face)?;
    let before = broker.usage();
    let outcome = tokio::select! {
        outcome = workload(&mut broker) => outcome,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| Failure::io("waiting for Ctrl-C", error))?;
            Err(Failure::io("the run", "interrupted"))
        }
    };
    let used = broker.usage();
    if outcome.is_err()
        && let Some(status) = broker.ended()
    {
        let what = "the run";
        return Err(Failure::io(
            what,
            format!("the broker ended by itself: {status}"),
        ));
    }
    broker.clean_up().await?;
    Ok(outcome?.with_broker(&broker, before, used))
}
