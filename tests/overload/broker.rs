//! The real binary under a ceiling for its memory, and what the system says it has used.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A running broker; killed when dropped.
pub struct Broker {
    process: Child,
    pub tcp: String,
    pub http: String,
    _data: TempDir,
}

impl Broker {
    /// Starts one with more arguments of `serve`.
    pub fn start(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamkeeper"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STREAMKEEPER_") {
                command.env_remove(name);
            }
        }
        let mut process = command
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--log-level", "error", "--data"])
            .arg(data.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let mut announced = |what: &str| {
            let at = lines.find_map(|line| line.strip_prefix(what).map(str::to_owned));
            at.expect("the broker says where it listens")
        };
        let http = announced("http on ");
        let tcp = announced("listening on ");
        Self {
            process,
            tcp,
            http,
            _data: data,
        }
    }

    /// The most memory it ever had, in bytes.
    pub fn memory_peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("the broker runs, on Linux");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("the system says how much") << 10
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended, which the test noticed then.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
