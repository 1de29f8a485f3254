//! What the run needs of the machine: a directory on a disk, and enough open files.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::syncfs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::error::Error;

/// A fresh directory in `parent`, or beside this crate, that is removed when it is dropped.
pub(crate) fn directory(parent: Option<&Path>) -> Result<TempDir, Error> {
    let parent = parent.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")));
    let parent = parent.canonicalize().map_err(Error::io("finding --dir"))?;
    let kind = file_system(&parent).unwrap_or_default();
    if ["tmpfs", "ramfs"].contains(&kind.as_str()) {
        return Err(Error::NotOnDisk {
            path: parent.display().to_string(),
            kind,
        });
    }
    let made = tempfile::Builder::new().prefix(".data-").tempdir_in(parent);
    made.map_err(Error::io("making a data directory"))
}

/// Waits until nothing of what was written or removed before is still on its way to the disk of `directory`: the next
/// measurement must not pay for the last one.
pub(crate) fn settle(directory: &Path) -> Result<(), Error> {
    let directory = File::open(directory).map_err(Error::io("opening the data directory"))?;
    syncfs(directory).map_err(|errno| Error::io("syncing the file system")(errno.into()))
}

/// The kind of file system that holds `path`, by the longest mount point that leads to it.
pub(crate) fn file_system(path: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        Some((PathBuf::from(fields.next()?), fields.next()?.to_owned()))
    };
    let leading = mounts
        .lines()
        .filter_map(mount)
        .filter(|(at, _)| path.starts_with(at));
    leading
        .max_by_key(|(at, _)| at.as_os_str().len())
        .map(|(_, kind)| kind)
}

/// Raises the limit of open files, which the servers inherit, to what so many subscribers need.
pub(crate) fn allow_open_files(subscribers: u64) -> Result<(), Error> {
    // NATS opens several files for each of its streams.
    let needed = subscribers + 8192;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let wanted = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)
        .map_err(|errno| Error::io("raising ulimit -n")(errno.into()))
}
