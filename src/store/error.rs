//! What can go wrong with the files, and its one fate: reading is refused, or the store stops.

use std::path::PathBuf;

use super::codec::CodecError;
use super::segments;

/// A failure of `journal.log`, `store.redb` or a segment.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// redb reported a failure.
    #[error("{file}: {source}")]
    Redb {
        /// Which file.
        file: &'static str,
        /// What redb says.
        #[source]
        source: Box<redb::Error>,
    },
    /// The system reported a failure.
    #[error("{file}: {source}")]
    Io {
        /// Which file.
        file: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// There is no room for what was to be written, and nothing of it is left behind: it may be tried again.
    #[error("{file}: no room on the disk: {source}")]
    Full {
        /// Which file.
        file: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// There is no room to compact a data directory in.
    #[error(
        "there is no room to compact in: {source}. Start the broker and delete streams, for which it keeps room, or make room"
    )]
    NoRoomToCompact {
        /// What failed.
        #[source]
        source: Box<StoreError>,
    },
    /// The system could not make durable what was written: what of it is on the disk is not known, and trying again would not tell.
    #[error("{file} was not made durable: {source}")]
    NotSynced {
        /// Which file.
        file: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what was made durable.
    #[error("{file} is damaged: {reason}: put the data directory back from a copy")]
    Damaged {
        /// Which file.
        file: &'static str,
        /// What does not match.
        reason: String,
    },
    /// A row does not decode.
    #[error("{file}: a row is corrupt: {source}")]
    Corrupt {
        /// Which file.
        file: &'static str,
        /// What does not match.
        #[source]
        source: CodecError,
    },
    /// A row holds runs that do not decode.
    #[error("{file}: the chunk of stream {stream} at offset {offset} is corrupt: {reason}")]
    CorruptChunk {
        /// Which file.
        file: &'static str,
        /// Stream id.
        stream: u64,
        /// First offset of the chunk.
        offset: u64,
        /// What does not match.
        reason: String,
    },
    /// A segment that the store points to is not there. To a reader that may be because its chunks were moved or removed since it
    /// looked them up: it looks again.
    #[error("chunks-{number:06}.seg is missing")]
    SegmentGone {
        /// Which.
        number: u32,
    },
    /// A row is missing that another one names.
    #[error("{file}: {what} is missing")]
    Missing {
        /// Which file.
        file: &'static str,
        /// What was looked for.
        what: String,
    },
    /// A thread of the store panicked: a bug, or a mangled file that redb does not survive.
    #[error("the {thread} panicked")]
    Panicked {
        /// Which thread.
        thread: &'static str,
    },
    /// The redb file failed, and could not be opened again yet.
    #[error("store.redb is being opened again")]
    Reopening,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Another process has the data directory open.
    #[error("{} is in use by another streamkeeper: stop that one, or give this one another --data directory", path.display())]
    Locked {
        /// The file that is locked.
        path: PathBuf,
    },
    /// The data directory was being restored to, and that did not come to its end.
    #[error(
        "{} holds half of a backup: its restore did not finish. Empty the directory and restore again",
        path.display()
    )]
    RestoreUnfinished {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory cannot be used.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// True of an error that says that the disk, a quota or a limit on the size of files is used up.
pub(super) fn is_lack_of_room(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

impl StoreError {
    /// True if nothing but room was missing.
    pub(super) fn is_lack_of_room(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io { source, .. } => is_lack_of_room(source),
            Self::Redb { source, .. } => match &**source {
                redb::Error::Io(source) => is_lack_of_room(source),
                _ => false,
            },
            _ => false,
        }
    }

    /// What it means that a sync of `file` failed, for whatever reason: room for it may have been missing, but room does not mend it.
    pub(super) fn not_synced(file: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::NotSynced { file, source }
    }

    /// True if a segment is not what was written: trying again does not help, and whatever does not lie in it is as good as before.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::CorruptChunk { .. } | Self::SegmentGone { .. } => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::UnexpectedEof,
            _ => false,
        }
    }

    /// True if a chunk could not be read, be it damaged or the disk at fault: others may be.
    pub(super) fn is_unreadable_chunk(&self) -> bool {
        let of_a_segment = matches!(self, Self::Io { file, .. } if *file == segments::FILE);
        of_a_segment || self.is_damage()
    }

    /// True if the handle of the redb file is of no more use: an operation before this one failed, or it is just being opened again.
    pub(super) fn is_stale_handle(&self) -> bool {
        match self {
            Self::Reopening => true,
            Self::Redb { source, .. } => matches!(
                &**source,
                redb::Error::PreviousIo | redb::Error::DatabaseClosed
            ),
            _ => false,
        }
    }

    /// Turns a redb failure on `file` into ours.
    pub(crate) fn redb(file: &'static str) -> impl Fn(redb::Error) -> Self {
        move |source| Self::Redb {
            file,
            source: Box::new(source),
        }
    }
}
