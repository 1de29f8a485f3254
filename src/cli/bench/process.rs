//! A broker started for a run: its process, its files, and what both use of the machine.
//!
//! It ignores the environment's settings, listens on a free port of the loopback, and keeps its data in a fresh
//! directory. It can be ended and started again on the same data, drained or killed, with the files still in the system's
//! page cache or not, and be asked meanwhile how far its start is. The process is killed and the data removed when [`Started`] is dropped, however the run went.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::broker::Face;
use super::probes::{self, Watched};
use super::{Common, page_cache};
use crate::cli::failure::Failure;
use crate::config::keys::KEYS;
use crate::store::journal::FILE as JOURNAL;

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
    /// The most memory that its process took until then.
    ready_rss_peak: u64,
    /// What its earlier processes used: memory at most, and processor time.
    earlier: (u64, Duration),
}

#[derive(Debug)]
struct Process(Child);

/// A process that serves.
#[derive(Debug)]
struct Launched {
    process: Process,
    /// Of the face.
    address: String,
    ready: Duration,
    ready_rss_peak: u64,
    /// If it was watched.
    told: Option<Told>,
}

/// What a broker told of its start.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The states of `/readyz`, in order.
    pub(super) states: Vec<String>,
    /// Bytes of the journal that it replayed.
    pub(super) replayed: u64,
}

/// Data files of a broker, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataSize {
    /// All but the journal.
    pub(super) store: u64,
    pub(super) journal: u64,
}

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
    /// The most memory that this process took until then, in bytes.
    pub(super) ready_rss_peak: u64,
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
        let serve_args = &common.serve_args;
        let launched = launch(directory.path(), &listen, face, serve_args, false)?;
        Ok(Self {
            process: launched.process,
            directory,
            listen,
            face,
            serve_args: serve_args.clone(),
            address: launched.address,
            ready: launched.ready,
            ready_rss_peak: launched.ready_rss_peak,
            earlier: (0, Duration::ZERO),
        })
    }

    /// Ends it and starts it again on the same data; with `cold`, the data is no longer in memory then.
    pub(super) fn restart(&mut self, end: End, cold: bool) -> Result<(), Failure> {
        self.end(end)?;
        if cold {
            self.forget()?;
        }
        self.launch_again(false).map(drop)
    }

    /// Ends it; gives what it left.
    pub(super) fn end(&mut self, end: End) -> Result<DataSize, Failure> {
        let used = self.usage();
        self.earlier = (used.rss_peak, used.cpu);
        match end {
            End::Drained => self.process.terminate()?,
            End::Killed => self.process.0.kill().map_err(failed)?,
        }
        self.process.0.wait().map_err(failed)?;
        let data = data(self.directory.path());
        let journal = std::fs::metadata(data.join(JOURNAL)).map_err(failed)?.len();
        Ok(DataSize {
            store: size_of(&data).saturating_sub(journal),
            journal,
        })
    }

    /// Starts it again after its end, with the data no longer in memory, and watches that.
    pub(super) fn start_cold(&mut self) -> Result<Told, Failure> {
        self.forget()?;
        self.launch_again(true).map(Option::unwrap_or_default)
    }

    fn forget(&self) -> Result<(), Failure> {
        page_cache::forget(&data(self.directory.path()))
    }

    fn launch_again(&mut self, watched: bool) -> Result<Option<Told>, Failure> {
        let (directory, face) = (self.directory.path(), self.face);
        let launched = launch(directory, &self.listen, face, &self.serve_args, watched)?;
        self.process = launched.process;
        self.address = launched.address;
        self.ready = launched.ready;
        self.ready_rss_peak = launched.ready_rss_peak;
        Ok(launched.told)
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
        let status = self.process.about("status");
        let (earlier_peak, earlier_cpu) = self.earlier;
        Usage {
            rss: memory(&status, "VmRSS:"),
            rss_peak: memory(&status, "VmHWM:").max(earlier_peak),
            data: size_of(&data(self.directory.path())),
            cpu: processor_time(&self.process.about("stat")) + earlier_cpu,
            ready: self.ready,
            ready_rss_peak: self.ready_rss_peak,
        }
    }
}

impl Process {
    /// What the system says of it; nothing once it has ended.
    fn about(&self, what: &str) -> String {
        let path = format!("/proc/{}/{what}", self.0.id());
        std::fs::read_to_string(path).unwrap_or_default()
    }

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

/// Starts the process and waits until it serves; with `watched`, its HTTP port is on and asked meanwhile.
fn launch(
    directory: &Path,
    listen: &str,
    face: Face,
    serve_args: &[String],
    watched: bool,
) -> Result<Launched, Failure> {
    let mut command = command(directory, listen, serve_args)?;
    let http = if watched || face == Face::Http {
        "127.0.0.1:0"
    } else {
        "off"
    };
    command.args(["--http", http]);
    let begun = Instant::now();
    let mut process = Process(command.spawn().map_err(failed)?);
    let stdout = process.0.stdout.take();
    let lines = stdout
        .into_iter()
        .flat_map(|stdout| BufReader::new(stdout).lines());
    let (mut http, mut watch) = (String::new(), None);
    let mut said = lines.map_while(Result::ok);
    // Whichever face is loaded: it serves once it listens for clients of SKP, which it says last.
    let tcp = said.find_map(|line| {
        let (what, at) = line.split_once(" on ")?;
        if what == "http" {
            at.clone_into(&mut http);
            watch = watched.then(|| Watched::start(http.clone()));
        }
        (what == "listening").then(|| at.to_owned())
    });
    let ready = begun.elapsed();
    let ready_rss_peak = memory(&process.about("status"), "VmHWM:");
    let tcp = tcp.ok_or_else(|| failed("it ended at once; see its error above"))?;
    let told = watch.map(|watch| told(watch, &http)).transpose()?;
    let address = if face == Face::Tcp { tcp } else { http };
    Ok(Launched {
        process,
        address,
        ready,
        ready_rss_peak,
        told,
    })
}

fn command(directory: &Path, listen: &str, serve_args: &[String]) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    for key in KEYS {
        command.env_remove(key.variable());
    }
    command
        .env_remove("STREAMKEEPER_CONFIG")
        .arg("serve")
        .arg("--data")
        .arg(data(directory))
        .args(["--listen", listen, "--log-level", "warn"])
        .args(serve_args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Ok(command)
}

fn told(watched: Watched, http: &str) -> Result<Told, Failure> {
    Ok(Told {
        states: watched.told()?,
        replayed: probes::metric(http, "streamkeeper_journal_replayed_bytes")?,
    })
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
