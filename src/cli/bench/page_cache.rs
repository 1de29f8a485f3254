//! Reading from the disk and not from memory: files are taken out of the system's page cache.
//!
//! Only what is on the disk already can go, so the files are synced first. `posix_fadvise` does it for each file by itself: it takes no
//! rights but to read them, and leaves what others use in the cache.

use std::fs::File;
use std::path::Path;

use crate::cli::failure::Failure;

/// Takes the files of a directory out of the page cache.
pub(super) fn forget(directory: &Path) -> Result<(), Failure> {
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            forget_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

fn forget_file(path: &Path) -> std::io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    advise(&file)
}

#[cfg(target_os = "linux")]
fn advise(file: &File) -> std::io::Result<()> {
    use rustix::fs::{Advice, fadvise};
    // Without a length it is about the whole file.
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

#[cfg(not(target_os = "linux"))]
fn advise(_file: &File) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::io("taking files out of the page cache", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_forgotten_is_read_again_as_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, [7; 10_000]).expect("written");
        forget(directory.path()).expect("forgotten");
        assert_eq!(std::fs::read(&file).expect("there"), [7; 10_000]);
    }
}
