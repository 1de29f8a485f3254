//! Counts of HTTP requests, by method and status class: a small table made once, looked at by position.

use super::instruments::{self, Counter};

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "POST", "DELETE", "other"];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// One counter per method and status class.
#[derive(Debug)]
pub struct Requests {
    /// Row by row: the classes of each method.
    counters: Box<[Counter]>,
}

impl Requests {
    pub(super) fn register() -> Self {
        let counter = |method, class| {
            let labels = [("method", method), ("status", class)];
            let help = "Requests answered on stream routes";
            instruments::counter_with("http_requests_total", help, &labels)
        };
        let row = |method: &&'static str| CLASSES.map(|class| counter(*method, class));
        Self {
            counters: METHODS.iter().flat_map(row).collect(),
        }
    }

    /// Counts one answer with this status to a request with this method; `other` for a method the protocol does not use.
    pub fn increment(&self, method: &str, status: u16) {
        let row = METHODS.iter().position(|known| *known == method);
        let row = row.unwrap_or(METHODS.len() - 1);
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        if let Some(counter) = self.counters.get(row * CLASSES.len() + class) {
            counter.increment(1);
        }
    }
}
