//! A client in another language, written from `protocol/SPEC.md` alone, gets along with the real binary.
//!
//! `tests/spec/` holds that client in Python and its checks; here brokers are started for them. What the checks find is
//! shown when one does not hold. Needs `python3`, and fails without it: a promise that was not checked is not kept.
//! The client stays ignorant of this crate on purpose, so nothing of the crate is used here either.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long the broker may take to start or to end; far more than it does.
const DEADLINE: Duration = Duration::from_secs(60);

const TOKEN: &str = "open-sesame";

/// A broker process with data of its own; killed when dropped.
struct Broker {
    process: Child,
    /// Where it listens: TCP, then a Unix socket.
    addresses: [String; 2],
    _directory: TempDir,
}

impl Broker {
    fn start(token: Option<&str>, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let socket = format!("unix:{}", directory.path().join("socket").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamkeeper"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STREAMKEEPER_") {
                command.env_remove(name);
            }
        }
        if let Some(token) = token {
            command.env("STREAMKEEPER_AUTH_TOKEN", token);
        }
        command
            .arg("serve")
            .arg("--data")
            .arg(directory.path().join("data"));
        command.args(["--listen", "127.0.0.1:0", "--listen", &socket]);
        command
            .args(["--http", "off", "--log-level", "error"])
            .args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the broker starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut broker = Self {
            process,
            addresses: [String::new(), socket],
            _directory: directory,
        };
        let (sender, listening) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Lines after the last one that was awaited are read and dropped.
                sender.send(line).ok();
            }
        });
        for address in &mut broker.addresses {
            let line = listening
                .recv_timeout(DEADLINE)
                .expect("the broker says where it listens");
            let (_, at) = line.split_once("listening on ").expect("a line says where");
            at.clone_into(address);
        }
        broker
    }

    /// Runs the checks against this broker.
    #[track_caller]
    fn check(&self, arguments: &[&str]) {
        let mut command = Command::new("python3");
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["-B", "tests/spec/check.py"]);
        let ran = command.args(&self.addresses).args(arguments).output().expect(
            "Python 3.9 or newer is needed as `python3`; get it from the system's packages \
             (`apt install python3`, `dnf install python3`, `brew install python`) or from python.org",
        );
        let (found, wrong) = (
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr),
        );
        assert!(
            ran.status.success(),
            "check.py {arguments:?}: {}\n{found}{wrong}",
            ran.status
        );
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self
                .process
                .try_wait()
                .expect("the broker can be waited for")
            {
                return status;
            }
            assert!(Instant::now() < deadline, "the broker does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Usually over already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn a_client_written_from_the_spec_gets_along_with_the_broker_to_its_end() {
    let mut broker = Broker::start(Some(TOKEN), &[]);
    broker.check(&["--token", TOKEN]);
    let process = broker.process.id().to_string();
    broker.check(&["--token", TOKEN, "--drain", &process]);
    assert!(broker.ended().success(), "a drained broker ends with 0");
}

#[test]
fn a_silent_client_is_asked_and_then_cut_off_as_the_spec_says() {
    let broker = Broker::start(None, &["--heartbeat", "1s", "--handshake-timeout", "1s"]);
    broker.check(&["--timeouts"]);
}

#[test]
fn a_slow_and_a_surplus_client_are_cut_off_as_the_spec_says() {
    let limits = ["--write-timeout", "500ms", "--connections-max", "16"];
    let broker = Broker::start(None, &limits);
    broker.check(&["--crowd"]);
}
