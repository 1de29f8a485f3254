//! `streamkeeper stat`.

use clap::Args;
use serde_json::{Value, json};
use streamkeeper_client::{Storage, StreamStatus};

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::position::show_time;
use crate::cli::target::Target;
use crate::types::{Offset, Position};

/// Show what the broker knows of a stream
#[derive(Debug, Args)]
pub(in crate::cli) struct Stat {
    /// Name of the stream
    name: String,

    #[command(flatten)]
    target: Target,
}

impl Stat {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let client = self.target.connect().await?;
        let during = Failure::during(format!("looking at {}", self.name));
        let status = client.stat(self.name.as_str()).await.map_err(during)?;
        let mut output = Output::new(self.target.json);
        let facts = facts(&self.name, &status);
        if output.is_json() {
            output.object(&facts)?;
        } else if let Value::Object(facts) = facts {
            for (name, value) in facts.iter().filter(|(_, value)| !value.is_null()) {
                let name = name.replace('_', " ");
                match value {
                    Value::String(text) => output.line(format_args!("{name:16} {text}"))?,
                    other => output.line(format_args!("{name:16} {other}"))?,
                }
            }
        }
        output.flush()
    }
}

fn facts(name: &str, status: &StreamStatus) -> Value {
    let position = |offset, byte| {
        Position {
            offset: Offset(offset),
            byte,
        }
        .to_string()
    };
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "stream": name,
        "content_type": status.content_type,
        "storage": match status.storage {
            Storage::Durable => "durable",
            Storage::Memory => "memory",
        },
        "closed": status.closed,
        "records": status.tail.saturating_sub(status.earliest),
        "bytes": status.tail_byte.saturating_sub(status.earliest_byte),
        "earliest": status.earliest,
        "earliest_text": position(status.earliest, status.earliest_byte),
        "tail": status.tail,
        "tail_text": position(status.tail, status.tail_byte),
        "created_at": show_time(status.created_at),
        "last_append_at": status.last_append_at.map(show_time),
        "last_seq": status.last_seq.as_ref().map(|seq| String::from_utf8_lossy(seq)),
        "ttl_seconds": seconds(status.ttl),
        "expires_at": status.expires_at.map(show_time),
        "max_age_seconds": seconds(status.max_age),
        "max_records": status.max_records,
        "max_bytes": status.max_bytes,
    })
}
