//! `streamkeeper rm`.

use clap::Args;
use serde_json::json;
use streamkeeper_client::ErrorCode;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::target::Target;

/// Delete streams and all their records
#[derive(Debug, Args)]
pub(in crate::cli) struct Rm {
    /// Names of the streams
    #[arg(required = true)]
    names: Vec<String>,

    /// It is no failure if a stream does not exist
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    target: Target,
}

impl Rm {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let client = self.target.connect().await?;
        let mut output = Output::new(self.target.json);
        for name in &self.names {
            let deleted = match client.delete(name.as_str()).await {
                Ok(()) => true,
                Err(error) if self.force && error.code() == Some(ErrorCode::NotFound) => false,
                Err(error) => return Err(Failure::during(format!("deleting {name}"))(error)),
            };
            if output.is_json() {
                output.object(&json!({ "stream": name, "deleted": deleted }))?;
            }
        }
        output.flush()
    }
}
