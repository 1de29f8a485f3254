//! One server process: started on a free port of the loopback, asked for its memory, and ended.
//!
//! It is ready when it has answered a connection's first words. Dropping a [`Server`] kills the process; the directory
//! is its owner's to remove.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::dialect::Dialect;
use crate::error::Error;
use crate::link::Link;
use crate::parts::Parts;
use crate::system::System;

/// A server that needs longer to start (Redis reads all it stored) or to end is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at whether it is ready: a small part of the times that are told apart.
const LOOK: Duration = Duration::from_micros(200);

/// Numbers connections, so that those of one server have names of their own.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// See the module.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) system: System,
    address: SocketAddr,
    child: Child,
    log: PathBuf,
    /// From the start of the process to its first answer.
    pub(crate) ready: Duration,
}

/// Resident memory in bytes: now, and the most it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

/// Kills the process, however the measurement ended.
impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to do.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    /// Starts `system` on the data in `directory`.
    pub(crate) async fn start(
        system: System,
        parts: &Parts,
        directory: &Path,
    ) -> Result<Self, Error> {
        let address = free_address()?;
        let data = directory.join("data");
        std::fs::create_dir_all(&data).map_err(Error::io("making a directory"))?;
        let log = directory.join("log");
        let out = File::create(&log).map_err(Error::io("making a log"))?;
        let err = out.try_clone().map_err(Error::io("making a log"))?;
        let mut command = system.command(parts, address.port(), &data)?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let begun = Instant::now();
        let child = command.spawn().map_err(Error::io("starting a server"))?;
        let mut server = Self {
            system,
            address,
            child,
            log,
            ready: Duration::ZERO,
        };
        while server.open(&[], 4096).await.is_err() {
            let ended = server
                .child
                .try_wait()
                .map_err(Error::io("looking at a server"))?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                return Err(server.failed("starting"));
            }
            // Nothing else runs yet on this thread.
            std::thread::sleep(LOOK);
        }
        server.ready = begun.elapsed();
        Ok(server)
    }

    /// Connects, and waits until the server has answered.
    pub(crate) async fn open(
        &self,
        streams: &[u32],
        read_bytes: usize,
    ) -> Result<(Link, Box<dyn Dialect>), Error> {
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let mut dialect = self.system.dialect(number, streams);
        let mut link = Link::connect(self.address, read_bytes).await?;
        dialect.hello(&mut link.output);
        while !dialect.greeted(&mut link.input)? {
            link.turn().await?;
        }
        Ok((link, dialect))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn memory(&self) -> Result<Memory, Error> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.map_err(Error::io("reading the memory of a server"))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1024)
        };
        match (bytes("VmRSS:"), bytes("VmHWM:")) {
            (Some(now), Some(peak)) => Ok(Memory { now, peak }),
            _ => Err(self.failed("living on")),
        }
    }

    /// Ends it as an operator would, so that its data can be opened again.
    pub(crate) fn stop(mut self) -> Result<(), Error> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            kill_process(id, Signal::TERM)
                .map_err(|errno| Error::io("ending a server")(errno.into()))?;
        }
        let begun = Instant::now();
        while self
            .child
            .try_wait()
            .map_err(Error::io("ending a server"))?
            .is_none()
        {
            if begun.elapsed() > PATIENCE {
                return Err(self.failed("ending"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// An error with the last words of its log.
    fn failed(&self, doing: &str) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        let said: Vec<&str> = lines.into_iter().rev().collect();
        Error::Failed {
            what: format!("{} ({doing})", self.system.key()),
            said: said.join("\n"),
        }
    }
}

/// An address of the loopback that nobody listens at.
fn free_address() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener
        .and_then(|listener| listener.local_addr())
        .map_err(Error::io("finding a free port"))
}
