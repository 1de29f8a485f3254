//! The tools for the data itself, one file each: `check`, `backup`, `restore`, `compact`.
//!
//! Each works on a data directory that no broker has open, and those that can also on a running broker, through its HTTP port.

pub(super) mod check;

use std::path::PathBuf;

use clap::Args;

use super::failure::{Code, Failure};
use crate::store::StoreError;

/// The data directory to work on.
#[derive(Debug, Args)]
pub(super) struct Data {
    /// Data directory, of which no broker may be using the files
    #[arg(
        long = "data",
        value_name = "DIR",
        env = "STREAMKEEPER_DATA",
        default_value = "./streamkeeper-data"
    )]
    pub(super) path: PathBuf,
}

/// A tool could not do its work.
fn not_done(what: &str, error: &StoreError) -> Failure {
    let message = match error {
        StoreError::Locked { path } => format!(
            "{what}: {} is in use by a running broker: ask it with --url http://HOST:PORT, or stop it",
            path.display()
        ),
        other => format!("{what}: {other}"),
    };
    Failure::Other {
        message,
        code: Code::Usage,
    }
}
