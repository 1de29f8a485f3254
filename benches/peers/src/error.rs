//! What can go wrong: a part that is missing, a server that does not do as told, a record that is not right.
//!
//! Each ends the run. A figure of a run in which something was wrong is worth nothing.

use std::io;

/// Why the run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something that the run needs is not on this machine.
    #[error("{what} is missing: {how}")]
    Missing {
        /// What.
        what: &'static str,
        /// How to get it.
        how: String,
    },
    /// A program that was started failed.
    #[error("{what} failed: {said}")]
    Failed {
        /// The program, or what it was to do.
        what: String,
        /// What it said.
        said: String,
    },
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Its words.
        source: io::Error,
    },
    /// The data directory is in memory.
    #[error(
        "{path} is on {kind}, where a sync costs nothing: choose a directory on a disk with --dir"
    )]
    NotOnDisk {
        /// The directory.
        path: String,
        /// Its file system.
        kind: String,
    },
    /// A server ended the connection.
    #[error("the server closed the connection")]
    Closed,
    /// A server refused a request, or sent what its protocol does not have.
    #[error("the server said: {said}")]
    Said {
        /// Its words, or what was expected instead.
        said: String,
    },
    /// The server confirmed an append that was not the next one of its stream.
    #[error("stream {stream}: a confirm for {have}, expected {expected}")]
    Confirm {
        /// The stream.
        stream: u32,
        /// Which append was confirmed.
        have: u64,
        /// Which is the next.
        expected: u64,
    },
    /// A record read back is not the one that belongs there.
    #[error("stream {stream}: the record at {sequence} is not the one that was appended")]
    Record {
        /// The stream.
        stream: u32,
        /// The place.
        sequence: u64,
    },
    /// A stream has more or fewer records than were confirmed.
    #[error("stream {stream}: holds {have} records, {expected} were confirmed")]
    Count {
        /// The stream.
        stream: u32,
        /// Records it has.
        have: u64,
        /// Records it must have.
        expected: u64,
    },
    /// Something took much longer than it may.
    #[error("{what} took too long")]
    TooLong {
        /// What.
        what: &'static str,
    },
    /// One of the above, in a workload.
    #[error("{system}, {workload}: {source}")]
    In {
        /// The system that was loaded.
        system: &'static str,
        /// With what.
        workload: &'static str,
        /// What went wrong.
        source: Box<Error>,
    },
    /// By a signal.
    #[error("stopped by a signal; no file was written")]
    Stopped,
    /// Streamkeeper's client failed.
    #[error("the client: {0}")]
    Client(#[from] streamkeeper_client::Error),
    /// A task of the load ended in a panic.
    #[error("a task of the load: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// For `map_err` at a call to the operating system.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// What a server said, as text.
    pub(crate) fn said(said: &[u8]) -> Self {
        Self::Said {
            said: String::from_utf8_lossy(said).into_owned(),
        }
    }
}
