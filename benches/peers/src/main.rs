//! Streamkeeper beside others: the same workloads against NATS, Redis Streams and Streamkeeper.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml`, or `make peers`. Each server is started on the
//! loopback with a fresh directory on a disk, loaded by the same lean loop on one thread, asked for its memory, and
//! everything it confirmed is read back and checked. Systems take turns within each workload, and workloads within each
//! round, so that a slow minute of the machine slows all. It ends with a table of medians and ratios, the samples as
//! JSON, and a plot.
//!
//! Bottom up: `record` (what is appended), `link` (a socket), `dialect` (the protocols), `system` and `server` (the
//! processes), `load` and `read_back` (the loops), `workload`, `raw` (the machine alone), `measure` (samples),
//! `report`.

mod dialect;
mod disk;
mod error;
mod link;
mod load;
mod measure;
mod parts;
mod plan;
mod raw;
mod read_back;
mod record;
mod report;
mod server;
mod system;
mod workload;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::error::Error;
use crate::measure::Results;
use crate::parts::Parts;
use crate::plan::{Options, Plan};
use crate::raw::Raw;
use crate::report::Report;
use crate::workload::{Bench, Workload};

/// A workload that takes longer is not worth waiting for: a server has lost something, or the disk is somebody else's.
const PATIENCE: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("peers: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Progress goes to standard error; nobody is hurt if it cannot.
fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .ok();
}

fn run(options: &Options) -> Result<(), Error> {
    let plan = options.plan();
    disk::allow_open_files(plan.subscribers)?;
    let parts = Parts::find(&plan.products(), options.streamkeeper.clone())?;
    let root = disk::directory(options.dir.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(Error::io("starting a runtime"))?;
    let mut bench = Bench {
        plan: &plan,
        parts: &parts,
        root: root.path(),
        results: Results::default(),
    };
    let ended = runtime.block_on(until_stopped(rounds(&plan, &mut bench)));
    let report = Report::new(&plan, &parts, &bench.results, root.path());
    if ended.is_err() {
        say(&format!(
            "\nnot finished; what was measured so far:\n{}",
            report.table()
        ));
    }
    ended?;
    report.write(options)
}

/// Ends with an error when the run is interrupted, so that servers and data do not stay behind.
async fn until_stopped(run: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let terminated = signal(SignalKind::terminate());
    let mut terminated = terminated.map_err(Error::io("waiting for signals"))?;
    tokio::select! {
        done = run => done,
        _ = terminated.recv() => Err(Error::Stopped),
        _ = tokio::signal::ctrl_c() => Err(Error::Stopped),
    }
}

async fn rounds(plan: &Plan, bench: &mut Bench<'_>) -> Result<(), Error> {
    for round in 0..plan.rounds {
        bench.results.add_raw(Raw::measure(bench.root)?);
        for workload in Workload::ALL {
            for system in plan.order(round) {
                let (number, of) = (round + 1, plan.rounds);
                let (title, key) = (workload.title(), system.key());
                say(&format!("round {number} of {of}, {title}: {key} "));
                let begun = Instant::now();
                // Boxed: it holds the buffers of all workloads.
                let running = Box::pin(bench.run(workload, system));
                let ended = timeout(PATIENCE, running).await;
                let ended = ended.unwrap_or(Err(Error::TooLong { what: title }));
                ended.map_err(|error| Error::In {
                    system: key,
                    workload: title,
                    source: Box::new(error),
                })?;
                say(&format!("({:.1} s)\n", begun.elapsed().as_secs_f64()));
            }
        }
    }
    Ok(())
}
