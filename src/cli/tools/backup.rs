//! `streamkeeper backup`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::remote::Remote;
use super::{Data, not_backed_up};
use crate::cli::failure::Failure;
use crate::store::backup::{self, BackupError, Counts};

/// Copy everything that is stored to a file or to stdout
///
/// With --url a broker that serves is asked, and goes on serving; everything it confirmed before is in the backup.
#[derive(Debug, Args)]
pub(in crate::cli) struct Backup {
    #[command(flatten)]
    data: Data,

    #[command(flatten)]
    remote: Remote,

    /// Write to this file, which is there under its name only once it is whole; else to stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Backup {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let counts = match self.output.clone() {
            Some(path) => self.into_file(&path)?,
            None if io::stdout().is_terminal() => {
                return Err(Failure::usage(
                    "a backup is no text: name a file with --output, or lead stdout somewhere",
                ));
            }
            None => self.write(io::stdout())?.0,
        };
        let said = format!(
            "backed up {} streams, {} chunks of {} bytes, {} journal rows",
            counts.streams(),
            counts.chunks(),
            counts.chunk_bytes,
            counts.rows()
        );
        // For people; the backup is there without it.
        writeln!(io::stderr().lock(), "{said}").ok();
        Ok(())
    }

    fn into_file(self, path: &Path) -> Result<Counts, Failure> {
        let failed = |error| not_backed_up(&BackupError::Output(error));
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let written = self.write(File::create(&part).map_err(failed)?);
        if written.is_err() {
            // What is left of it is no backup; a file that stays is told so by `restore`.
            std::fs::remove_file(&part).ok();
        }
        let (counts, file) = written?;
        let finish = || -> io::Result<()> {
            file.sync_all()?;
            std::fs::rename(&part, path)?;
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        finish().map_err(failed)?;
        Ok(counts)
    }

    fn write<W: Write + Send + 'static>(self, to: W) -> Result<(Counts, W), Failure> {
        let mut to = BufWriter::with_capacity(256 << 10, to);
        let written = match &self.remote.url {
            Some(url) => self.remote.ask(url, "backup", move |from| {
                let counts = backup::copy(&mut BufReader::new(from), &mut to)?;
                Ok((counts, to))
            })?,
            None => backup::offline(&self.data.path, &mut to).map(|counts| (counts, to)),
        };
        let (counts, to) = written.map_err(|error: BackupError| not_backed_up(&error))?;
        let to = to
            .into_inner()
            .map_err(|error| not_backed_up(&BackupError::Output(error.into_error())))?;
        Ok((counts, to))
    }
}
