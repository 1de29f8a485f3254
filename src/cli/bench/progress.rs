//! A progress bar on stderr while a workload runs, if stderr is a terminal.

use std::future::Future;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const TICK: Duration = Duration::from_millis(100);

/// Runs `work` and shows how much of `total` is done, as `done` says.
pub(super) async fn show<T>(
    title: &'static str,
    total: u64,
    done: impl Fn() -> u64,
    work: impl Future<Output = T>,
) -> T {
    // Hidden by itself where stderr is no terminal.
    let bar = ProgressBar::new(total).with_prefix(title);
    let template = "{prefix:12} {wide_bar} {human_pos} {per_sec} {elapsed}";
    // The template is fixed; without it the bar would only look plainer.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let mut tick = tokio::time::interval(TICK);
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => {
                bar.finish_and_clear();
                return result;
            }
            _ = tick.tick() => {
                let done = done();
                bar.set_length(total.max(done));
                bar.set_position(done);
            }
        }
    }
}
