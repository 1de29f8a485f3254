//! The real binary on a real file system that takes no more: it refuses, serves what it has, says so, and goes on by itself.
//!
//! Mounting a small file system takes privileges that CI has not. A limit on the size of files (`ulimit -f`) stands in for it: the
//! same writes fail, in the middle, with `EFBIG` instead of `ENOSPC`, and `prlimit` makes room under the running broker.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than the broker takes to find that there is room.
const PATIENCE: Duration = Duration::from_secs(30);

const RECORD_BYTES: usize = 60_000;

struct Server {
    process: Child,
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
    /// Starts the broker with files of at most `blocks` times 512 bytes.
    fn start(data: &std::path::Path, blocks: u32) -> Self {
        // The signal that the limit brings would end the process; a disk sends none.
        let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
        let mut process = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_streamkeeper")])
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--log-level", "error", "--fold-bytes", "256KiB"])
            .args(["--hot-tail-bytes-max", "1MiB", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs the broker");
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
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let address = self.http.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the broker listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
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

    fn until(&self, path: &str, status: u16) -> String {
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
}

#[test]
fn a_full_file_system_refuses_serves_and_resumes_by_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path(), 6_000);
    let stream = "/v1/stream/full";
    let created = server.ask("PUT", stream, b"");
    assert_eq!(created.0, 201, "{}", created.1);
    let record = vec![b'x'; RECORD_BYTES];
    let deadline = Instant::now() + PATIENCE;
    let mut confirmed = 0;
    let refused = loop {
        match server.ask("POST", stream, &record) {
            (200..300, _) => confirmed += 1,
            other => break other,
        }
        assert!(
            Instant::now() < deadline,
            "{confirmed} appends and no limit"
        );
    };
    assert_eq!(refused.0, 507, "{}", refused.1);
    assert!(refused.1.contains("STORE_FULL"), "{}", refused.1);
    assert!(
        server.until("/readyz", 503).starts_with("full"),
        "it says why"
    );
    read_all(&server, stream, confirmed * record.len());

    let pid = server.process.id().to_string();
    let raised = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status();
    let raised = raised.expect("prlimit is not installed: apt install util-linux");
    assert!(raised.success(), "the limit can be raised");
    server.until("/readyz", 200);
    for _ in 0..20 {
        assert_eq!(server.ask("POST", stream, &record).0 / 100, 2, "resumed");
        confirmed += 1;
    }
    drop(server);
    let server = Server::start(directory.path(), 4_000_000);
    server.until("/readyz", 200);
    read_all(&server, stream, confirmed * record.len());
}

/// Reads `stream` from its beginning: `bytes` bytes, and no more.
fn read_all(server: &Server, stream: &str, bytes: usize) {
    let (mut read, mut offset) = (0, "-1".to_owned());
    while read < bytes {
        let (status, body) = server.ask("GET", &format!("{stream}?offset={offset}"), b"");
        assert_eq!(status, 200, "reads go on");
        assert!(body.bytes().all(|byte| byte == b'x') && !body.is_empty());
        read += body.len();
        offset = format!("{:016}_{read:016}", read / RECORD_BYTES);
    }
    assert_eq!(read, bytes, "each record once");
}
