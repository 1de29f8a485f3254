//! The workloads: each starts a server on a fresh directory, loads it, checks what it stored, and notes its samples.

mod appends;
mod catch_up;
mod deliver;
mod many_streams;
mod producer;

use std::path::Path;
use std::time::Duration;

use crate::disk;
use crate::error::Error;
use crate::measure::Results;
use crate::parts::Parts;
use crate::plan::Plan;
use crate::system::System;

/// What every workload needs.
pub(crate) struct Bench<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) parts: &'a Parts,
    /// Parent of the data directories.
    pub(crate) root: &'a Path,
    pub(crate) results: Results,
}

/// The workloads, each with a server of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    Appends,
    Deliver,
    CatchUp,
    ManyStreams,
}

impl Workload {
    pub(crate) const ALL: [Self; 4] = [
        Self::Appends,
        Self::Deliver,
        Self::CatchUp,
        Self::ManyStreams,
    ];

    /// For the progress that is shown.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Appends => "appends",
            Self::Deliver => "fan-out",
            Self::CatchUp => "catch-up",
            Self::ManyStreams => "many streams",
        }
    }
}

impl Bench<'_> {
    /// Runs one workload against one system, in a directory that is removed afterwards.
    pub(crate) async fn run(&mut self, workload: Workload, system: System) -> Result<(), Error> {
        let directory = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(self.root);
        let directory = directory.map_err(Error::io("making a data directory"))?;
        let path = directory.path();
        disk::settle(self.root)?;
        match workload {
            Workload::Appends => appends::run(self, system, path).await,
            Workload::Deliver => deliver::run(self, system, path).await,
            Workload::CatchUp => catch_up::run(self, system, path).await,
            Workload::ManyStreams => many_streams::run(self, system, path).await,
        }
    }
}

/// For samples.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and nanoseconds far below 2^53"
)]
fn float(value: u64) -> f64 {
    value as f64
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mebibytes(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}
