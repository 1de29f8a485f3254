//! What is on disk, and the threads that put it there.
//!
//! ```text
//!  write queues ─▶ committer ─▶ journal.log ──(rows)─▶ folder ─▶ store.redb
//!                     │ durable                                      │
//!                     └─▶ live views, hot tail ◀──── released ───────┘
//! ```
//!
//! - [`codec`]: the bytes of rows; pure.
//! - [`journal`]: frames in blocks written over in place. [`chunks`]: the redb file. [`segments`]: the bytes of chunks, which
//!   `compaction` brings together again.
//! - `commit` and `committer`: what one group commit holds, and the thread that decides, commits, publishes and confirms.
//! - `folder`: the thread that moves journal rows into the store in bulk.
//! - `recovery`: what start-up replays. `timers`: what runs by the clock.
//!
//! Invariants: durable, then published, then confirmed. A failed commit is sticky: nothing is confirmed after it until the
//! files are opened again. A fold's rows and its watermark commit together; journal rows go only after.

pub mod chunks;
pub mod codec;
mod commit;
mod committer;
mod compaction;
mod error;
mod fold;
mod folder;
mod forks;
pub mod journal;
mod local;
mod recovery;
mod retention;
pub mod segments;
mod shared;
mod stored_chunks;
mod timers;

use std::fs::File;
use std::path::Path;

use redb::{Builder, Database, DatabaseError};

pub use error::StoreError;
pub use local::{LocalOptions, LocalStore};
pub use shared::Readiness;
pub(crate) use shared::touch_interval;

/// Opens or creates one redb file of `directory`.
fn open_database(
    builder: &mut Builder,
    directory: &Path,
    file: &'static str,
) -> Result<Database, StoreError> {
    let path = directory.join(file);
    builder.create(&path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path },
        other => StoreError::redb(file)(other.into()),
    })
}

/// Creates `directory` if need be and makes its entry durable.
fn create_directory(directory: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Directory {
        path: directory.to_owned(),
        source,
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    sync_directory(parent)
}

/// Makes the entries of `directory` durable: a file's own fsync does not cover its name.
fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| StoreError::Directory {
            path: directory.to_owned(),
            source,
        })
}
