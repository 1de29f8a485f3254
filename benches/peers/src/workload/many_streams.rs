//! Many streams: making them, and one record in each, over four connections. A tenth of them is then read back.

use std::path::Path;
use std::time::Duration;

use super::Bench;
use crate::error::Error;
use crate::load::{Extent, Load};
use crate::measure::Measure;
use crate::read_back::read_all_back;
use crate::server::Server;
use crate::system::System;

/// Requests in flight on a connection: below what any of the servers queues of them.
const WINDOW: u64 = 256;
/// One that needs longer is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// Of the streams, one in this many is read back.
const READ_BACK: usize = 10;

pub(super) async fn run(bench: &mut Bench<'_>, system: System, path: &Path) -> Result<(), Error> {
    let server = Server::start(system, bench.parts, path).await?;
    let load = Load {
        connections: 4,
        window: WINDOW,
        first: 1,
        streams: bench.plan.many_streams,
        extent: Extent {
            records: bench.plan.many_streams.into(),
            time: PATIENCE,
        },
    };
    let outcome = load.one_record_each(&server).await?;
    let took = outcome.elapsed.as_secs_f64();
    bench.results.add(Measure::ManyStreams, system, took);
    let some: Vec<_> = outcome.streams.iter().copied().step_by(READ_BACK).collect();
    if let Some((stream, have)) = some.iter().find(|(_, records)| *records != 1) {
        return Err(Error::Count {
            stream: *stream,
            have: *have,
            expected: 1,
        });
    }
    read_all_back(&server, &some).await
}
