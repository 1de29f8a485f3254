//! The note in a directory that is being restored to: as long as it lies there, the directory is not whole, and nobody opens it.

use super::error::StoreError;
use super::files::Files;

/// File name of the note.
pub const UNFINISHED: &str = "restore.unfinished";

/// Refuses a directory whose restore did not come to its end.
pub(super) fn refuse_unfinished(files: &dyn Files) -> Result<(), StoreError> {
    let path = files.place().to_owned();
    let names = match files.names() {
        Ok(names) => names,
        // A directory that is not there was not restored to.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StoreError::Directory { path, source }),
    };
    if names.iter().any(|name| name == UNFINISHED) {
        return Err(StoreError::RestoreUnfinished { path });
    }
    Ok(())
}
