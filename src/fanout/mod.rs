//! From durable records to readers: positions that follow a stream.
//!
//! A [`Cursor`] is a position in one stream. It takes recent records from memory, encoded once and shared by all, and older
//! ones from the store; it joins the live tail only at exactly the durable tail. Its memory is constant: a reader that
//! lags holds a position, never data. [`Changes`](watch::StreamChanges) are notifications without records.

mod cursor;
mod lineage;
mod watch;

pub use crate::stream::Watcher;
pub use cursor::{Cursor, EndReason, Step};
pub(crate) use cursor::{blocking, loaded, read_fault, readable, slide_ttl};
pub use watch::{Bell, StreamChanges};
