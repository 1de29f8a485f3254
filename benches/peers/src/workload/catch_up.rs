//! Catch-up: how fast one reader gets a large stream from its beginning, with everything in it checked.
//!
//! The stream is filled, the server is stopped as an operator would and started again, so that what is read comes from
//! its store (the page cache is warm). NATS and Redis are filled without syncs in both modes, which takes seconds rather
//! than minutes: the files are the same.

use std::path::Path;
use std::time::Duration;

use super::appends::WINDOW;
use super::{Bench, float};
use crate::error::Error;
use crate::load::{Extent, Load};
use crate::measure::Measure;
use crate::read_back::read_back;
use crate::record::RECORD_BYTES;
use crate::server::Server;
use crate::system::System;

/// Filling takes seconds; a server that needs longer than this is given up.
const FILLING: Duration = Duration::from_secs(600);

pub(super) async fn run(bench: &mut Bench<'_>, system: System, path: &Path) -> Result<(), Error> {
    let records = bench.plan.catch_up_records;
    let filling = Server::start(system.to_fill(), bench.parts, path).await?;
    let load = Load {
        connections: 1,
        window: WINDOW,
        first: 1,
        streams: 1,
        extent: Extent {
            records,
            time: FILLING,
        },
    };
    if load.run(&filling).await?.records() < records {
        return Err(Error::TooLong {
            what: "filling a stream",
        });
    }
    filling.stop()?;
    let server = Server::start(system, bench.parts, path).await?;
    let took = read_back(&server, 1, records).await?;
    let megabytes = float(records * RECORD_BYTES as u64) / 1e6;
    bench
        .results
        .add(Measure::CatchUp, system, megabytes / took.as_secs_f64());
    Ok(())
}
