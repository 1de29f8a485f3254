//! The log: `tracing` to stderr, as text for people or JSON for collectors.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::fmt;

use crate::config::{Config, LogFormat};

/// Starts logging for the whole process.
pub(super) fn start(config: &Config) {
    let builder = fmt()
        .with_writer(io::stderr)
        .with_env_filter(config.log_level.filter());
    match config.log_format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
