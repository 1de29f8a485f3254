//! A data directory that is looked at and never written to: what the engine writes while it opens the files stays in memory.
//!
//! For whoever examines or copies a directory that no broker serves: opening the engine's files the usual way may repair them, sync
//! them and remove what a crash left, and a damaged directory is evidence. Here a write goes to an [`Overlay`], and a removal does
//! nothing.
//!
//! Invariants: no byte, length or name on disk changes. `store.redb` is locked as a broker locks it, so neither runs beside the other.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use redb::StorageBackend;

use super::files::{self, Directory, Files};
use super::overlay::Overlay;

/// See the module.
#[derive(Clone, Debug)]
pub struct Looking {
    directory: Directory,
}

impl Looking {
    /// At the directory at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            directory: Directory::new(path),
        }
    }
}

impl Files for Looking {
    fn place(&self) -> &Path {
        self.directory.place()
    }

    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let path = self.place().join(name);
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Box::new(Overlay::over(files::backend(file)?)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            Err(_) => Ok(Box::new(Overlay::over_read_only(self.open(name)?)?)),
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.directory.open(name)
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.directory.names()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.directory.length(name)
    }
}
