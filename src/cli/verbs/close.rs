//! `streamkeeper close`.

use clap::Args;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::target::Target;

/// Close a stream for ever: what it holds stays readable
#[derive(Debug, Args)]
pub(in crate::cli) struct Close {
    /// Name of the stream
    name: String,

    #[command(flatten)]
    target: Target,
}

impl Close {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let client = self.target.connect().await?;
        let during = Failure::during(format!("closing {}", self.name));
        let tail = client
            .close_stream(self.name.as_str())
            .await
            .map_err(during)?;
        let object = json!({ "stream": self.name, "closed": true, "tail": tail });
        Output::new(self.target.json).answer(&object, format_args!("closed at {tail}"))
    }
}
