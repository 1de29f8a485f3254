//! What the HTTP port of a started broker tells of it: the states of `/readyz` while it starts, and single numbers of `/metrics`.
//!
//! Blocking, with a connection for each question: a start is short, and asking must not take what it needs of the machine.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cli::failure::Failure;

/// From one answer of `/readyz` to the next question.
const INTERVAL: Duration = Duration::from_millis(5);

/// After this long without an answer nobody is asked any more.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A broker that is asked how far its start is, until it is ready.
#[derive(Debug)]
pub(super) struct Watched(JoinHandle<Vec<String>>);

impl Watched {
    /// Begins to ask at `address`, on a thread of its own.
    pub(super) fn start(address: String) -> Self {
        Self(std::thread::spawn(move || watch(&address)))
    }

    /// What it told, in order, at last that it is ready. Of answers that differ in a part in parentheses the last.
    pub(super) fn told(self) -> Result<Vec<String>, Failure> {
        let told = self.0.join();
        told.map_err(|_panic| Failure::io("watching the start", "the thread panicked"))
    }
}

fn watch(address: &str) -> Vec<String> {
    let mut told = Vec::new();
    // Without an answer the broker has ended, which its starter finds out as well.
    while let Ok(body) = get(address, "/readyz") {
        let state = body.trim().to_owned();
        let is_ready = state == "ready";
        note(&mut told, state);
        if is_ready {
            break;
        }
        std::thread::sleep(INTERVAL);
    }
    told
}

fn note(told: &mut Vec<String>, state: String) {
    let kind = |state: &str| state.split(" (").next().map(str::to_owned);
    told.pop_if(|last| kind(last) == kind(&state));
    told.push(state);
}

/// A metric without labels.
pub(super) fn metric(address: &str, name: &str) -> Result<u64, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::io("reading the metrics", error);
    let text = get(address, "/metrics").map_err(|error| failed(&error))?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.ok_or_else(|| failed(&format!("there is no {name}")))
}

/// The body of an answer.
fn get(address: &str, path: &str) -> io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut response = String::new();
    socket.read_to_string(&mut response)?;
    let (_head, body) = response.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_state_the_last_answer_is_kept() {
        let mut told = Vec::new();
        for state in ["a", "b", "b (1 of 2)", "b (2 of 2)", "ready"] {
            note(&mut told, state.to_owned());
        }
        assert_eq!(told, ["a", "b (2 of 2)", "ready"]);
    }
}
