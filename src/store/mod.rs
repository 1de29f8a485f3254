//! What is on disk, and the threads that put it there.
//!
//! ```text
//!  write queues ─▶ committer ─▶ journal.log ──(rows)─▶ folder ─▶ store.redb
//!                     │ durable                                      │
//!                     └─▶ live views, hot tail ◀──── released ───────┘
//! ```
//!
//! - [`codec`]: the bytes of rows; pure.
//! - [`journal`]: frames in blocks written over in place. [`chunks`]: the redb file, and in `facts` what it says of itself.
//!   `redb_file`: its handle, opened anew after failures; `overlay`: a file that is read and not written to.
//!   [`segments`]: the bytes of chunks, which `compaction` brings together again. [`Files`]: where all of them are.
//! - `commit` and `committer`: what one group commit holds, and the thread that decides, commits, publishes and confirms.
//! - `folder`: the thread that moves journal rows into the store in bulk.
//! - `room`: what happens on a full disk; `reserve`: what is kept for that; `holes`: what dead chunks give back then.
//! - `recovery`: what start-up replays; `replaying`: how it says how far that is. `rewind`: what takes back a commit that the disk had no room for. `timers`: what runs by the clock.
//!
//! Invariants: durable, then published, then confirmed. A failed commit is sticky: nothing is confirmed after it until the
//! files are opened again. A fold's rows and its watermark commit together; journal rows go only after.

pub mod backup;
pub mod check;
pub mod chunks;
pub mod codec;
mod commit;
mod committer;
mod compaction;
mod error;
mod facts;
mod files;
mod fold;
mod folder;
mod forks;
mod holes;
pub mod journal;
mod local;
mod looking;
mod overlay;
mod pace;
mod publish;
mod recovery;
mod redb_file;
mod replaying;
mod reserve;
mod restored;
mod retention;
mod rewind;
mod room;
pub mod segments;
mod shared;
pub mod shrink;
mod slack;
mod snapshot;
mod stored_chunks;
mod timers;
mod unfolded;

pub use error::StoreError;
pub use files::{Directory, Files};
pub use local::{LocalOptions, LocalStore};
pub use looking::Looking;
pub use shared::Readiness;
pub(crate) use shared::touch_interval;
pub use snapshot::{Lease, Snapshot};
