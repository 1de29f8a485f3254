//! `journal.log`: every commit, in order, until the folder has moved it to the store.
//!
//! A file of blocks that is written over and over in place. Each commit is one [`frame`] with a checksum; where it goes is
//! for the [`ring`] to say. The file is reached through redb's `StorageBackend`, as the store's file is, so that
//! whatever stands in for a disk in tests stands in for both. Only the committer writes it.
//!
//! Why not redb: a transaction with one small row costs twice the time and three times the CPU of a write to a block that is there
//! already and its sync (`docs/performance.md`), and nothing that a B-tree offers is needed to read rows once, in order.
//!
//! Invariants:
//! - One commit is under way at a time, and the next one begins only when it is synced. So at most the last frame is torn, and
//!   it was not confirmed: it is taken for absent, and told (`ending`). A damaged frame with others behind it is an error, never skipped.
//! - Rows up to the store's watermark are dead, and their blocks are used again; rows past it are replayed.

mod ending;
pub mod frame;
mod progress;
pub mod ring;
mod survey;

use std::fmt;
use std::io;
use std::ops::Range;

use ::ring::rand::{SecureRandom, SystemRandom};
use bytes::Bytes;
use redb::StorageBackend;

use self::frame::{BLOCK, BLOCK_BYTES, FrameHeader, HEAD_BYTES, HEADER_BYTES, Salt};
use self::ring::Ring;
use super::error::{StoreError, is_lack_of_room};
use super::files::Files;

pub(super) use self::ending::LeftOut;
pub use self::progress::Progress;
pub(super) use self::survey::Surveyed;

/// File name within the data directory.
pub const FILE: &str = "journal.log";

/// The most bytes in a row, but for a single run that is larger: what a slow reader of one stream keeps in memory of the others.
pub const ROW_BYTES_MAX: usize = 65_536 - 512;

/// What a stream takes in memory, besides its records: its state, its queue and its view. Measured over 100,000 small ones.
const STREAM_BYTES: usize = 2 << 10;

/// How much a new part of the file is rounded up to. It is filled with zeros: a block that was written before is cheaper to sync
/// than one that the file system has to find.
const GROWTH_BYTES: u64 = 1 << 20;

/// Bytes handed to the file at a time.
const WRITE_BYTES: usize = 256 << 10;

/// A row that has been committed.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number.
    pub number: u64,
    /// Its encoded bytes.
    pub bytes: Bytes,
    /// Streams that are in memory because of it: it is the first of theirs that is not folded.
    pub streams: usize,
}

impl Row {
    /// A row as the journal has it.
    pub fn new(number: u64, bytes: Bytes) -> Self {
        Self {
            number,
            bytes,
            streams: 0,
        }
    }

    /// About what it holds in memory until it is folded, besides records that readers look at longer.
    pub fn bytes_in_memory(&self) -> usize {
        self.bytes.len() + self.streams * STREAM_BYTES
    }

    /// About what it takes in the file: exactly, if it is a commit of its own.
    pub fn bytes_in_file(&self) -> usize {
        self.bytes.len().next_multiple_of(BLOCK)
    }
}

/// The open journal.
pub struct Journal {
    file: Box<dyn StorageBackend>,
    salt: Salt,
    ring: Ring,
    next_row: u64,
    /// What goes to the file next: whole blocks, so that no write needs to read.
    buffer: Vec<u8>,
    left_out: Option<LeftOut>,
    /// How much a new part of the file is rounded up to.
    growth: u64,
    /// Up to here everything dead was given back.
    given_back: u64,
}

/// What is to be seen in the file.
#[derive(Debug, Default)]
struct Scan {
    /// Where frames begin, by their first rows. Dead ones are among them, and torn ones.
    frames: Vec<(u64, FrameHeader)>,
    /// Headers but for a bit, and the byte that has it.
    flipped: Vec<(u64, usize, FrameHeader)>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("next_row", &self.next_row)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

fn failed(source: io::Error) -> StoreError {
    StoreError::Io { file: FILE, source }
}

impl Journal {
    /// Opens or creates the journal among `files`. Whoever does so holds the lock of the store beside it.
    pub fn open(files: &dyn Files) -> Result<Self, StoreError> {
        Self::on(files.create(FILE).map_err(failed)?)
    }

    /// Opens or creates the journal in `file`.
    pub fn on(file: Box<dyn StorageBackend>) -> Result<Self, StoreError> {
        let length = file.len().map_err(failed)?;
        let salt = match read_head(&*file, length)? {
            Some(salt) => salt,
            // Before there is a head that is durable, the file does not grow past its block.
            None if length <= BLOCK_BYTES => create(&*file)?,
            None => return Err(damaged("its head does not match its checksum".to_owned())),
        };
        Ok(Self {
            ring: Ring::new(length - length % BLOCK_BYTES),
            file,
            salt,
            next_row: 1,
            buffer: Vec::new(),
            left_out: None,
            growth: GROWTH_BYTES,
            given_back: 0,
        })
    }

    /// The number the next row gets.
    pub fn next_row(&self) -> u64 {
        self.next_row
    }

    /// The last frame, if the replay left it out since it is not whole.
    pub(super) fn left_out_last(&self) -> Option<&LeftOut> {
        self.left_out.as_ref()
    }

    /// Reads the rows past `watermark`, in order; commits go on behind them. Once, before the first commit. A last commit that is not
    /// whole is left out, and logged.
    ///
    /// # Errors
    /// If a commit is missing or damaged that is not the last one.
    pub fn replay(
        &mut self,
        watermark: u64,
        each: impl FnMut(Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.replay_telling(watermark, |_progress| {}, each)
    }

    /// As [`Journal::replay`]; tells how much there is before the first row, and after each commit how far it is.
    pub fn replay_telling(
        &mut self,
        watermark: u64,
        tell: impl FnMut(Progress),
        each: impl FnMut(Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let scan = self.scan()?;
        let rows = watermark.saturating_add(1)..u64::MAX;
        let found = self.walk(&scan, rows, tell, each)?;
        self.next_row = watermark.saturating_add(1);
        for (start, header) in &found {
            self.ring
                .found(header.last_row(), *start, header.blocks_bytes());
            self.next_row = header.last_row() + 1;
        }
        if let Some((start, header)) = found.last() {
            self.settle(*start, header.blocks_bytes())?;
        }
        self.left_out = self.left_out(&scan, self.next_row)?;
        if let Some(left_out) = &self.left_out {
            tracing::warn!("{left_out}");
        }
        Ok(())
    }

    /// Reads the rows past `watermark` again, up to the last one that was committed.
    pub fn read_again(
        &self,
        watermark: u64,
        each: impl FnMut(Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let first = watermark.saturating_add(1);
        let found = self.walk(&self.scan()?, first..self.next_row, |_| {}, each)?;
        let next = found.last().map_or(first, |(_, last)| last.last_row() + 1);
        if next < self.next_row {
            return Err(damaged(format!("row {next} cannot be read any more")));
        }
        Ok(())
    }

    /// Hands out those of these rows that are there whole, in order. Answers their frames.
    fn walk(
        &self,
        scan: &Scan,
        rows: Range<u64>,
        mut tell: impl FnMut(Progress),
        mut each: impl FnMut(Row) -> Result<(), StoreError>,
    ) -> Result<Vec<(u64, FrameHeader)>, StoreError> {
        let mut next = rows.start;
        let mut found = Vec::new();
        let with_rows = |(_, header): &&(u64, FrameHeader)| {
            header.last_row() >= rows.start && header.first_row < rows.end
        };
        let frames = scan.frames.iter().filter(with_rows);
        let mut progress = Progress::over(frames.clone().map(|(_, header)| header));
        tell(progress);
        for (start, header) in frames.copied() {
            if self.walk_frame(start, &header, next, &mut each)? {
                next = header.last_row() + 1;
                found.push((start, header));
            }
            progress.passed(&header);
            tell(progress);
        }
        Ok(found)
    }

    /// Hands out the rows of a frame from `next` on. Answers whether there are some, and the frame is whole.
    fn walk_frame(
        &self,
        start: u64,
        header: &FrameHeader,
        next: u64,
        each: &mut impl FnMut(Row) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        if header.last_row() < next {
            return Ok(false);
        }
        if header.first_row > next {
            return Err(damaged(format!(
                "row {next} is missing or does not match its checksum, and row {} follows it",
                header.first_row
            )));
        }
        let Some(rows) = self.read_rows(start, header)? else {
            return Ok(false);
        };
        for (number, bytes) in (header.first_row..).zip(rows) {
            if number >= next {
                each(Row::new(number, bytes))?;
            }
        }
        Ok(true)
    }

    /// Makes the last frame durable, which a process may have written and not lived, or not been able, to sync: what was replayed is
    /// shown, and must not vanish with the power. It is written again, since a system that failed to sync a page may take it for clean.
    fn settle(&self, start: u64, bytes: u64) -> Result<(), StoreError> {
        let frame = self.read(start, bytes)?;
        match self.file.write(start, &frame) {
            // A file system that moves what it writes may have no room: then the sync must do.
            Err(error) if !is_lack_of_room(&error) => return Err(failed(error)),
            _ => {}
        }
        self.file.sync_data().map_err(failed)
    }

    /// Makes `rows` durable, all or none, with one sync. Blocks of rows up to `watermark` may be written over.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there is no room: nothing of the rows is left, and it may be tried again. After any other error
    /// nothing may be assumed of the file until it is opened again.
    ///
    /// # Panics
    /// If the rows take 4 GiB together: the write queues are bounded far below.
    pub fn commit(&mut self, rows: &[Bytes], watermark: u64) -> Result<(), StoreError> {
        let lengths: Vec<u8> = rows
            .iter()
            .flat_map(|row| length(row).to_be_bytes())
            .collect();
        let body_bytes = lengths.len() + rows.iter().map(Bytes::len).sum::<usize>();
        let checksum = rows
            .iter()
            .fold(frame::checksum(&self.salt, &lengths), |checksum, row| {
                crc32c::crc32c_append(checksum, row)
            });
        let header = FrameHeader {
            first_row: self.next_row,
            rows: u32::try_from(rows.len()).expect("a commit has far fewer rows"),
            body_bytes: u32::try_from(body_bytes).expect("a commit is bounded far below 4 GiB"),
            body_checksum: checksum,
        };
        self.ring.release(watermark);
        let start = self.ring.place(header.blocks_bytes());
        let header_bytes = header.encode(&self.salt);
        let parts = [&header_bytes[..], &lengths];
        let parts = parts.into_iter().chain(rows.iter().map(Bytes::as_ref));
        if let Err(error) = self.grow(start + header.blocks_bytes()) {
            return Err(self.ungrown(error));
        }
        if let Err(error) = self.write(start, parts) {
            return Err(self.unwritten(start, error));
        }
        self.file.sync_data().map_err(failed)?;
        self.ring.take(header.last_row(), header.blocks_bytes());
        self.next_row = header.last_row() + 1;
        Ok(())
    }

    /// Lets the file grow by no more than it must from now on, or by as much as is good.
    pub fn grow_sparingly(&mut self, sparingly: bool) {
        self.growth = if sparingly { BLOCK_BYTES } else { GROWTH_BYTES };
    }

    /// Gives back what rows up to `watermark` take on the disk; the file, one of `files`, keeps its length. For a full disk: blocks that
    /// are there already are cheaper to write to.
    pub fn give_back(&mut self, files: &dyn Files, watermark: u64) {
        if self.given_back == watermark {
            return;
        }
        self.given_back = watermark;
        self.ring.release(watermark);
        if let Err(error) = files.punch(FILE, &self.ring.free()) {
            tracing::warn!(%error, file = FILE, "what is folded keeps its room");
        }
    }

    /// Gives all of the file back but its head. Every row must be folded.
    pub(super) fn empty(self) -> Result<(), StoreError> {
        self.file.set_len(BLOCK_BYTES).map_err(failed)?;
        self.file.sync_data().map_err(failed)
    }

    /// Makes sure that there is room for a commit of `bytes` bytes, as far as that can be told without one.
    ///
    /// # Errors
    /// As [`Journal::commit`].
    pub fn make_room(&mut self, bytes: u64, watermark: u64) -> Result<(), StoreError> {
        self.ring.release(watermark);
        let bytes = bytes.next_multiple_of(BLOCK_BYTES);
        let start = self.ring.place(bytes);
        if let Err(error) = self.grow(start + bytes) {
            return Err(self.ungrown(error));
        }
        let zeros = vec![0; WRITE_BYTES];
        for at in (start..start + bytes).step_by(WRITE_BYTES) {
            let now = usize::try_from(start + bytes - at).unwrap_or(usize::MAX);
            let now = zeros.get(..now).unwrap_or(&zeros);
            if let Err(error) = self.file.write(at, now) {
                return Err(self.unwritten(start, error));
            }
        }
        Ok(())
    }

    /// What it means that the file could not grow: no frame was begun, and what room was taken is given back. If even that needs room, it
    /// stays: nothing but zeros is there.
    fn ungrown(&self, source: io::Error) -> StoreError {
        if !is_lack_of_room(&source) {
            return failed(source);
        }
        match self.file.set_len(self.ring.end()) {
            Err(error) if !is_lack_of_room(&error) => failed(error),
            _ => StoreError::Full { file: FILE, source },
        }
    }

    /// What it means that a frame could not be written at `start`. It may be there all the same, but for its padding, and
    /// would come back with the next start: its header goes, durably, before anybody is told that it was refused.
    fn unwritten(&mut self, start: u64, source: io::Error) -> StoreError {
        self.buffer.clear();
        if !is_lack_of_room(&source) {
            return failed(source);
        }
        let mut header = [0; HEADER_BYTES];
        let mut remove = || {
            self.file.read(start, &mut header).map_err(failed)?;
            // Where nothing of it arrived there may still be a folded one, which does no harm.
            let its_own = FrameHeader::decode(&header, &self.salt)
                .filter(|header| header.first_row == self.next_row);
            let whole = match its_own {
                Some(header) => self.read_rows(start, &header)?.is_some(),
                None => false,
            };
            if whole {
                self.file.write(start, &[0; BLOCK]).map_err(failed)?;
                self.file.sync_data().map_err(failed)?;
            }
            Ok::<(), StoreError>(())
        };
        match remove() {
            Ok(()) => StoreError::Full { file: FILE, source },
            Err(StoreError::Io { source, .. }) => failed(io::Error::other(source)),
            Err(other) => other,
        }
    }

    /// Writes `parts` back to back from `start` on, and zeros up to the end of the block.
    fn write<'a>(&mut self, start: u64, parts: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut at = start;
        for mut part in parts {
            while !part.is_empty() {
                let room = WRITE_BYTES - self.buffer.len();
                let (now, later) = part.split_at(part.len().min(room));
                self.buffer.extend_from_slice(now);
                part = later;
                if self.buffer.len() == WRITE_BYTES {
                    at = self.flush(at)?;
                }
            }
        }
        let padded = self.buffer.len().next_multiple_of(BLOCK);
        self.buffer.resize(padded, 0);
        self.flush(at)?;
        Ok(())
    }

    fn flush(&mut self, at: u64) -> io::Result<u64> {
        if !self.buffer.is_empty() {
            self.file.write(at, &self.buffer)?;
        }
        let end = at + self.buffer.len() as u64;
        self.buffer.clear();
        Ok(end)
    }

    /// Lets the file end at least at `needed`, some zeros further on.
    fn grow(&mut self, needed: u64) -> io::Result<()> {
        if needed <= self.ring.end() {
            return Ok(());
        }
        let end = needed.next_multiple_of(self.growth);
        self.file.set_len(end)?;
        let zeros = vec![0; WRITE_BYTES];
        let mut at = needed;
        while at < end {
            let now = zeros
                .len()
                .min(usize::try_from(end - at).unwrap_or(usize::MAX));
            self.file.write(at, zeros.get(..now).unwrap_or(&zeros))?;
            at += now as u64;
        }
        self.ring.grown(end);
        Ok(())
    }

    fn scan(&self) -> Result<Scan, StoreError> {
        let mut scan = Scan::default();
        let mut at = ring::FRONT;
        let mut bytes = [0; HEADER_BYTES];
        while at + BLOCK_BYTES <= self.ring.end() {
            self.file.read(at, &mut bytes).map_err(failed)?;
            let header = FrameHeader::decode(&bytes, &self.salt);
            let end = header.map_or(0, |header| at + header.blocks_bytes());
            match header {
                Some(header) if end <= self.ring.end() => {
                    scan.frames.push((at, header));
                    at = end;
                }
                Some(_) => at += BLOCK_BYTES,
                None => {
                    let flipped = FrameHeader::decode_but_for_a_bit(bytes, &self.salt);
                    scan.flipped
                        .extend(flipped.map(|(byte, header)| (at, byte, header)));
                    at += BLOCK_BYTES;
                }
            }
        }
        scan.frames.sort_by_key(|(_, header)| header.first_row);
        Ok(scan)
    }

    /// The rows of a frame, if it is there whole.
    fn read_rows(
        &self,
        start: u64,
        header: &FrameHeader,
    ) -> Result<Option<Vec<Bytes>>, StoreError> {
        let mut at = start + HEADER_BYTES as u64;
        let end = at + u64::from(header.body_bytes);
        let table = u64::from(header.rows) * 4;
        if at + table > end {
            return Ok(None);
        }
        let lengths = self.read(at, table)?;
        at += table;
        let mut checksum = frame::checksum(&self.salt, &lengths);
        let mut rows = Vec::with_capacity(lengths.len() / 4);
        for length in lengths.chunks_exact(4) {
            let length = length
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            if at + length > end {
                return Ok(None);
            }
            let row = self.read(at, length)?;
            at += length;
            checksum = crc32c::crc32c_append(checksum, &row);
            rows.push(Bytes::from(row));
        }
        let whole = at == end && checksum == header.body_checksum;
        Ok(whole.then_some(rows))
    }

    fn read(&self, at: u64, bytes: u64) -> Result<Vec<u8>, StoreError> {
        let mut read = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        self.file.read(at, &mut read).map_err(failed)?;
        Ok(read)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.file.close() {
            tracing::warn!(%error, file = FILE, "closing failed");
        }
    }
}

fn length(row: &Bytes) -> u32 {
    u32::try_from(row.len()).expect("a row is bounded by the largest record")
}

/// False if nothing was ever committed to the journal among `files`, if there is one.
pub(super) fn has_commits(files: &dyn Files) -> bool {
    match files.length(FILE) {
        Ok(bytes) => bytes > BLOCK_BYTES,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn read_head(file: &dyn StorageBackend, length: u64) -> Result<Option<Salt>, StoreError> {
    if length < HEAD_BYTES as u64 {
        return Ok(None);
    }
    let mut head = [0; HEAD_BYTES];
    file.read(0, &mut head).map_err(failed)?;
    Ok(frame::decode_head(&head))
}

/// Begins a new file, and makes that durable: only then may it grow.
fn create(file: &dyn StorageBackend) -> Result<Salt, StoreError> {
    let mut salt = Salt::default();
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|::ring::error::Unspecified| {
            failed(io::Error::other("the system has no random bytes"))
        })?;
    let mut block = [0; BLOCK];
    for (to, from) in block.iter_mut().zip(frame::encode_head(&salt)) {
        *to = from;
    }
    file.set_len(0).map_err(failed)?;
    file.write(0, &block).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    Ok(salt)
}

fn damaged(reason: String) -> StoreError {
    StoreError::Damaged { file: FILE, reason }
}

#[cfg(test)]
mod tests;
