//! The broker under load: one that was named, or a process of this same program that is started for the run ([`Started`]).

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use futures_util::stream::{self, StreamExt as _};
use streamkeeper_client::Client;

use super::Common;
use super::process::{DataSize, End, Started, Told, Usage};
use crate::cli::failure::Failure;

/// Deletes without an answer, at the end.
const DELETES_MAX: usize = 256;

/// The name of a stream of this run; other runs have other names.
pub(super) fn stream_name(name: impl Display) -> String {
    format!("bench-{}-{name}", std::process::id())
}

/// What each of so many streams in memory may keep: together half of what a broker holds of them unless it is told otherwise.
pub(super) fn memory_stream_bytes(streams: u64) -> u64 {
    (32 << 20) / streams.max(1)
}

/// What of a broker is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    /// Where clients of SKP connect.
    Tcp,
    /// The HTTP port.
    Http,
}

/// See the module.
#[derive(Debug)]
pub(super) enum Broker {
    /// One that was there before and stays.
    Named {
        face: Face,
        /// Of that face.
        address: String,
        token: Option<String>,
    },
    Started(Started),
}

impl Broker {
    pub(super) fn obtain(common: &Common, face: Face) -> Result<Self, Failure> {
        match &common.server {
            Some(address) => Ok(Self::Named {
                face,
                address: address.clone(),
                token: common.token.clone(),
            }),
            None if face == Face::Http && common.unix => Err(Failure::usage(
                "--unix: HTTP is served at HOST:PORT only; leave it out",
            )),
            None => Started::start(common, face).map(Self::Started),
        }
    }

    /// Ends it and starts it again on the same data; with `cold`, the data is no longer in memory then.
    pub(super) fn restart(&mut self, end: End, cold: bool) -> Result<(), Failure> {
        self.started()?.restart(end, cold)
    }

    /// Kills it; gives what it left.
    pub(super) fn kill(&mut self) -> Result<DataSize, Failure> {
        self.started()?.end(End::Killed)
    }

    /// Starts it again after its end, with the data no longer in memory; gives what it told of that.
    pub(super) fn start_cold(&mut self) -> Result<Told, Failure> {
        self.started()?.start_cold()
    }

    fn started(&mut self) -> Result<&mut Started, Failure> {
        match self {
            Self::Named { .. } => Err(Failure::usage(
                "--server: this workload restarts its broker; leave it out",
            )),
            Self::Started(started) => Ok(started),
        }
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let mut client = Client::builder().name("streamkeeper-bench");
        if let Some(token) = self.token() {
            client = client.token(token.to_owned());
        }
        client
            .connect(self.address())
            .await
            .map_err(Failure::during("connecting"))
    }

    /// Where it is.
    pub(super) fn address(&self) -> &str {
        match self {
            Self::Named { address, .. } => address,
            Self::Started(started) => started.address(),
        }
    }

    /// The token to show to it.
    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Self::Named { token, .. } => token.as_deref(),
            Self::Started(_) => None,
        }
    }

    /// Deletes the streams of this run from a broker that goes on after it. HTTP has no listing: its workloads delete
    /// what they made.
    pub(super) async fn clean_up(&self) -> Result<(), Failure> {
        if !matches!(
            self,
            Self::Named {
                face: Face::Tcp,
                ..
            }
        ) {
            return Ok(());
        }
        let during = || Failure::during("deleting the streams of the run");
        let client = self.connect().await?;
        let mut listing = client.list(stream_name(""));
        let mut names = Vec::new();
        while let Some(entry) = listing.next().await {
            names.push(entry.map_err(during())?.stream);
        }
        let deleting = names.into_iter().map(|name| client.delete(name));
        let mut deleted = stream::iter(deleting).buffer_unordered(DELETES_MAX);
        while let Some(outcome) = deleted.next().await {
            outcome.map_err(during())?;
        }
        Ok(())
    }

    /// What the broker is, in words.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Named { address, .. } => format!("at {address}"),
            Self::Started(started) => {
                let kind = file_system(started.directory()).unwrap_or_default();
                let warning = match kind.as_str() {
                    "tmpfs" | "ramfs" => {
                        ": memory, where a sync costs nothing; choose another with --dir"
                    }
                    _ => "",
                };
                format!("started at {}, data on {kind}{warning}", started.address())
            }
        }
    }

    /// What it uses now; zeros for a broker that was not started here.
    pub(super) fn usage(&self) -> Usage {
        match self {
            Self::Named { .. } => Usage::default(),
            Self::Started(started) => started.usage(),
        }
    }

    /// How a started broker ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Named { .. } => None,
            Self::Started(started) => started.ended(),
        }
    }

    /// Whether it was started here.
    pub(super) fn is_spawned(&self) -> bool {
        self.directory().is_some()
    }

    /// Where the data of a started broker is.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Named { .. } => None,
            Self::Started(started) => Some(started.directory()),
        }
    }
}

/// The kind of file system that holds `path`, by the longest mount point that leads to it.
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        Some((PathBuf::from(fields.next()?), fields.next()?.to_owned()))
    };
    let leading = mounts
        .lines()
        .filter_map(mount)
        .filter(|(at, _)| path.starts_with(at));
    leading
        .max_by_key(|(at, _)| at.as_os_str().len())
        .map(|(_, kind)| kind)
}
