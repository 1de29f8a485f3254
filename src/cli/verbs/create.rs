//! `streamkeeper create`.

use clap::Args;
use serde_json::json;
use streamkeeper_client::{CreateOptions, Storage};

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::position;
use crate::cli::target::Target;
use crate::config::ByteCount;

/// Create a stream, or check that it exists with this configuration
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// Name of the stream
    name: String,

    /// Media type of the records; application/json checks records and splits arrays
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// Delete the stream when it was neither read nor written for this long, as in 2h
    #[arg(long, value_name = "TIME", conflicts_with = "expires_at")]
    ttl: Option<humantime::Duration>,

    /// Delete the stream at this time, as in 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires_at: Option<u64>,

    /// Trim records older than this, as in 7d
    #[arg(long, value_name = "TIME")]
    max_age: Option<humantime::Duration>,

    /// Keep at most this many records
    #[arg(long, value_name = "COUNT")]
    max_records: Option<u64>,

    /// Keep at most this many payload bytes, as in 64MiB
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<ByteCount>,

    /// Keep the records in memory only: they are gone when the broker stops
    #[arg(long)]
    memory: bool,

    #[command(flatten)]
    target: Target,
}

fn expiry(text: &str) -> Result<u64, String> {
    let is_age = humantime::parse_duration(text).is_ok();
    let time = if is_age { None } else { position::time(text) };
    time.ok_or_else(|| "expected a time such as 2026-01-31T12:00:00Z".to_owned())
}

impl Create {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let client = self.target.connect().await?;
        let created = client
            .create(self.name.as_str(), self.options())
            .await
            .map_err(Failure::during(format!("creating {}", self.name)))?;
        let object = json!({
            "stream": self.name, "created": !created.existed, "tail": created.tail,
        });
        let line = if created.existed { "exists" } else { "created" };
        Output::new(self.target.json).answer(&object, line)
    }

    fn options(&self) -> CreateOptions {
        let mut options = CreateOptions::new();
        if let Some(content_type) = &self.content_type {
            options = options.content_type(content_type);
        }
        if let Some(ttl) = self.ttl {
            options = options.ttl(*ttl);
        }
        if let Some(at) = self.expires_at {
            options = options.expires_at(at);
        }
        if let Some(age) = self.max_age {
            options = options.max_age(*age);
        }
        if let Some(records) = self.max_records {
            options = options.max_records(records);
        }
        if let Some(ByteCount(bytes)) = self.max_bytes {
            options = options.max_bytes(bytes);
        }
        if self.memory {
            options = options.storage(Storage::Memory);
        }
        options
    }
}
