//! The broker as a process, and requests to it over HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than the broker takes to find that there is room, or anything else here.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const RECORD_BYTES: usize = 60_000;

pub static RECORD: [u8; RECORD_BYTES] = [b'x'; RECORD_BYTES];

pub struct Server {
    pub process: Child,
    http: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended; either way it is reaped.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Server {
    /// Starts `command`, which runs the broker with the arguments that are added to its own: one that folds soon.
    pub fn start(command: Command, data: &std::path::Path) -> Self {
        let soon = ["--fold-bytes", "256KiB", "--hot-tail-bytes-max", "1MiB"];
        Self::start_with(command, data, &soon)
    }

    /// Starts `command` with `settings`.
    pub fn start_with(mut command: Command, data: &std::path::Path, settings: &[&str]) -> Self {
        let mut process = command
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--log-level", "error"])
            .args(settings)
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker is started");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let mut announced = |what: &str| {
            let at = lines.find_map(|line| {
                let line = line.expect("stdout is text");
                line.strip_prefix(what).map(str::to_owned)
            });
            at.expect("the broker says where it listens")
        };
        let http = announced("http on ");
        // Said when streams are served, over HTTP too.
        announced("listening on ");
        Self { process, http }
    }

    /// One request: status and body.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        self.ask_with(method, path, "", body)
    }

    /// One request with more `headers`, each with its end of line.
    pub fn ask_with(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let address = self.http.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the broker listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\
             content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let sent = stream.write_all(head.as_bytes());
        sent.and_then(|()| stream.write_all(body))
            .expect("the request is taken");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        (status.expect("a status"), body.to_owned())
    }

    /// Asks until the answer is `status`. Answers the body then.
    pub fn until(&self, path: &str, status: u16) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (is, body) = self.ask("GET", path, b"");
            if is == status {
                return body;
            }
            assert!(Instant::now() < deadline, "{path} still says {is}: {body}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn create(&self, stream: &str) {
        let created = self.ask("PUT", stream, b"");
        assert_eq!(created.0, 201, "{}", created.1);
    }

    /// One request that writes. Answers whether it was taken: it may be refused for lack of room.
    pub fn takes(&self, method: &str, stream: &str, body: &[u8]) -> bool {
        let (status, said) = self.ask(method, stream, body);
        if status / 100 == 2 {
            return true;
        }
        assert_eq!(status, 507, "{said}");
        assert!(said.contains("STORE_FULL"), "{said}");
        false
    }

    /// Appends to `streams` in turn until one is refused for lack of room. Answers how many records each has got.
    pub fn fill<const N: usize>(&self, streams: [&str; N]) -> [usize; N] {
        let deadline = Instant::now() + PATIENCE;
        let mut confirmed = [0; N];
        loop {
            for (stream, count) in streams.iter().zip(&mut confirmed) {
                if !self.takes("POST", stream, &RECORD) {
                    return confirmed;
                }
                *count += 1;
            }
            assert!(Instant::now() < deadline, "{confirmed:?}, and no limit");
        }
    }

    /// Appends `count` records, for which there is room.
    pub fn append(&self, stream: &str, count: usize) {
        for _ in 0..count {
            assert!(self.takes("POST", stream, &RECORD), "there is room");
        }
    }

    /// Reads `stream` from its beginning: so many records, and no more.
    pub fn read_all(&self, stream: &str, records: usize) {
        let bytes = records * RECORD_BYTES;
        let (mut read, mut offset) = (0, "-1".to_owned());
        while read < bytes {
            let (status, body) = self.ask("GET", &format!("{stream}?offset={offset}"), b"");
            assert_eq!(status, 200, "reads go on");
            assert!(body.bytes().all(|byte| byte == b'x') && !body.is_empty());
            read += body.len();
            offset = format!("{:016}_{read:016}", read / RECORD_BYTES);
        }
        assert_eq!(read, bytes, "each record once");
    }
}
