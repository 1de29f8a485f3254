//! `streamkeeper read`: what is there now, then ends.

use std::time::Duration;

use clap::Args;
use streamkeeper_client::{Client, Page, ReadOptions, Start};
use streamkeeper_protocol::limits::WAIT_MS_MAX;
use tokio::time::Instant;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::position::From;
use crate::cli::target::Target;

/// Print the records a stream holds now
#[derive(Debug, Args)]
pub(in crate::cli) struct Read {
    /// Name of the stream
    name: String,

    /// Where to begin: start (-1), now, an offset, a time (2026-01-31T12:00:00Z) or an age (15m)
    #[arg(
        long,
        value_name = "POSITION",
        default_value = "-1",
        allow_hyphen_values = true
    )]
    from: From,

    /// Print at most this many records
    #[arg(long, value_name = "COUNT")]
    max: Option<u64>,

    /// If there is nothing to print, wait this long for a record, as in 30s
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0s",
        hide_default_value = true
    )]
    wait: humantime::Duration,

    #[command(flatten)]
    target: Target,
}

/// The protocol lets one request wait no longer than this.
const WAIT_MAX: Duration = Duration::from_millis(WAIT_MS_MAX as u64);

impl Read {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let client = self.target.connect().await?;
        let mut output = Output::new(self.target.json);
        let mut left = self.max.unwrap_or(u64::MAX);
        let mut page = self.first(&client).await?;
        // A writer may be faster than we print: what counts is what was there when we came.
        let end = page.tail;
        loop {
            for record in page
                .records
                .iter()
                .take(usize::try_from(left).unwrap_or(usize::MAX))
            {
                output.record(record)?;
            }
            left = left.saturating_sub(page.records.len() as u64);
            if left == 0 || page.next >= end || !page.more {
                return output.flush();
            }
            page = self
                .page(&client, Start::Offset(page.next), left, Duration::ZERO)
                .await?;
        }
    }

    /// The first page that holds something, or whatever there is when the wait is over.
    async fn first(&self, client: &Client) -> Result<Page, Failure> {
        let deadline = Instant::now() + *self.wait;
        let mut from = self.from.0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = self.max.unwrap_or(u64::MAX);
            let page = self.page(client, from, limit, left.min(WAIT_MAX)).await?;
            let over = page.closed || Instant::now() >= deadline;
            if over || !page.records.is_empty() {
                return Ok(page);
            }
            from = Start::Offset(page.next);
        }
    }

    async fn page(
        &self,
        client: &Client,
        from: Start,
        records_max: u64,
        wait: Duration,
    ) -> Result<Page, Failure> {
        // More than the server gives at once is as good as no limit.
        let records_max = u32::try_from(records_max).unwrap_or(0);
        let options = ReadOptions::new()
            .from(from)
            .max_records(records_max)
            .wait(wait);
        let during = Failure::during(format!("reading {}", self.name));
        client
            .read(self.name.as_str(), options)
            .await
            .map_err(during)
    }
}
