//! A progress bar on stderr while a workload runs, if stderr is a terminal.

use std::future::Future;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::measure::Extent;
use super::report::{float, thousands};

const TICK: Duration = Duration::from_millis(100);

/// When a workload will be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    /// After so many operations.
    Operations(u64),
    /// After this long.
    Time(Duration),
}

impl Goal {
    /// The goal of a run of this extent, with a warm-up before it if it goes by time.
    pub(super) fn of(extent: Extent, warm_up: Duration) -> Self {
        match extent.count {
            Some(count) => Self::Operations(count),
            None => Self::Time(*extent.duration + warm_up),
        }
    }

    fn length(self) -> u64 {
        match self {
            Self::Operations(count) => count,
            Self::Time(time) => millis(time),
        }
    }

    fn position(self, done: u64, elapsed: Duration) -> u64 {
        match self {
            Self::Operations(_) => done,
            Self::Time(_) => millis(elapsed),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Runs `work` and shows how near it is to its goal, where `done` says how many operations are over.
pub(super) async fn show<T>(
    title: &'static str,
    goal: Goal,
    done: impl Fn() -> u64,
    work: impl Future<Output = T>,
) -> T {
    // Hidden by itself where stderr is no terminal.
    let bar = ProgressBar::new(goal.length()).with_prefix(title);
    // The template is fixed; without it the bar would only look plainer.
    if let Ok(style) = ProgressStyle::with_template("{prefix:10} {wide_bar} {msg} {elapsed}") {
        bar.set_style(style);
    }
    let begun = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => {
                bar.finish_and_clear();
                return result;
            }
            _ = tick.tick() => {
                let (done, elapsed) = (done(), begun.elapsed());
                let rate = float(done) / elapsed.as_secs_f64().max(0.001);
                bar.set_position(goal.position(done, elapsed));
                bar.set_message(format!("{} at {}/s", thousands(float(done)), thousands(rate)));
            }
        }
    }
}
