//! Workloads run as commands of their own: the same that a person would type, so each can be repeated by itself.
//!
//! A process each, because a run leaves memory, threads and open files behind that the next one should not start with.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::Value;

use crate::cli::failure::Failure;

/// What all these runs are told.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Broker and output")]
pub(super) struct Told {
    /// Keep the data of the started brokers in fresh directories under DIR [default: the temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,

    /// More arguments of `serve` for the started brokers
    #[arg(last = true, value_name = "SERVE_ARGS")]
    serve_args: Vec<String>,
}

/// Runs `streamkeeper bench` with these arguments and gives its report.
pub(super) fn bench(arguments: &[String], told: &Told) -> Result<Value, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        let what = format!("streamkeeper bench {}", arguments.join(" "));
        Failure::io(&what, error)
    };
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let mut command = Command::new(program);
    command.arg("bench").args(arguments).arg("--json");
    if let Some(dir) = &told.dir {
        command.arg("--dir").arg(dir);
    }
    // Its progress and its errors go where ours go.
    command
        .arg("--")
        .args(&told.serve_args)
        .stderr(Stdio::inherit());
    let output = command.output().map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))
}

/// The number at a JSON pointer of a report.
pub(super) fn number(report: &Value, pointer: &str) -> Result<f64, Failure> {
    let found = report.pointer(pointer).and_then(Value::as_f64);
    found.ok_or_else(|| Failure::io("reading a report", format!("it has no number at {pointer}")))
}
