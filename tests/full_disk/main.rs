//! The real binary on a file system that takes no more: it refuses, serves what it has, says so, and goes on by itself.
//!
//! - `volume`: a small file system of its own, filled by a stranger or by the broker itself (`ENOSPC`).
//! - `limit`: a limit on the size of files, under which the same writes fail with `EFBIG`.
//! - `server`: the broker, and what is asked of it.

mod limit;
mod server;
mod volume;
