//! A broker process for programs that are not ours: the real binary, on free ports, with data of its own.
//!
//! Tests in `tests/` that run other people's programs include this file; it knows nothing of the crate. Only the process
//! started here is ever signalled, by its handle, and it is reaped even if the test panics.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

/// How long the broker may take to start; far more than it does.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running broker; killed when dropped.
#[derive(Debug)]
pub struct Broker {
    process: Child,
    /// Where clients of SKP connect.
    pub tcp: String,
    /// Where HTTP is served.
    pub http: String,
    _data: TempDir,
}

impl Broker {
    /// Starts one with more arguments of `serve`, and waits until it serves.
    pub fn start(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamkeeper"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STREAMKEEPER_") {
                command.env_remove(name);
            }
        }
        command.arg("serve").arg("--data").arg(data.path());
        command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.args(["--log-level", "warn"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the broker starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut broker = Self {
            process,
            tcp: String::new(),
            http: String::new(),
            _data: data,
        };
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Lines after the last one that was awaited are read and dropped.
                sender.send(line).ok();
            }
        });
        loop {
            let line = said
                .recv_timeout(DEADLINE)
                .expect("the broker says where it listens, or why not");
            match line.split_once(" on ") {
                Some(("http", at)) => at.clone_into(&mut broker.http),
                // The TCP listener is announced last, when everything is served.
                Some((_, at)) => {
                    at.clone_into(&mut broker.tcp);
                    return broker;
                }
                None => {}
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself, which the test noticed then.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
