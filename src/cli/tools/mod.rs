//! The tools for the data itself, one file each: `check`, `backup`, `restore`, `compact`.
//!
//! Each works on a data directory that no broker has open, and those that can also on a running broker, through its HTTP port.

pub(super) mod backup;
pub(super) mod check;
pub(super) mod compact;
mod remote;
pub(super) mod restore;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::failure::{Code, Failure};
use crate::store::backup::BackupError;
use crate::store::{Directory, Files, StoreError};

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

impl Data {
    /// Its files, for what writes to them.
    fn files(&self) -> Arc<dyn Files> {
        Arc::new(Directory::new(&self.path))
    }
}

/// There is no backup, or it could not be put back.
fn not_backed_up(error: &BackupError) -> Failure {
    match error {
        BackupError::Store(error) => not_done("no backup", error),
        // What reads our stdout may say itself why it ended; for a backup that is a failure all the same.
        other => Failure::Other {
            message: other.to_string(),
            code: Code::Broken,
        },
    }
}

/// A tool could not do its work.
fn not_done(what: &str, error: &StoreError) -> Failure {
    let message = match error {
        StoreError::Locked { path } => format!(
            "{what}: {} is in use by a running broker: stop it, or (check and backup) ask it with --url http://HOST:PORT",
            path.display()
        ),
        other => format!("{what}: {other}"),
    };
    Failure::Other {
        message,
        code: Code::Usage,
    }
}
