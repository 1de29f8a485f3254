//! Reading from the disk and not from memory: files are taken out of the system's page cache.
//!
//! Only what is on the disk already can go, so the files are synced first. It takes `dd` of GNU coreutils, which asks the kernel
//! on our behalf: the call itself has no safe form in the standard library.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::failure::Failure;

/// Takes the files of a directory out of the page cache.
pub(super) fn forget(directory: &Path) -> Result<(), Failure> {
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(failed)?;
            forget_file(&path)?;
        }
    }
    Ok(())
}

fn forget_file(path: &Path) -> Result<(), Failure> {
    let mut from = std::ffi::OsString::from("if=");
    from.push(path);
    // No block is copied; with none, `nocache` is about the whole file.
    let ran = Command::new("dd")
        .arg(from)
        .args(["iflag=nocache", "count=0", "status=none"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match ran {
        Ok(status) if status.success() => Ok(()),
        _ => Err(failed("it takes `dd` of GNU coreutils")),
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::io("taking files out of the page cache", error)
}
