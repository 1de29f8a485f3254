//! `streamkeeper restore`.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::PathBuf;

use clap::Args;

use super::{Data, not_backed_up};
use crate::cli::failure::Failure;
use crate::store::backup::{self, BackupError};

/// Make a data directory from a backup
///
/// The directory must be empty, or not be there. If the restore does not come to its end, the directory is of no use, and a broker does not open it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Restore {
    #[command(flatten)]
    data: Data,

    /// The backup; `-` is stdin
    #[arg(value_name = "FILE", default_value = "-")]
    from: PathBuf,
}

impl Restore {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let from: Box<dyn Read> = if self.from.as_os_str() == "-" {
            Box::new(io::stdin())
        } else {
            let file = File::open(&self.from);
            Box::new(file.map_err(|error| not_backed_up(&BackupError::Input(error)))?)
        };
        let mut from = BufReader::with_capacity(256 << 10, from);
        let counts = backup::restore(&self.data.files(), &mut from)
            .map_err(|error| not_backed_up(&error))?;
        let said = format!(
            "restored {} streams, {} chunks of {} bytes, {} journal rows to {}",
            counts.streams(),
            counts.chunks(),
            counts.chunk_bytes,
            counts.rows(),
            self.data.path.display()
        );
        // For people; it is done without it.
        writeln!(io::stderr().lock(), "{said}").ok();
        Ok(())
    }
}
