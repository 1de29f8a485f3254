//! A broker process, and HTTP/1.1 in the raw.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take; far more than it does, so that a slow machine fails no test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A broker on free ports with data of its own; killed when dropped.
pub(crate) struct Broker {
    process: Child,
    pub(crate) http: String,
    _data: TempDir,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more arguments of `serve`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamkeeper"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STREAMKEEPER_") {
                command.env_remove(name);
            }
        }
        let mut process = command
            .arg("serve")
            .arg("--data")
            .arg(data.path())
            .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--log-level", "warn"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let mut http = None;
        loop {
            let line = lines.next().expect("the broker says where it listens");
            let line = line.expect("stdout is text");
            if let Some(address) = line.strip_prefix("http on ") {
                http = Some(address.to_owned());
            }
            if line.starts_with("listening on ") {
                break;
            }
        }
        Self {
            process,
            http: http.expect("HTTP is served"),
            _data: data,
        }
    }

    /// Tells the broker to shut down.
    pub(crate) fn terminate(&self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(sent.expect("`kill` runs").success());
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.http).expect("connected");
        socket.set_read_timeout(Some(DEADLINE)).expect("set");
        socket.set_write_timeout(Some(DEADLINE)).expect("set");
        socket
    }

    /// One request on a connection of its own, and the whole answer.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.open(method, path, headers, body).rest()
    }

    /// The same, up to the head of the answer.
    pub(crate) fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Open {
        let mut socket = self.connect();
        let head = head(method, path, headers, Some(body.len()));
        socket.write_all(head.as_bytes()).expect("sent");
        socket.write_all(body).expect("sent");
        Open::read(socket)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("POST", path, headers, body)
    }

    /// Creates a stream of this content type, and gives its path.
    #[track_caller]
    pub(crate) fn create(&self, name: &str, content_type: &str) -> String {
        let path = format!("/v1/stream/{name}");
        let created = self.send("PUT", &path, &[("Content-Type", content_type)], b"");
        assert_eq!(created.status, 201, "{created:?}");
        path
    }

    /// Appends text to a stream of `text/plain`.
    #[track_caller]
    pub(crate) fn text(&self, path: &str, body: &[u8]) -> Answer {
        let appended = self.post(path, &[TEXT], body);
        assert_eq!(appended.status, 204, "{appended:?}");
        appended
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Usually still running; over already if a test terminated it.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The content type of most tests.
pub(crate) const TEXT: (&str, &str) = ("Content-Type", "text/plain");
pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");
pub(crate) const CLOSE: (&str, &str) = ("Stream-Closed", "true");

/// A request's head; the connection ends after its answer.
pub(crate) fn head(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    length: Option<usize>,
) -> String {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: broker.test\r\nConnection: close\r\n");
    if let Some(length) = length.filter(|length| *length > 0) {
        write!(head, "Content-Length: {length}\r\n").expect("text grows");
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("text grows");
    }
    head + "\r\n"
}

/// An answer whose head has come.
pub(crate) struct Open {
    pub(crate) answer: Answer,
    socket: BufReader<TcpStream>,
}

impl Open {
    pub(crate) fn read(socket: TcpStream) -> Self {
        let mut socket = BufReader::new(socket);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            socket.read_line(&mut line).expect("a line of the head");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        let status = lines.first().expect("a status line").clone();
        let status = status.split(' ').nth(1).expect("a status");
        let headers = lines.iter().skip(1).map(|line| {
            let (name, value) = line.split_once(':').expect("a header");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        let answer = Answer {
            status: status.parse().expect("a number"),
            headers: headers.collect(),
            body: Vec::new(),
        };
        Self { answer, socket }
    }

    fn is_chunked(&self) -> bool {
        self.answer.header("transfer-encoding") == Some("chunked")
    }

    /// The next piece of a chunked body; `None` at its end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut size = String::new();
        self.socket.read_line(&mut size).expect("a chunk size");
        let size = usize::from_str_radix(size.trim(), 16).expect("hexadecimal");
        let mut bytes = vec![0; size + 2];
        self.socket.read_exact(&mut bytes).expect("a whole chunk");
        bytes.truncate(size);
        (size > 0).then_some(bytes)
    }

    /// Reads until the body holds `text`, and gives all of it so far.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> String {
        loop {
            let so_far = String::from_utf8_lossy(&self.answer.body).into_owned();
            if so_far.contains(text) {
                return so_far;
            }
            let chunk = self.chunk();
            assert!(chunk.is_some(), "the body ends without {text}: {so_far}");
            self.answer.body.extend(chunk.unwrap_or_default());
        }
    }

    /// Reads to the end of the body.
    pub(crate) fn rest(mut self) -> Answer {
        if self.is_chunked() {
            while let Some(chunk) = self.chunk() {
                self.answer.body.extend(chunk);
            }
        } else {
            let read = self.socket.read_to_end(&mut self.answer.body);
            read.expect("the rest of the body");
        }
        self.answer
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// Where to read on.
    #[track_caller]
    pub(crate) fn next(&self) -> &str {
        self.header("stream-next-offset").expect("a next offset")
    }

    /// The code in the body of an error.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        let code = body.pointer("/error/code").and_then(|code| code.as_str());
        code.expect("a code").to_owned()
    }
}

/// Asks again and again until `done` gives something.
#[track_caller]
pub(crate) fn poll<T>(mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(Instant::now() < deadline, "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
