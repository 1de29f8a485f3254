//! `streamkeeper ls`.

use clap::Args;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::target::Target;

/// List streams, by name
#[derive(Debug, Args)]
pub(in crate::cli) struct Ls {
    /// Only streams whose names begin like this
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// Show earliest offset, tail and state before each name
    #[arg(short, long)]
    long: bool,

    #[command(flatten)]
    target: Target,
}

impl Ls {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let client = self.target.connect().await?;
        let mut output = Output::new(self.target.json);
        let mut listing = client.list(self.prefix.as_str());
        if self.long && !self.target.json {
            output.line(format_args!(
                "{:>12} {:>12} {:6} NAME",
                "EARLIEST", "TAIL", "STATE"
            ))?;
        }
        while let Some(entry) = listing.next().await {
            let entry = entry.map_err(Failure::during("listing streams"))?;
            let state = if entry.closed { "closed" } else { "open" };
            if self.target.json {
                output.object(&json!({
                    "stream": entry.stream, "earliest": entry.earliest, "tail": entry.tail,
                    "closed": entry.closed,
                }))?;
            } else if self.long {
                let (earliest, tail) = (entry.earliest, entry.tail);
                output.line(format_args!(
                    "{earliest:>12} {tail:>12} {state:6} {}",
                    entry.stream
                ))?;
            } else {
                output.line(&entry.stream)?;
            }
        }
        output.flush()
    }
}
