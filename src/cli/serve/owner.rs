//! A note in the data directory that names the process which has it open.
//!
//! Only for the error message of a second broker on the same data: what keeps it out is the lock on the files. A note
//! that a crash left behind misleads nobody, for it is read only when the lock is held.

use std::fs;
use std::path::{Path, PathBuf};

/// The note; removed when dropped.
#[derive(Debug)]
pub(super) struct Owner {
    path: PathBuf,
}

impl Owner {
    /// Leaves the note. Call with the data locked.
    pub(super) fn claim(data: &Path) -> Self {
        let path = path(data);
        if let Err(error) = fs::write(&path, format!("{}\n", std::process::id())) {
            tracing::debug!(%error, path = %path.display(), "no note of the process is left");
        }
        Self { path }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the note of the process stays");
        }
    }
}

/// The process that has `data` open, as far as it left a note.
pub(super) fn named(data: &Path) -> Option<u32> {
    fs::read_to_string(path(data)).ok()?.trim().parse().ok()
}

fn path(data: &Path) -> PathBuf {
    data.join("streamkeeper.pid")
}
