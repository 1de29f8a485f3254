//! HTTP heads: whatever a peer asks for in whatever words, it is answered in HTTP and never with a 500, and the broker goes on.
//!
//! The real binary over real sockets. Bytes of the case choose methods, paths, headers, values and bodies that nearly make sense;
//! some cases are mangled once more as bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use arbitrary::{Result, Unstructured};

use crate::corpus::Corpus;
use crate::random::seeds;

/// Mangled cases of each seed.
const CASES: u64 = 150;
/// After so long without a byte the sending side is closed: the answers that there will be have come, or a body is waited for.
const QUIET: Duration = Duration::from_millis(60);
/// Only a bug takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

const METHODS: [&str; 9] = [
    "GET", "PUT", "POST", "HEAD", "DELETE", "OPTIONS", "PATCH", "post", "G\u{e9}T",
];

const PATHS: [&str; 24] = [
    "/v1/stream/h0",
    "/v1/stream/h1",
    "/v1/stream/h2",
    "/v1/stream/h0/h1",
    "/v1/stream/",
    "/v1/stream",
    "/v1/stream/%",
    "/v1/stream/%00",
    "/v1/stream/%ff%fe",
    "/v1/stream/%2e%2e/x",
    "/v1/stream/../x",
    "/v1/stream/a//b",
    "/v1/stream/__ds",
    "/v1/stream/__ds/subscriptions/s",
    "/v1/stream/__ds/subscriptions/s/streams",
    "/v1/stream/__ds/subscriptions/s/ack",
    "/v1/stream/__ds/subscriptions/%ff",
    "/livez",
    "/readyz",
    "/metrics",
    "/",
    "*",
    "//",
    "http://other/v1/stream/h0",
];

const QUERIES: [&str; 14] = [
    "",
    "",
    "",
    "?offset=-1",
    "?offset=now",
    "?offset=now&live=long-poll",
    "?offset=-1&live=sse",
    "?offset=-1&offset=-1",
    "?offset=9999999999999999_9999999999999999",
    "?offset=0000000000000000_0000000000000001",
    "?offset=%00&live=%ff",
    "?cursor=18446744073709551616&offset=-1&live=long-poll",
    "?%",
    "?live=long-poll",
];

const NAMES: [&str; 26] = [
    "Stream-Seq",
    "Stream-Ttl",
    "Stream-Expires-At",
    "Stream-Closed",
    "Stream-Forked-From",
    "Stream-Fork-Offset",
    "Stream-Fork-Sub-Offset",
    "Stream-Retention-Max-Age",
    "Stream-Retention-Max-Records",
    "Stream-Retention-Max-Bytes",
    "Stream-Storage",
    "Producer-Id",
    "Producer-Epoch",
    "Producer-Seq",
    "Content-Type",
    "Content-Length",
    "Transfer-Encoding",
    "Content-Encoding",
    "Accept-Encoding",
    "If-None-Match",
    "Origin",
    "Access-Control-Request-Method",
    "Authorization",
    "Expect",
    "Connection",
    "Range",
];

const VALUES: [&str; 32] = [
    "",
    "0",
    "1",
    "2",
    "-1",
    "now",
    "true",
    "TRUE",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "1e9",
    "0x10",
    "007",
    "  7  ",
    "0000000000000000_0000000000000000",
    "0000000000000001_0000000000000001",
    "9999999999999999_9999999999999999",
    "a,b",
    "\u{e9}\u{fffd}",
    "application/json",
    "application/json; charset=\"",
    "text/plain",
    "W/\"x\", *",
    "2026-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "/v1/stream/h0",
    "/v1/stream/h1?x",
    "memory",
    "gzip, chunked",
    "100-continue",
    "keep-alive, close",
];

const BODIES: [&str; 8] = [
    "",
    "x",
    "1",
    "[1,[2],{}]",
    "[]",
    "[1,",
    "{\"a\":1}",
    "\u{0}\u{fffd}",
];

/// Headers that a stream or a producer takes, and those that belong together.
const LINES: [&str; 36] = [
    "Content-Type: application/json",
    "Content-Type: application/json; charset=utf-8",
    "Content-Type: text/plain",
    "Content-Type: application/octet-stream",
    "Content-Type: APPLICATION/JSON",
    "Stream-Closed: true",
    "Stream-Seq: a",
    "Stream-Seq: b",
    "Producer-Id: p\r\nProducer-Epoch: 0\r\nProducer-Seq: 0",
    "Producer-Id: p\r\nProducer-Epoch: 0\r\nProducer-Seq: 1",
    "Producer-Id: p\r\nProducer-Epoch: 0\r\nProducer-Seq: 9",
    "Producer-Id: p\r\nProducer-Epoch: 1\r\nProducer-Seq: 0",
    "Producer-Id: p\r\nProducer-Epoch: 2\r\nProducer-Seq: 1",
    "Stream-Ttl: 60",
    "Stream-Ttl: 1",
    "Stream-Expires-At: 2999-01-01T00:00:00.123Z",
    "Stream-Expires-At: 2999-01-01T00:00:00+01:30",
    "Stream-Forked-From: /v1/stream/h0",
    "Stream-Forked-From: /v1/stream/h1",
    "Stream-Fork-Offset: 0000000000000001_0000000000000001",
    "Stream-Fork-Offset: 0000000000000000_0000000000000000",
    "Stream-Fork-Sub-Offset: 1",
    "Stream-Fork-Sub-Offset: 3",
    "Stream-Retention-Max-Age: 60",
    "Stream-Retention-Max-Records: 1",
    "Stream-Retention-Max-Bytes: 8",
    "Stream-Storage: memory",
    "Stream-Storage: durable",
    "If-None-Match: *",
    "If-None-Match: \"x\"",
    "Accept-Encoding: gzip",
    "Origin: http://a",
    "Access-Control-Request-Method: PUT\r\nOrigin: http://a",
    "Authorization: Bearer x",
    "X-Forwarded-Proto: https",
    "Expect: 100-continue",
];

const RIGHT_PATHS: [&str; 18] = [
    "/v1/stream/h0",
    "/v1/stream/h1",
    "/v1/stream/h2",
    "/v1/stream/h%30",
    "/v1/stream/f/1",
    "/v1/stream/__ds/subscriptions/s",
    "/v1/stream/__ds/subscriptions/w",
    "/v1/stream/__ds/subscriptions/s/streams",
    "/v1/stream/__ds/subscriptions/s/streams/h0",
    "/v1/stream/__ds/subscriptions/s/streams/h%31",
    "/v1/stream/__ds/subscriptions/s/claim",
    "/v1/stream/__ds/subscriptions/s/ack",
    "/v1/stream/__ds/subscriptions/s/release",
    "/v1/stream/__ds/subscriptions/w/callback",
    "/v1/stream/__ds/jwks.json",
    "/metrics",
    "/v1/stream/h0?offset=0000000000000001_0000000000000001",
    "/v1/stream/m",
];

const RIGHT_BODIES: [&str; 18] = [
    "",
    "x",
    "12345678",
    "[1,[2],{}]",
    "[]",
    "{\"a\": 1}",
    " [ 1 , \"\\ud800\" ] ",
    "data: 1\r\ndata: 2\n\r\n\u{e9}\u{1f600}",
    "\u{0}\u{feff}\r",
    "{\"type\":\"pull-wake\",\"wake_stream\":\"m\",\"streams\":[\"h0\"]}",
    "{\"type\":\"pull-wake\",\"wake_stream\":\"/m/\",\"pattern\":\"h*\",\"lease_ttl_ms\":1000}",
    "{\"type\":\"pull-wake\",\"wake_stream\":\"m\",\"pattern\":\"**/1\",\"description\":\"d\"}",
    "{\"type\":\"webhook\",\"webhook\":{\"url\":\"https://192.0.2.1/x\"},\"streams\":[\"h1\"]}",
    "{\"type\":\"webhook\",\"webhook\":{\"url\":\"http://127.0.0.1:1/x\"},\"pattern\":\"*\"}",
    "{\"streams\":[\"h1\",\"/h0\"]}",
    "{\"worker\":\"w\"}",
    "{\"wake_id\":\"x\",\"generation\":1,\"acks\":[{\"path\":\"h0\",\"offset\":\"-1\"}],\"done\":true}",
    "{\"wake_id\":\"x\",\"generation\":1,\"acks\":[{\"stream\":\"h0\",\"offset\":\"0000000000000001_0000000000000001\"}]}",
];

/// Ends a case.
const LAST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

struct Broker {
    process: Child,
    http: String,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended, which the test noticed then.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Broker {
    fn start(directory: &Path, log: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamkeeper"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STREAMKEEPER_") {
                command.env_remove(name);
            }
        }
        let mut process = command
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args([
                "--log-level",
                "warn",
                "--long-poll-timeout",
                "20ms",
                "--data",
            ])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log).expect("a file for the log"))
            .spawn()
            .expect("the broker starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout)
            .lines()
            .map_while(std::io::Result::ok);
        let mut announced = |what: &str| {
            let at = lines.find_map(|line| line.strip_prefix(what).map(str::to_owned));
            at.expect("the broker says where it listens")
        };
        let http = announced("http on ");
        announced("listening on ");
        Self { process, http }
    }

    fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(&self.http).expect("the broker listens");
        socket.set_read_timeout(Some(QUIET)).expect("set");
        socket.set_write_timeout(Some(PATIENCE)).expect("set");
        // It may be refused, and the connection closed, before all is sent.
        socket.write_all(bytes).ok();
        let (mut answer, mut closed) = (Vec::new(), false);
        let mut piece = [0; 4096];
        loop {
            match socket.read(&mut piece) {
                Ok(0) => return answer,
                Ok(read) => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    // Events go on for ever, also if more requests wait behind them.
                    if String::from_utf8_lossy(&answer).contains("text/event-stream") {
                        return answer;
                    }
                    assert!(
                        !closed,
                        "the connection does not end after {}\n{}",
                        String::from_utf8_lossy(bytes),
                        String::from_utf8_lossy(&answer)
                    );
                    closed = true;
                    socket.shutdown(Shutdown::Write).ok();
                    socket.set_read_timeout(Some(PATIENCE)).expect("set");
                }
                // A reset, since what was sent was not read: the answer may be lost.
                Err(_) => return answer,
            }
        }
    }
}

#[test]
fn whatever_is_asked_over_http_is_answered_and_never_with_a_500() {
    for seed in seeds(&[1]) {
        println!("STREAMKEEPER_SEED={seed}");
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        let broker = Broker::start(&directory.path().join("data"), &log);
        let (mut cases, mut answered) = (0_u64, 0_u64);
        let mut statuses = BTreeMap::<String, u64>::new();
        for case in Corpus::of("http").cases(seed, CASES) {
            let request = requests(&case.bytes);
            let answer = broker.send(&request);
            let text = String::from_utf8_lossy(&answer);
            let asked = String::from_utf8_lossy(&request);
            assert!(
                answer.is_empty() || text.starts_with("HTTP/1."),
                "{asked}\n{text}"
            );
            assert!(!text.contains("HTTP/1.1 500"), "{asked}\n{text}");
            for status in text.split("HTTP/1.1 ").skip(1) {
                let status = status.chars().take(3).collect();
                *statuses.entry(status).or_default() += 1;
            }
            cases += 1;
            answered += u64::from(!answer.is_empty());
        }
        let alive = broker.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(alive.starts_with(b"HTTP/1.1 200"), "it serves no more");
        let log = std::fs::read_to_string(log).expect("the log is text");
        assert!(!log.contains("panicked"), "{log}");
        println!("{cases} conversations, {answered} with an answer: {statuses:?}");
        let understood = statuses.keys().any(|status| status == "204");
        assert!(understood, "nothing was appended");
    }
}

/// What the bytes ask for: some requests in a row, of which the last asks for the end. Cases that begin with a plus are made of what is
/// mostly right.
fn requests(bytes: &[u8]) -> Vec<u8> {
    if let Some(bytes) = bytes.strip_prefix(b"+") {
        return right_requests(bytes);
    }
    let mut choices = Unstructured::new(bytes);
    let mut text = Vec::new();
    for _ in 0..6 {
        if choices.is_empty() || request(&mut choices, &mut text).is_err() {
            break;
        }
    }
    if choices.ratio(1, 8).unwrap_or(false) {
        let at = choices.choose_index(text.len()).unwrap_or(0);
        if let Some(byte) = text.get_mut(at) {
            *byte = choices.arbitrary().unwrap_or(0);
        }
    }
    text.extend_from_slice(LAST);
    text
}

fn right_requests(bytes: &[u8]) -> Vec<u8> {
    let mut choices = Unstructured::new(bytes);
    let mut text = Vec::new();
    for _ in 0..12 {
        if choices.is_empty() || right_request(&mut choices, &mut text).is_err() {
            break;
        }
    }
    text.extend_from_slice(LAST);
    text
}

fn right_request(choices: &mut Unstructured<'_>, text: &mut Vec<u8>) -> Result<()> {
    let method = choices.choose(METHODS.get(..5).unwrap_or(&METHODS))?;
    let path = choices.choose(&RIGHT_PATHS)?;
    let query = choices.choose(&QUERIES)?;
    let mut head = format!("{method} {path}{query} HTTP/1.1\r\nHost: x\r\n");
    for _ in 0..choices.int_in_range(0..=3)? {
        head += choices.choose(&LINES)?;
        head += "\r\n";
    }
    // Some are long enough to be worth compressing, some begin within a character.
    let body = choices.choose(&RIGHT_BODIES)?;
    let body = body.repeat(*choices.choose(&[1, 1, 1, 300])?);
    let from = choices.int_in_range(0..=9)?;
    let body = body.as_bytes().get(from..).unwrap_or(body.as_bytes());
    text.extend_from_slice(head.as_bytes());
    text.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    text.extend_from_slice(body);
    Ok(())
}

fn request(choices: &mut Unstructured<'_>, text: &mut Vec<u8>) -> Result<()> {
    let method = if choices.ratio(9, 10)? {
        choices.choose(METHODS.get(..5).unwrap_or(&METHODS))?
    } else {
        choices.choose(&METHODS)?
    };
    let path = if choices.ratio(2, 3)? {
        choices.choose(PATHS.get(..3).unwrap_or(&PATHS))?
    } else {
        choices.choose(&PATHS)?
    };
    let query = choices.choose(&QUERIES)?;
    text.extend_from_slice(format!("{method} {path}{query} HTTP/1.1\r\nHost: x\r\n").as_bytes());
    let body = choices.choose(&BODIES)?.as_bytes();
    for _ in 0..choices.int_in_range(0..=5)? {
        let name = choices.choose(&NAMES)?;
        text.extend_from_slice(format!("{name}: ").as_bytes());
        match choices.int_in_range(0..=15)? {
            0 => {
                let length = choices.int_in_range(0..=30)?;
                let any = choices
                    .bytes(length)?
                    .iter()
                    .filter(|byte| !b"\r\n".contains(byte));
                text.extend(any);
            }
            1 => text.extend(std::iter::repeat_n(b'a', choices.int_in_range(1..=400)?)),
            _ => text.extend_from_slice(choices.choose(&VALUES)?.as_bytes()),
        }
        text.extend_from_slice(b"\r\n");
    }
    match choices.int_in_range(0..=9)? {
        0 => text.extend_from_slice(b"\r\n"),
        1 => {
            let length: u64 = choices.arbitrary()?;
            text.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
            text.extend_from_slice(body);
        }
        2 | 3 => {
            let length = if choices.ratio(3, 4)? {
                body.len()
            } else {
                choices.int_in_range(0..=100)?
            };
            text.extend_from_slice(
                format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n").as_bytes(),
            );
            text.extend_from_slice(body);
            text.extend_from_slice(b"\r\n0\r\n\r\n");
        }
        _ => {
            text.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            text.extend_from_slice(body);
        }
    }
    Ok(())
}
