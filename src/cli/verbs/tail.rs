//! `streamkeeper tail`: follows a stream until it is closed, across restarts of the broker.

use clap::Args;
use futures_util::FutureExt as _;
use streamkeeper_client::SubscribeOptions;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::position::From;
use crate::cli::target::Target;

/// Print the records of a stream as they come, until it is closed
///
/// If the broker goes away, it is looked for until it is there again; nothing is missed or printed twice.
#[derive(Debug, Args)]
pub(in crate::cli) struct Tail {
    /// Name of the stream
    name: String,

    /// Where to begin: start (-1), now, an offset, a time (2026-01-31T12:00:00Z) or an age (15m)
    #[arg(
        long,
        value_name = "POSITION",
        default_value = "now",
        allow_hyphen_values = true
    )]
    from: From,

    /// End after this many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: Option<u64>,

    #[command(flatten)]
    target: Target,
}

impl Tail {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let client = self.target.connect_for_good().await?;
        let mut output = Output::new(self.target.json);
        let mut left = self.count.unwrap_or(u64::MAX);
        let during = || Failure::during(format!("following {}", self.name));
        let options = SubscribeOptions::new().from(self.from.0);
        let mut records = client
            .subscribe(self.name.as_str(), options)
            .await
            .map_err(during())?;
        while left > 0 {
            // Flushed only when nothing more is at hand: a backlog is then printed in large writes.
            let next = if let Some(next) = records.next().now_or_never() {
                next
            } else {
                output.flush()?;
                records.next().await
            };
            let Some(record) = next else { break };
            match record {
                Ok(record) => output.record(&record)?,
                Err(error) => {
                    // What came before the end is printed before the failure is told.
                    output.flush()?;
                    return Err(during()(error));
                }
            }
            left -= 1;
        }
        output.flush()
    }
}
