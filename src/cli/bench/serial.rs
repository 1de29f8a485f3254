//! How long one append takes when nothing else goes on: the price of being durable.
//!
//! The same run also measures what no broker can beat, with records of the same size: an append to one file with
//! `fdatasync`, and a round trip over the loopback. They alternate with the appends, so that a slow minute of the machine
//! slows all three.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use streamkeeper_client::{Client, CreateOptions};

use super::broker::{Broker, stream_name};
use super::measure::{Budget, Extent, Latencies, RunClock, payload};
use super::progress::{self, Goal};
use super::raw::{LoopbackEcho, SyncedFile};
use super::report::{Phase, Report, Unit, float};
use crate::cli::failure::Failure;

/// Append one record at a time and wait for each
#[derive(Clone, Debug, Args)]
pub(super) struct Serial {
    /// Payload bytes of a record
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    record_bytes: u32,

    /// Measure the raw append and fdatasync in DIR [default: beside the data of the started broker]
    #[arg(long, value_name = "DIR")]
    raw: Option<PathBuf>,

    #[command(flatten)]
    extent: Extent,
}

/// Appends between two looks at the raw machine.
const SLICE: usize = 50;

impl Serial {
    pub(super) async fn run(self, broker: &Broker) -> Result<Report, Failure> {
        let client = broker.connect().await?;
        let name = stream_name("serial");
        let created = client.create(name.as_str(), CreateOptions::new()).await;
        created.map_err(Failure::during("creating the stream"))?;
        let appends = Latencies::new()?;
        let beside = self.raw.as_deref().or(broker.directory());
        let record = payload(self.record_bytes as usize);
        let mut raw = beside.map(|at| Raw::start(at, &record)).transpose()?;
        let budget = Budget::new(RunClock::start(), self.extent, Duration::ZERO);
        let work = work(&client, &name, &record, &budget, &appends, raw.as_mut());
        let goal = Goal::of(self.extent, Duration::ZERO);
        let in_appends = progress::show("serial", goal, || appends.seen(), work).await?;
        client.close().await;

        let latencies = appends.snapshot();
        let p50 = latencies.value_at_percentile(50.0);
        let count = latencies.len();
        let report = Report::new("serial", vec![("record_bytes", json!(self.record_bytes))]);
        let report = report.phase(Phase {
            unit: "records confirmed",
            count,
            bytes: count * u64::from(self.record_bytes),
            elapsed: in_appends,
            latency: "append to confirm",
            latencies: Some(latencies),
        });
        Ok(match raw {
            Some(raw) => raw.add_to(report, p50),
            None => report,
        })
    }
}

/// Appends until the budget is used up; answers the time spent in appends alone.
async fn work(
    client: &Client,
    name: &str,
    record: &[u8],
    budget: &Budget,
    appends: &Latencies,
    mut raw: Option<&mut Raw>,
) -> Result<Duration, Failure> {
    let mut total = Duration::ZERO;
    loop {
        if let Some(raw) = raw.as_deref_mut() {
            raw.slice()?;
        }
        for _ in 0..SLICE {
            if !budget.take() {
                return Ok(total);
            }
            let begun = RunClock::start();
            let appended = client.append(name, record).await;
            let took = begun.now();
            appended.map_err(Failure::during("appending"))?;
            appends.record_all([took]);
            appends.saw(1);
            total += Duration::from_nanos(took);
        }
    }
}

/// The machine without a broker.
struct Raw {
    file: SyncedFile,
    echo: LoopbackEcho,
    syncs: Latencies,
    round_trips: Latencies,
}

impl Raw {
    fn start(directory: &Path, record: &[u8]) -> Result<Self, Failure> {
        let failed = |error| Failure::io("preparing the raw measurement", error);
        Ok(Self {
            file: SyncedFile::create_in(directory, record.to_vec()).map_err(failed)?,
            echo: LoopbackEcho::start(record.to_vec()).map_err(failed)?,
            syncs: Latencies::new()?,
            round_trips: Latencies::new()?,
        })
    }

    /// Blocks this thread for some milliseconds, while nothing else is measured.
    fn slice(&mut self) -> Result<(), Failure> {
        let failed = |error| Failure::io("the raw measurement", error);
        for _ in 0..SLICE {
            let begun = RunClock::start();
            self.file.append_and_sync().map_err(failed)?;
            self.syncs.record_all([begun.now()]);
            let begun = RunClock::start();
            self.echo.round_trip().map_err(failed)?;
            self.round_trips.record_all([begun.now()]);
        }
        Ok(())
    }

    /// Adds the raw p50s, and the p50 of an append over both together.
    fn add_to(&self, report: Report, append: u64) -> Report {
        let sync = self.syncs.snapshot().value_at_percentile(50.0);
        let round_trip = self.round_trips.snapshot().value_at_percentile(50.0);
        let floor = sync + round_trip;
        let ratio = if floor == 0 {
            0.0
        } else {
            float(append) / float(floor)
        };
        report
            .time("raw_write_and_sync_p50", Duration::from_nanos(sync))
            .time("raw_round_trip_p50", Duration::from_nanos(round_trip))
            .fact("append_to_raw_ratio", ratio, Unit::Ratio)
    }
}
