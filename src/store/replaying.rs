//! Says how far the replay of the journal is: to whoever watches the readiness, for each MiB, and in the log, at most once a second.
//!
//! The start calls it after each commit that it has gone through; most of these calls compare two numbers and read a clock.
//! An empty journal is not worth a line in the log.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::journal::Progress;
use super::shared::Readiness;

/// The least time between two lines in the log.
const LOGGED: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Replaying<'a> {
    readiness: &'a watch::Sender<Readiness>,
    begun: Instant,
    logged: Instant,
    at: Progress,
}

impl<'a> Replaying<'a> {
    /// How much there is to replay is not known yet.
    pub fn begin(readiness: &'a watch::Sender<Readiness>) -> Self {
        let replaying = Self {
            readiness,
            begun: Instant::now(),
            logged: Instant::now(),
            at: Progress::default(),
        };
        replaying.show("replaying the journal".to_owned());
        replaying
    }

    /// So much is done.
    pub fn is_at(&mut self, progress: Progress) {
        let before = std::mem::replace(&mut self.at, progress);
        if progress.total == 0 {
            return;
        }
        if before.total == 0 {
            tracing::info!(bytes = progress.total, "replaying the journal");
        }
        let shown = in_mib(progress);
        if shown != in_mib(before) {
            let (done, total) = shown;
            self.show(format!("replaying the journal ({done} of {total} MiB)"));
        }
        if self.logged.elapsed() >= LOGGED {
            self.logged = Instant::now();
            let Progress { done, total } = progress;
            tracing::info!(done, bytes = total, "replaying the journal");
        }
    }

    /// All is replayed. Answers how many bytes that were.
    pub fn end(self, rows: u64) -> u64 {
        let bytes = self.at.done;
        if bytes > 0 {
            let seconds = self.begun.elapsed().as_secs_f64();
            tracing::info!(rows, bytes, seconds, "replayed the journal");
        }
        bytes
    }

    fn show(&self, reason: String) {
        self.readiness.send_replace(Readiness::Starting { reason });
    }
}

/// What is done and what there is, in whole MiB: not all of it before all is done.
fn in_mib(progress: Progress) -> (u64, u64) {
    let total = progress.total.div_ceil(1 << 20);
    let done = if progress.done == progress.total {
        total
    } else {
        progress.done >> 20
    };
    (done, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown after each of these steps.
    fn shown(steps: &[(u64, u64)]) -> Vec<String> {
        let readiness = watch::Sender::new(Readiness::Ready);
        let mut seen = readiness.subscribe();
        let mut replaying = Replaying::begin(&readiness);
        let mut shown = Vec::new();
        let mut look = || {
            if seen.has_changed().expect("the sender lives") {
                let Readiness::Starting { reason } = seen.borrow_and_update().clone() else {
                    panic!("a replay is a part of the start");
                };
                shown.push(reason);
            }
        };
        look();
        for (done, total) in steps.iter().copied() {
            replaying.is_at(Progress { done, total });
            look();
        }
        shown
    }

    #[test]
    fn each_mib_is_shown_once() {
        let mib = 1 << 20;
        let total = 2 * mib + 1;
        let steps = [0, 4096, mib - 1, mib, mib + 1, total - 1, total];
        assert_eq!(
            shown(&steps.map(|done| (done, total))),
            [
                "replaying the journal",
                "replaying the journal (0 of 3 MiB)",
                "replaying the journal (1 of 3 MiB)",
                "replaying the journal (2 of 3 MiB)",
                "replaying the journal (3 of 3 MiB)",
            ]
        );
    }

    #[test]
    fn of_an_empty_journal_no_size_is_shown() {
        assert_eq!(shown(&[(0, 0)]), ["replaying the journal"]);
    }
}
