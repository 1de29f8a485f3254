//! The broker as a process that can be killed without warning.
//!
//! Only the process started here is ever signalled, by its handle, and it is reaped even if the test panics.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::sync::watch;

/// A running broker; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// Where it serves HTTP, once it has started.
    pub http: String,
}

/// Where the broker listens now: it takes another port at each start.
pub type Place = watch::Sender<Option<String>>;

impl Server {
    /// Starts the broker on `data` and waits until it listens. Says where in `place`.
    pub fn start(data: &Path, place: &Place) -> Self {
        let mut server = Self::spawn(data);
        let stdout = server.process.stdout.take().expect("stdout is piped");
        let mut said = BufReader::new(stdout)
            .lines()
            .map(|line| line.expect("stdout is text"));
        let mut announced = |what: &str| {
            let at = said.find_map(|line| line.strip_prefix(what).map(str::to_owned));
            at.expect("the broker says where it listens before it ends")
        };
        server.http = announced("http on ");
        let address = announced("listening on ");
        place.send_replace(Some(address));
        server
    }

    /// Starts the broker and does not wait: it may be killed while it replays.
    pub fn spawn(data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamkeeper"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STREAMKEEPER_") {
                command.env_remove(name);
            }
        }
        // Small bounds: whenever the kill comes, something is being committed and something else folded.
        let process = command
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--log-level", "error", "--fold-bytes", "256KiB"])
            .args([
                "--hot-tail-bytes-max",
                "1MiB",
                "--commit-bytes-max",
                "64KiB",
            ])
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let http = String::new();
        Self { process, http }
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill(mut self, place: &Place) {
        place.send_replace(None);
        self.end();
    }

    fn end(&mut self) {
        // An error means that it has ended and been reaped already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
