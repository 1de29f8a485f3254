//! The broker under load: one that was named, or a process of this same program in a directory of its own.
//!
//! The started broker ignores the environment's settings, listens on a free port of the loopback, and is ended and its
//! data removed when [`Broker`] is dropped, however the run went.

use std::fmt::Display;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::stream::{self, StreamExt as _};
use streamkeeper_client::Client;
use tempfile::TempDir;

use super::Common;
use crate::cli::failure::Failure;
use crate::config::keys::KEYS;

/// Deletes without an answer, at the end.
const DELETES_MAX: usize = 256;

/// The name of a stream of this run; other runs have other names.
pub(super) fn stream_name(name: impl Display) -> String {
    format!("bench-{}-{name}", std::process::id())
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
pub(super) struct Broker {
    face: Face,
    /// Of that face.
    address: String,
    token: Option<String>,
    spawned: Option<Spawned>,
}

#[derive(Debug)]
struct Spawned {
    // Dropped in this order: the process first, then its files.
    process: Process,
    directory: TempDir,
}

#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; its data is thrown away in any case.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What a started broker uses of the machine, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Resident memory.
    pub(super) rss: u64,
    /// The most it was so far.
    pub(super) rss_peak: u64,
    /// Its data files.
    pub(super) data: u64,
}

impl Broker {
    pub(super) fn obtain(common: Common, face: Face) -> Result<Self, Failure> {
        match common.server {
            Some(address) => Ok(Self {
                face,
                address,
                token: common.token,
                spawned: None,
            }),
            None if face == Face::Http && common.unix => Err(Failure::usage(
                "--unix: HTTP is served at HOST:PORT only; leave it out",
            )),
            None => Self::spawn(common, face),
        }
    }

    fn spawn(common: Common, face: Face) -> Result<Self, Failure> {
        let failed = |error| Failure::io("starting a broker", error);
        let parent = common.dir.unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new()
            .prefix("streamkeeper-bench-")
            .tempdir_in(parent)
            .map_err(failed)?;
        let listen = if common.unix {
            format!("unix:{}", directory.path().join("socket").display())
        } else {
            String::from("127.0.0.1:0")
        };
        let http = match face {
            Face::Tcp => "off",
            Face::Http => "127.0.0.1:0",
        };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        for key in KEYS {
            command.env_remove(key.variable());
        }
        command
            .env_remove("STREAMKEEPER_CONFIG")
            .arg("serve")
            .arg("--data")
            .arg(directory.path().join("data"))
            .args(["--listen", &listen, "--http", http, "--log-level", "warn"])
            .args(&common.serve_args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process(command.spawn().map_err(failed)?);
        let stdout = process.0.stdout.take();
        let lines = stdout
            .into_iter()
            .flat_map(|stdout| BufReader::new(stdout).lines());
        let mut http = None;
        let mut said = lines.map_while(Result::ok);
        let tcp = said.find_map(|line| {
            let (what, at) = line.split_once(" on ")?;
            if what == "http" {
                http = Some(at.to_owned());
            }
            (what == "listening").then(|| at.to_owned())
        });
        // Whichever is loaded: it serves once it listens for clients of SKP, which it says last.
        let Some(address) = tcp.and_then(|tcp| if face == Face::Tcp { Some(tcp) } else { http })
        else {
            return Err(Failure::io(
                "starting a broker",
                "it ended at once; see its error above",
            ));
        };
        Ok(Self {
            face,
            address,
            token: None,
            spawned: Some(Spawned { process, directory }),
        })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let mut client = Client::builder().name("streamkeeper-bench");
        if let Some(token) = &self.token {
            client = client.token(token.clone());
        }
        client
            .connect(&self.address)
            .await
            .map_err(Failure::during("connecting"))
    }

    /// Where it is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The token to show to it.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Deletes the streams of this run from a broker that goes on after it. HTTP has no listing: its workloads delete
    /// what they made.
    pub(super) async fn clean_up(&self) -> Result<(), Failure> {
        if self.is_spawned() || self.face == Face::Http {
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
        match &self.spawned {
            None => format!("at {}", self.address),
            Some(spawned) => {
                let path = spawned.directory.path();
                let kind = file_system(path).unwrap_or_default();
                let warning = match kind.as_str() {
                    "tmpfs" | "ramfs" => {
                        ": memory, where a sync costs nothing; choose another with --dir"
                    }
                    _ => "",
                };
                format!("started at {}, data on {kind}{warning}", self.address)
            }
        }
    }

    /// What it uses now; zeros for a broker that was not started here.
    pub(super) fn usage(&self) -> Usage {
        let Some(Spawned { process, directory }) = &self.spawned else {
            return Usage::default();
        };
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id()));
        let status = status.unwrap_or_default();
        Usage {
            rss: memory(&status, "VmRSS:"),
            rss_peak: memory(&status, "VmHWM:"),
            data: size_of(&directory.path().join("data")),
        }
    }

    /// Whether it was started here.
    pub(super) fn is_spawned(&self) -> bool {
        self.spawned.is_some()
    }
}

/// A line of `/proc/PID/status` in bytes: these are in KiB.
fn memory(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1024)
}

fn size_of(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum()
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
