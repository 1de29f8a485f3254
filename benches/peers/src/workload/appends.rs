//! Appends: one at a time, then many in flight over one, four and a thousand streams, all to one server.
//!
//! Its memory is looked at when it has just started, and after the last append, before anything is read back. What it
//! stored is then read back, every record of it. Last, where there is one, the client's own producer.

use std::path::Path;
use std::time::Duration;

use super::{Bench, float, mebibytes, millis, producer};
use crate::error::Error;
use crate::load::{Load, Outcome};
use crate::measure::Measure;
use crate::read_back::read_all_back;
use crate::server::Server;
use crate::system::System;

/// Appends in flight on a connection.
pub(super) const WINDOW: u64 = 1024;
/// How long a server is left alone before its idle memory is looked at.
const SETTLE: Duration = Duration::from_millis(500);

pub(super) async fn run(bench: &mut Bench<'_>, system: System, path: &Path) -> Result<(), Error> {
    let server = Server::start(system, bench.parts, path).await?;
    bench
        .results
        .add(Measure::Ready, system, millis(server.ready));
    tokio::time::sleep(SETTLE).await;
    let idle = server.memory()?.now;
    bench.results.add(Measure::RssIdle, system, mebibytes(idle));

    let mut streams = serial(bench, &server).await?;
    let loads = [
        (Measure::OneStream, 1, 10, 1),
        (Measure::FourStreams, 4, 20, 4),
        (Measure::ThousandStreams, 4, 1000, 1000),
    ];
    for (measure, connections, first, count) in loads {
        let load = Load {
            connections,
            window: WINDOW,
            first,
            streams: count,
            extent: bench.plan.appends,
        };
        let outcome = load.run(&server).await?;
        bench.results.add(measure, system, outcome.per_second());
        streams.extend(outcome.streams);
    }

    let stored = streams.iter().map(|(_, records)| records).sum();
    let memory = server.memory()?;
    let results = &mut bench.results;
    results.add(Measure::RecordsStored, system, float(stored));
    results.add(Measure::RssAfter, system, mebibytes(memory.now));
    results.add(Measure::RssPeak, system, mebibytes(memory.peak));
    read_all_back(&server, &streams).await?;

    if system == System::Streamkeeper {
        for (measure, first, count) in [
            (Measure::ProducerFour, 4000, 4),
            (Measure::ProducerThousand, 5000, 1000),
        ] {
            let outcome = producer::run(&server, first, count, bench.plan.appends).await?;
            bench.results.add(measure, system, outcome.per_second());
            read_all_back(&server, &outcome.streams).await?;
        }
    }
    Ok(())
}

/// One record at a time.
async fn serial(bench: &mut Bench<'_>, server: &Server) -> Result<Vec<(u32, u64)>, Error> {
    let load = Load {
        connections: 1,
        window: 1,
        first: 1,
        streams: 1,
        extent: bench.plan.serial,
    };
    let Outcome {
        streams, latencies, ..
    } = load.run(server).await?;
    let p50 = Duration::from_nanos(latencies.value_at_quantile(0.5));
    bench
        .results
        .add(Measure::Serial, server.system, millis(p50));
    Ok(streams)
}
