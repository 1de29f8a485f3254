//! What the machine itself needs, in the same run: a write and sync of one record, and a round trip over the loopback.
//!
//! No server can confirm an append sooner than both together. They are told beside the table, because a disk differs
//! from another, and from itself an hour later, by more than the servers do.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::load::histogram;
use crate::record::{self, Payload};

/// Of each, in every round.
const TIMES: u64 = 300;

/// Medians of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw {
    pub(crate) sync: Duration,
    pub(crate) round_trip: Duration,
}

impl Raw {
    /// Measures both, with a file in `directory`.
    pub(crate) fn measure(directory: &Path) -> Result<Self, Error> {
        Ok(Self {
            sync: syncs(directory).map_err(Error::io("syncing a file"))?,
            round_trip: round_trips().map_err(Error::io("an echo over the loopback"))?,
        })
    }
}

fn median(mut once: impl FnMut(&Payload) -> std::io::Result<()>) -> std::io::Result<Duration> {
    let mut times = histogram();
    for number in 0..TIMES {
        let record = record::make(0, number, 0);
        let begun = Instant::now();
        once(&record)?;
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        times.saturating_record(took);
    }
    Ok(Duration::from_nanos(times.value_at_quantile(0.5)))
}

fn syncs(directory: &Path) -> std::io::Result<Duration> {
    let path = directory.join("raw");
    let mut file = File::create(&path)?;
    let took = median(|record| {
        file.write_all(record)?;
        file.sync_data()
    })?;
    std::fs::remove_file(path)?;
    Ok(took)
}

fn round_trips() -> std::io::Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    // It ends with the near end, which is dropped with this function.
    std::thread::spawn(move || {
        let mut record = record::make(0, 0, 0);
        while far.read_exact(&mut record).is_ok() && far.write_all(&record).is_ok() {}
    });
    median(|record| {
        let mut back = *record;
        near.write_all(record)?;
        near.read_exact(&mut back)
    })
}
