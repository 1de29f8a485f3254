//! `streamkeeper stat`.

use std::collections::BTreeMap;

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
            output.object(&facts.iter().cloned().collect::<BTreeMap<_, _>>())?;
        } else {
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

/// Everything known, in the order in which people are shown it.
fn facts(name: &str, status: &StreamStatus) -> [(&'static str, Value); 18] {
    let position = |offset, byte| {
        Position {
            offset: Offset(offset),
            byte,
        }
        .to_string()
    };
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64());
    let storage = match status.storage {
        Storage::Durable => "durable",
        Storage::Memory => "memory",
    };
    [
        ("stream", json!(name)),
        ("content_type", json!(status.content_type)),
        ("storage", json!(storage)),
        ("closed", json!(status.closed)),
        (
            "records",
            json!(status.tail.saturating_sub(status.earliest)),
        ),
        (
            "bytes",
            json!(status.tail_byte.saturating_sub(status.earliest_byte)),
        ),
        ("earliest", json!(status.earliest)),
        (
            "earliest_text",
            json!(position(status.earliest, status.earliest_byte)),
        ),
        ("tail", json!(status.tail)),
        ("tail_text", json!(position(status.tail, status.tail_byte))),
        ("created_at", json!(show_time(status.created_at))),
        (
            "last_append_at",
            json!(status.last_append_at.map(show_time)),
        ),
        (
            "last_seq",
            json!(
                status
                    .last_seq
                    .as_ref()
                    .map(|seq| String::from_utf8_lossy(seq))
            ),
        ),
        ("ttl_seconds", json!(seconds(status.ttl))),
        ("expires_at", json!(status.expires_at.map(show_time))),
        ("max_age_seconds", json!(seconds(status.max_age))),
        ("max_records", json!(status.max_records)),
        ("max_bytes", json!(status.max_bytes)),
    ]
}
