//! Reads streams back, and holds every record against the one that was appended there.
//!
//! The server must say that a stream holds as many records as it confirmed, and give exactly those, in order.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::error::Error;
use crate::link::Link;
use crate::record;
use crate::server::Server;

/// Room for one read: what is read back comes in bulk.
const READ_BYTES: usize = 256 << 10;
/// Without a byte for so long, the rest is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Reads one stream with a connection of its own; gives the time from the request to the last record.
pub(crate) async fn read_back(
    server: &Server,
    stream: u32,
    expected: u64,
) -> Result<Duration, Error> {
    let (mut link, mut dialect) = server.open(&[stream], READ_BYTES).await?;
    let begun = Instant::now();
    dialect.follow(0, &mut link.output);
    let mut seen = 0;
    while seen < expected || dialect.held().is_none() {
        let come = timeout(PATIENCE, link.turn()).await;
        come.map_err(|_elapsed| Error::Count {
            stream,
            have: seen,
            expected,
        })??;
        let Link { input, output, .. } = &mut link;
        dialect.records(input, output, &mut |payload| {
            let right = seen < expected && record::check(payload, stream, seen).is_some();
            seen += 1;
            right.then_some(()).ok_or(Error::Record {
                stream,
                sequence: seen - 1,
            })
        })?;
    }
    let took = begun.elapsed();
    match dialect.held() {
        Some(have) if have == expected => Ok(took),
        have => Err(Error::Count {
            stream,
            have: have.unwrap_or_default(),
            expected,
        }),
    }
}

/// Reads all of these, one after the other.
pub(crate) async fn read_all_back(server: &Server, streams: &[(u32, u64)]) -> Result<(), Error> {
    for (stream, records) in streams {
        read_back(server, *stream, *records).await?;
    }
    Ok(())
}
