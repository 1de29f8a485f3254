//! A broker process, and commands run against it.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take; far more than it does, so that a slow machine fails no test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The program, without any setting from the environment of the test.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamkeeper"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STREAMKEEPER_") {
            command.env_remove(name);
        }
    }
    command
}

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Stdout of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Stderr of a command that must have ended with `code`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stderr
    }

    /// Stdout as one JSON object.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("stdout is one JSON object")
    }
}

/// Runs a command with nothing on stdin.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    finish(program().args(arguments), b"")
}

/// Runs a command with this on stdin.
pub(crate) fn finish(command: &mut Command, stdin: &[u8]) -> Ran {
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program starts");
    let mut input = child.stdin.take().expect("stdin is piped");
    // A command that refuses its input need not read it.
    input.write_all(stdin).ok();
    drop(input);
    Ran::from(child.wait_with_output().expect("the program ends"))
}

/// A child whose stdout lines can be awaited; killed when dropped.
pub(crate) struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let lines = lines(move || stdout);
        Self { child, lines }
    }

    /// As [`Self::start`]; but the program cannot say anything: it waits where it writes to stdout, until the sender is dropped.
    pub(crate) fn start_held(command: &mut Command) -> (Self, mpsc::Sender<()>) {
        let (stdout, mut taken, held) = full();
        let child = command
            .stdin(Stdio::null())
            .stdout(OwnedFd::from(stdout))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (release, released) = mpsc::channel();
        let lines = lines(move || {
            // Nothing is ever sent.
            released.recv().ok();
            taken
                .read_exact(&mut vec![0; held])
                .expect("what filled it");
            taken
        });
        (Self { child, lines }, release)
    }

    /// The next line of stdout; `None` once stdout is closed.
    #[track_caller]
    pub(crate) fn line(&self) -> Option<String> {
        let received = self.lines.recv_timeout(DEADLINE);
        assert_ne!(
            received,
            Err(mpsc::RecvTimeoutError::Timeout),
            "no line on stdout in time"
        );
        received.ok()
    }

    /// Sends a signal by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("`kill` runs").success());
    }

    /// How much of the program, its libraries and other files it has mapped into its memory.
    pub(crate) fn bytes_of_files_in_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).expect("the process runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssFile:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok())
            .expect("a figure in kB")
            * 1024
    }

    /// Waits for the end; gives the exit code and stderr.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "the program does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().expect("stderr is piped");
        pipe.read_to_string(&mut stderr).expect("stderr is UTF-8");
        (status.code(), stderr)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // Usually over already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The lines of what `open` gives, on a thread of their own.
fn lines<R: Read>(open: impl FnOnce() -> R + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(open()).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A socket that takes no more, its other end, and how many bytes fill it.
fn full() -> (UnixStream, UnixStream, usize) {
    let (mut into, out) = UnixStream::pair().expect("a pair of sockets");
    let mut held = 0;
    into.set_nonblocking(true).expect("a socket option");
    while let Ok(more) = into.write(&[0; 4096]) {
        held += more;
    }
    into.set_nonblocking(false).expect("a socket option");
    (into, out, held)
}

/// A broker process with data of its own.
pub(crate) struct Broker {
    pub(crate) process: Following,
    pub(crate) address: String,
    pub(crate) http: String,
    pub(crate) directory: TempDir,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with more arguments of `serve`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(
            tempfile::tempdir().expect("a temporary directory can be made"),
            arguments,
        )
    }

    pub(crate) fn start_in(directory: TempDir, arguments: &[&str]) -> Self {
        let process = Following::start(serve(directory.path()).args(arguments));
        Self::serving(process, directory)
    }

    /// The broker that this process will be.
    pub(crate) fn serving(process: Following, directory: TempDir) -> Self {
        let (mut http, mut address) = (None, None);
        while address.is_none() {
            let line = process.line().expect("the broker says where it listens");
            let (what, at) = line
                .split_once(" on ")
                .expect("a line says what listens where");
            let place = if what == "http" {
                &mut http
            } else {
                &mut address
            };
            *place = Some(at.to_owned());
        }
        let (http, address) = (http.unwrap_or_default(), address.unwrap_or_default());
        Self {
            process,
            address,
            http,
            directory,
        }
    }

    /// A command that talks to this broker.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command
            .args(arguments)
            .env("STREAMKEEPER_SERVER", &self.address);
        command
    }

    /// Runs a command with nothing on stdin.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        finish(&mut self.command(arguments), b"")
    }

    /// Runs a command with this on stdin.
    pub(crate) fn feed(&self, arguments: &[&str], stdin: impl AsRef<[u8]>) -> Ran {
        finish(&mut self.command(arguments), stdin.as_ref())
    }

    /// The whole response to a GET.
    pub(crate) fn get(&self, path: &str) -> String {
        get(&self.http, path).expect("the HTTP port answers")
    }

    /// Sends SIGTERM, and gives exit code, stderr and the data.
    pub(crate) fn terminate(self) -> (Option<i32>, String, TempDir) {
        self.process.signal("TERM");
        let (code, stderr) = self.process.end();
        (code, stderr, self.directory)
    }
}

/// `serve` on free ports.
pub(crate) fn serve(data: &Path) -> Command {
    let mut command = program();
    command.arg("serve").arg("--data").arg(data);
    command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    command
}

/// The whole response to a GET.
pub(crate) fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )?;
    let mut response = String::new();
    socket.read_to_string(&mut response)?;
    Ok(response)
}
