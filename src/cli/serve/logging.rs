//! The log: `tracing` to stderr, as text for people or JSON for collectors.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

use crate::config::{Config, LogFormat};

/// Starts logging for the whole process.
pub(super) fn start(config: &Config) {
    let wanted = registry().with(config.log_level.filter());
    let lines = fmt::layer().with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => wanted
            .with(lines.with_ansi(io::stderr().is_terminal()))
            .init(),
        LogFormat::Json => wanted.with(lines.json().flatten_event(true)).init(),
    }
}
