//! The bytes of a backup.
//!
//! ```text
//! "SKBACKUP" | version:u32 | frames, each  kind:u8 | length:u32 | checksum:u32 | `length` bytes | checksum:u32
//!
//!  1 facts      watermark:u64 | next stream id:u64 | newest commit time:u64            the first frame
//!  2 row        number:u64 | a row of the journal
//!  3 stream     id:u64 | its state, with its name
//!  4 producer   stream id:u64 | length:u32 | producer id | its state
//!  5 due        stream id:u64 | time:u64
//!  6 untrimmed  stream id:u64
//!  7 chunk      stream id:u64 | first offset:u64 | runs
//!  8 end        how many of each kind before it, 1 to 7: u64 each | bytes of chunks:u64   the last frame
//!  9 aborted    why, as text                                                             instead of an end
//! ```
//!
//! Big-endian. Rows, states and runs are those of the store, under its own checksums and versions. Each checksum is a CRC-32C over all
//! bytes before it from the front of the file on, so that frames cannot be lost, doubled or exchanged either; the one in front of
//! a body makes its length good before any room is made for it.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::super::error::StoreError;

const MAGIC: [u8; 8] = *b"SKBACKUP";

const VERSION: u32 = 1;

/// Kind and length.
const HEAD_BYTES: usize = 5;

/// The most room that is made before bytes come: a length may be right and its bytes not there.
const ROOM_BYTES: usize = 1 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Facts = 1,
    Row = 2,
    Stream = 3,
    Producer = 4,
    Due = 5,
    Untrimmed = 6,
    Chunk = 7,
    End = 8,
    Aborted = 9,
}

/// Kinds that are counted.
const COUNTED: usize = 7;

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let kinds = [
            Self::Facts,
            Self::Row,
            Self::Stream,
            Self::Producer,
            Self::Due,
            Self::Untrimmed,
            Self::Chunk,
            Self::End,
            Self::Aborted,
        ];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    kinds: [u64; COUNTED],
    /// Bytes of chunks.
    pub chunk_bytes: u64,
}

impl Counts {
    fn note(&mut self, kind: Kind, bytes: usize) {
        if let Some(count) = self.kinds.get_mut(kind as usize - 1) {
            *count += 1;
        }
        if kind == Kind::Chunk {
            self.chunk_bytes += bytes as u64;
        }
    }

    fn of(&self, kind: Kind) -> u64 {
        self.kinds.get(kind as usize - 1).copied().unwrap_or(0)
    }

    /// Streams that were in the store.
    pub fn streams(&self) -> u64 {
        self.of(Kind::Stream)
    }

    /// Chunks.
    pub fn chunks(&self) -> u64 {
        self.of(Kind::Chunk)
    }

    /// Rows of the journal.
    pub fn rows(&self) -> u64 {
        self.of(Kind::Row)
    }

    fn encode(&self) -> Vec<u8> {
        let all = self.kinds.iter().chain([&self.chunk_bytes]);
        all.flat_map(|count| count.to_be_bytes()).collect()
    }
}

/// Why there is no backup, or none can be put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read, or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backup cannot be written to where it shall be.
    #[error("writing the backup failed: {0}")]
    Output(#[source] io::Error),
    /// The backup cannot be read.
    #[error("reading the backup failed: {0}")]
    Input(#[source] io::Error),
    /// These bytes are no backup that this build knows.
    #[error("not a backup: {what}")]
    Foreign {
        /// What is wrong.
        what: String,
    },
    /// The backup ends before its end.
    #[error("the backup is cut off: it does not come to its end")]
    CutOff,
    /// The backup is not what was written.
    #[error("the backup is damaged: {what}")]
    Damaged {
        /// What does not match.
        what: String,
    },
    /// Whoever wrote the backup gave up.
    #[error("the backup was given up by its broker: {reason}")]
    Aborted {
        /// Why.
        reason: String,
    },
    /// The directory to restore to is in use.
    #[error("{} is not empty: a backup is restored into an empty directory only", path.display())]
    NotEmpty {
        /// Which.
        path: std::path::PathBuf,
    },
}

/// Writes frames.
pub(super) struct FrameWriter<'a> {
    to: &'a mut dyn Write,
    chain: u32,
    begun: bool,
    counts: Counts,
}

impl<'a> FrameWriter<'a> {
    pub fn new(to: &'a mut dyn Write) -> Self {
        Self {
            to,
            chain: 0,
            begun: false,
            counts: Counts::default(),
        }
    }

    /// Writes one frame, whose body is `parts` back to back.
    pub fn frame(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<(), BackupError> {
        if !self.begun {
            self.begun = true;
            self.put(&MAGIC)?;
            self.put(&VERSION.to_be_bytes())?;
        }
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(bytes).map_err(|_too_long| BackupError::Damaged {
            what: "something has more than 4 GiB".to_owned(),
        })?;
        self.put(&[kind as u8])?;
        self.put(&length.to_be_bytes())?;
        self.put(&self.chain.to_be_bytes())?;
        for part in parts {
            self.put(part)?;
        }
        self.put(&self.chain.to_be_bytes())?;
        self.counts.note(kind, body_of_chunk(bytes));
        Ok(())
    }

    /// Writes the last frame, and everything that waits.
    pub fn end(&mut self) -> Result<Counts, BackupError> {
        let counts = self.counts;
        self.frame(Kind::End, &[&counts.encode()])?;
        self.finish()?;
        Ok(counts)
    }

    /// Says that there will be no end.
    pub fn aborted(&mut self, reason: &str) -> Result<(), BackupError> {
        self.frame(Kind::Aborted, &[reason.as_bytes()])?;
        self.finish()
    }

    /// Hands on everything that waits.
    pub fn finish(&mut self) -> Result<(), BackupError> {
        self.to.flush().map_err(BackupError::Output)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.chain = crc32c::crc32c_append(self.chain, bytes);
        self.to.write_all(bytes).map_err(BackupError::Output)
    }
}

/// Bytes of runs in the body of a chunk's frame.
fn body_of_chunk(bytes: usize) -> usize {
    bytes.saturating_sub(16)
}

/// A frame, checked.
#[derive(Debug)]
pub(super) struct Frame {
    pub kind: Kind,
    pub body: Bytes,
}

/// Reads frames.
pub(super) struct FrameReader<'a> {
    from: &'a mut dyn Read,
    chain: u32,
    counts: Counts,
    ended: bool,
}

impl<'a> FrameReader<'a> {
    /// Reads the front of the file.
    pub fn new(from: &'a mut dyn Read) -> Result<Self, BackupError> {
        let mut reader = Self {
            from,
            chain: 0,
            counts: Counts::default(),
            ended: false,
        };
        let foreign = |what: &str| BackupError::Foreign {
            what: what.to_owned(),
        };
        let magic = reader.take(MAGIC.len())?;
        if magic != MAGIC {
            return Err(foreign("it does not begin as one"));
        }
        let version = number(&mut reader.take(4)?.as_slice(), 4)?;
        if version != u64::from(VERSION) {
            return Err(foreign(&format!(
                "its version is {version}, and this build knows {VERSION}"
            )));
        }
        Ok(reader)
    }

    /// The next frame; the end frame comes as well, and after it nothing.
    ///
    /// # Errors
    /// If it is not what was written, or the file goes on behind the end, or ends before it.
    pub fn next(&mut self) -> Result<Option<Frame>, BackupError> {
        if self.ended {
            return self.nothing_follows();
        }
        let head = self.take(HEAD_BYTES)?;
        self.compare()?;
        let (kind, mut length) = head.split_at_checked(1).ok_or(BackupError::CutOff)?;
        let kind = kind.first().copied().unwrap_or(0);
        let length = usize::try_from(number(&mut length, 4)?).unwrap_or(usize::MAX);
        let body = Bytes::from(self.take(length)?);
        self.compare()?;
        let kind =
            Kind::of(kind).ok_or_else(|| damaged(format!("frame kind {kind} is unknown")))?;
        match kind {
            Kind::Aborted => {
                let reason = String::from_utf8_lossy(&body).into_owned();
                return Err(BackupError::Aborted { reason });
            }
            Kind::End => {
                if body != self.counts.encode() {
                    return Err(damaged("it does not hold what its end says".to_owned()));
                }
                self.ended = true;
            }
            _ => self.counts.note(kind, body_of_chunk(body.len())),
        }
        Ok(Some(Frame { kind, body }))
    }

    /// What was read.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn nothing_follows(&mut self) -> Result<Option<Frame>, BackupError> {
        let mut more = Vec::new();
        let rest = Read::take(&mut *self.from, 1).read_to_end(&mut more);
        match rest.map_err(BackupError::Input)? {
            0 => Ok(None),
            _ => Err(damaged("bytes follow its end".to_owned())),
        }
    }

    fn compare(&mut self) -> Result<(), BackupError> {
        let right = self.chain.to_be_bytes();
        if self.take(4)? == right {
            return Ok(());
        }
        Err(damaged("a frame does not match its checksum".to_owned()))
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::with_capacity(length.min(ROOM_BYTES));
        let limit = length as u64;
        let read = Read::take(&mut *self.from, limit).read_to_end(&mut bytes);
        if read.map_err(BackupError::Input)? < length {
            return Err(BackupError::CutOff);
        }
        self.chain = crc32c::crc32c_append(self.chain, &bytes);
        Ok(bytes)
    }
}

pub(super) fn damaged(what: String) -> BackupError {
    BackupError::Damaged { what }
}

/// Splits a number of `bytes` bytes off the front of `body`.
pub(super) fn number(body: &mut &[u8], bytes: usize) -> Result<u64, BackupError> {
    let (number, rest) = body
        .split_at_checked(bytes)
        .ok_or_else(|| damaged("a frame is too short".to_owned()))?;
    *body = rest;
    Ok(number
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = FrameWriter::new(&mut bytes);
        writer.frame(Kind::Facts, &[&[0; 24]]).unwrap();
        writer.frame(Kind::Chunk, &[&[7; 16], b"runs"]).unwrap();
        writer.frame(Kind::Chunk, &[&[8; 16], b"other"]).unwrap();
        assert_eq!(writer.end().unwrap().chunk_bytes, 9);
        bytes
    }

    fn read(mut bytes: &[u8]) -> Result<Counts, BackupError> {
        let mut reader = FrameReader::new(&mut bytes)?;
        while reader.next()?.is_some() {}
        Ok(reader.counts())
    }

    #[test]
    fn a_backup_reads_back_as_written() {
        let counts = read(&backup()).unwrap();
        assert_eq!((counts.chunks(), counts.chunk_bytes), (2, 9));
    }

    #[test]
    fn a_backup_with_any_bit_flipped_is_refused() {
        let good = backup();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            *bad.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            assert!(read(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_backup_cut_off_or_gone_on_with_anywhere_is_refused() {
        let mut good = backup();
        for length in 0..good.len() {
            let cut = good.get(..length).unwrap();
            assert!(read(cut).is_err(), "cut to {length}");
        }
        good.push(0);
        assert!(read(&good).is_err());
    }

    #[test]
    fn a_backup_that_was_given_up_says_why() {
        let mut bytes = Vec::new();
        let mut writer = FrameWriter::new(&mut bytes);
        writer.frame(Kind::Facts, &[&[0; 24]]).unwrap();
        writer.aborted("a bad disk").unwrap();
        let refused = read(&bytes).map(drop).unwrap_err();
        assert!(refused.to_string().contains("a bad disk"), "{refused}");
    }
}
