//! A broker started for a run: its process, its files, and what both use of the machine.
//!
//! It ignores the environment's settings, listens on a free port of the loopback, and keeps its data in a fresh
//! directory. It can be ended and started again on the same data, drained or killed, with the files still in the system's
//! page cache or not. The process is killed and the data removed when [`Started`] is dropped, however the run went.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::broker::Face;
use super::{Common, page_cache};
use crate::cli::failure::Failure;
use crate::config::keys::KEYS;

/// Clock ticks a second in `/proc/PID/stat`; the same on every Linux that Rust runs on.
const TICKS_A_SECOND: u32 = 100;

/// How a broker is ended before it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By SIGTERM: everything is folded into the store.
    Drained,
    /// By SIGKILL: the next start recovers.
    Killed,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Started {
    // Dropped in this order: the process first, then its files.
    process: Process,
    directory: TempDir,
    listen: String,
    face: Face,
    serve_args: Vec<String>,
    /// Of the face.
    address: String,
    ready: Duration,
    /// What its earlier processes used: memory at most, and processor time.
    earlier: (u64, Duration),
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

/// What a started broker uses of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Resident memory, in bytes.
    pub(super) rss: u64,
    /// The most it was so far, restarts included.
    pub(super) rss_peak: u64,
    /// Its data files, in bytes.
    pub(super) data: u64,
    /// Processor time so far, of all its threads, in user and kernel.
    pub(super) cpu: Duration,
    /// From the last start of the process to its readiness for clients.
    pub(super) ready: Duration,
}

impl Started {
    /// Starts a broker and waits until it serves.
    pub(super) fn start(common: &Common, face: Face) -> Result<Self, Failure> {
        let parent = common.dir.clone().unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new()
            .prefix("streamkeeper-bench-")
            .tempdir_in(parent)
            .map_err(failed)?;
        let listen = if common.unix {
            format!("unix:{}", directory.path().join("socket").display())
        } else {
            String::from("127.0.0.1:0")
        };
        let (process, address, ready) =
            launch(directory.path(), &listen, face, &common.serve_args)?;
        Ok(Self {
            process,
            directory,
            listen,
            face,
            serve_args: common.serve_args.clone(),
            address,
            ready,
            earlier: (0, Duration::ZERO),
        })
    }

    /// Ends it and starts it again on the same data; with `cold`, the data is no longer in memory then.
    pub(super) fn restart(&mut self, end: End, cold: bool) -> Result<(), Failure> {
        let used = self.usage();
        self.earlier = (used.rss_peak, used.cpu);
        match end {
            End::Drained => self.process.terminate()?,
            End::Killed => self.process.0.kill().map_err(failed)?,
        }
        self.process.0.wait().map_err(failed)?;
        if cold {
            page_cache::forget(&data(self.directory.path()))?;
        }
        let directory = self.directory.path();
        (self.process, self.address, self.ready) =
            launch(directory, &self.listen, self.face, &self.serve_args)?;
        Ok(())
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The directory that holds everything of this broker.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// How the process ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.0.try_wait().ok().flatten()
    }

    pub(super) fn usage(&self) -> Usage {
        let about = |what: &str| {
            let path = format!("/proc/{}/{what}", self.process.0.id());
            std::fs::read_to_string(path).unwrap_or_default()
        };
        let status = about("status");
        let (earlier_peak, earlier_cpu) = self.earlier;
        Usage {
            rss: memory(&status, "VmRSS:"),
            rss_peak: memory(&status, "VmHWM:").max(earlier_peak),
            data: size_of(&data(self.directory.path())),
            cpu: processor_time(&about("stat")) + earlier_cpu,
            ready: self.ready,
        }
    }
}

impl Process {
    fn terminate(&self) -> Result<(), Failure> {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
        if sent.map_err(failed)?.success() {
            Ok(())
        } else {
            Err(failed("`kill` did not reach it"))
        }
    }
}

fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

/// Starts the process; gives it with its address and the time until it served.
fn launch(
    directory: &Path,
    listen: &str,
    face: Face,
    serve_args: &[String],
) -> Result<(Process, String, Duration), Failure> {
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
        .arg(data(directory))
        .args(["--listen", listen, "--http", http, "--log-level", "warn"])
        .args(serve_args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let begun = Instant::now();
    let mut process = Process(command.spawn().map_err(failed)?);
    let stdout = process.0.stdout.take();
    let lines = stdout
        .into_iter()
        .flat_map(|stdout| BufReader::new(stdout).lines());
    let mut http = None;
    let mut said = lines.map_while(Result::ok);
    // Whichever face is loaded: it serves once it listens for clients of SKP, which it says last.
    let tcp = said.find_map(|line| {
        let (what, at) = line.split_once(" on ")?;
        if what == "http" {
            http = Some(at.to_owned());
        }
        (what == "listening").then(|| at.to_owned())
    });
    let ready = begun.elapsed();
    match tcp.and_then(|tcp| if face == Face::Tcp { Some(tcp) } else { http }) {
        Some(address) => Ok((process, address, ready)),
        None => Err(failed("it ended at once; see its error above")),
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::io("starting a broker", error)
}

/// A line of `/proc/PID/status` in bytes: these are in KiB.
fn memory(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1024)
}

/// User and kernel time of `/proc/PID/stat`: the 14th and 15th field, of which the second, in parentheses, may hold spaces.
fn processor_time(stat: &str) -> Duration {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = after_name.split_whitespace().skip(11).take(2);
    let ticks: u32 = times.filter_map(|time| time.parse::<u32>().ok()).sum();
    Duration::from_secs(ticks.into()) / TICKS_A_SECOND
}

fn size_of(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "77 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 99";
        assert_eq!(processor_time(stat), Duration::from_secs(2));
        assert_eq!(processor_time(""), Duration::ZERO);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "VmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(memory(status, "VmRSS:"), 1 << 20);
        assert_eq!(memory(status, "VmSwap:"), 0);
    }
}
