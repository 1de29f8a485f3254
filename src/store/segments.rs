//! Segment files: the bytes of chunks, written once from front to back.
//!
//! `store.redb` says where each chunk lies ([`Place`]); here is only how its bytes get there and back. A fold writes all its chunks
//! one behind the other and syncs them before the transaction that names them, so a place is never known before its bytes are
//! durable. What a crash leaves behind the known end of a segment is written over. A fold that nobody waits for syncs as it goes: one sync
//! of all of it would keep the disk busy for so long that the commits of the journal wait behind it.
//!
//! ```text
//!  chunk header, 24 bytes                              payload
//!  stream:u64 | first offset:u64 | length:u32 | crc:u32   runs, back to back
//! ```
//!
//! The header says whose bytes these are: a reader whom a damaged row of the store leads to another stream's chunk is told so. And a
//! segment can be gone through without the store: to move what is alive in it, or to save what can be saved.
//!
//! Why not in redb: a value in a B-tree is copied into a page, hashed, and its path is written anew; for bytes that never change,
//! that was most of what a fold cost (`docs/performance.md`). And a file of redb never gets smaller, while a segment without
//! live chunks is removed.
//!
//! Invariants: bytes that a place points to never change; the number of a segment that was durable is never used
//! again. That of a fold that failed is: its file is cut, and not removed while the store is open.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use parking_lot::{Condvar, Mutex};
use redb::StorageBackend;

use super::chunks::ChunkKey;
use super::error::{StoreError, is_lack_of_room};
use super::files::Files;

/// What segment files are called in errors; each has its number before the end of its name.
pub const FILE: &str = "chunks-*.seg";

/// The largest that a segment may be asked to get: positions in it have 32 bits, and a fold comes on top.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Bytes in front of each chunk.
pub const CHUNK_HEADER_BYTES: usize = 24;

/// Bytes handed to a file at a time.
const WRITE_BYTES: usize = 512 << 10;

/// Bytes of a dead segment given back at a time: a file system that passes discards on to the disk keeps it busy for 12 ms with a
/// whole segment, and commits wait behind that.
const GIVEN_BACK_BYTES: u64 = 1 << 20;

/// How long holders of pins are waited for.
const VOID_WAIT: Duration = Duration::from_secs(2);

/// Segments kept open for readers.
const OPEN_MAX: usize = 64;

/// Where the bytes of a chunk are: segment number, position of its payload, length and CRC-32C of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which segment.
    pub segment: u32,
    /// Where in it the payload begins.
    pub position: u32,
    /// Bytes of the payload.
    pub length: u32,
    /// Checksum of the payload.
    pub checksum: u32,
}

/// A [`Place`] as a value of redb.
pub type StoredPlace = (u32, u32, u32, u32);

impl From<StoredPlace> for Place {
    fn from((segment, position, length, checksum): StoredPlace) -> Self {
        Self {
            segment,
            position,
            length,
            checksum,
        }
    }
}

impl Place {
    pub(super) fn stored(self) -> StoredPlace {
        (self.segment, self.position, self.length, self.checksum)
    }

    /// Whether `other` is the same chunk, of the same length.
    pub(super) fn is_at(self, other: Self) -> bool {
        (self.segment, self.position, self.length) == (other.segment, other.position, other.length)
    }

    /// Bytes that the chunk takes in its segment.
    pub(super) fn bytes_in_file(self) -> u64 {
        CHUNK_HEADER_BYTES as u64 + u64::from(self.length)
    }
}

/// A chunk as its header in the segment tells of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkHeader {
    pub key: ChunkKey,
    pub place: Place,
}

type Segment = Arc<dyn StorageBackend>;

/// The segments of one data directory, for whoever reads them.
#[derive(Debug)]
pub struct Segments {
    files: Arc<dyn Files>,
    bytes_max: u64,
    open: Mutex<HashMap<u32, Segment>>,
    pins: Mutex<Pins>,
    unpinned: Condvar,
    /// How often dead chunks were given back.
    given_back: AtomicU64,
}

/// Who relies on segments to stay.
#[derive(Debug, Default)]
struct Pins {
    count: usize,
    /// Pins of an older generation are asked to go.
    generation: u64,
    /// Segments that go with the last pin.
    dead: Vec<u32>,
}

/// While one is held no segment is removed.
#[derive(Debug)]
pub struct Pin<'a> {
    segments: &'a Segments,
    generation: u64,
}

impl Pin<'_> {
    /// Its holder shall drop it soon.
    pub fn is_void(&self) -> bool {
        self.segments.pins.lock().generation != self.generation
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut pins = self.segments.pins.lock();
        pins.count -= 1;
        if pins.count > 0 {
            return;
        }
        let dead = std::mem::take(&mut pins.dead);
        drop(pins);
        self.segments.unpinned.notify_all();
        if let Err(error) = self.segments.remove(&dead) {
            tracing::warn!(%error, "dead segments stay until the next start");
        }
    }
}

fn failed(source: io::Error) -> StoreError {
    StoreError::Io { file: FILE, source }
}

impl Segments {
    /// The segments among `files`. One is ended by the fold that takes it to `bytes_max`.
    pub fn new(files: Arc<dyn Files>, bytes_max: u64) -> Self {
        Self {
            files,
            bytes_max: bytes_max.min(SEGMENT_BYTES_MAX),
            open: Mutex::default(),
            pins: Mutex::default(),
            unpinned: Condvar::new(),
            given_back: AtomicU64::new(0),
        }
    }

    /// Keeps the segments that there are until it is dropped, whatever becomes of their chunks.
    pub fn pin(&self) -> Pin<'_> {
        let mut pins = self.pins.lock();
        pins.count += 1;
        Pin {
            segments: self,
            generation: pins.generation,
        }
    }

    /// Changes when the holders of pins are asked to drop them.
    pub(super) fn generation(&self) -> u64 {
        self.pins.lock().generation
    }

    /// Asks the holders of pins to drop them, and waits for that a while.
    pub(super) fn void_pins(&self) {
        let mut pins = self.pins.lock();
        pins.generation += 1;
        let until = Instant::now() + VOID_WAIT;
        while pins.count > 0 && !self.unpinned.wait_until(&mut pins, until).timed_out() {}
    }

    /// The payload at `place`, the chunk of `key`.
    pub fn read(&self, key: ChunkKey, place: Place) -> Result<Bytes, StoreError> {
        let segment = self.segment(place.segment)?;
        whole(key, place, |at, out| segment.read(at, out))
    }

    /// The first `length` bytes at `place`, unchecked.
    pub fn read_front(&self, place: Place, length: usize) -> Result<Vec<u8>, StoreError> {
        let segment = self.segment(place.segment)?;
        let mut payload = vec![0; length.min(place.length as usize)];
        let position = u64::from(place.position);
        segment.read(position, &mut payload).map_err(failed)?;
        Ok(payload)
    }

    /// The chunk whose header is at `position` of segment `number`. What it says is as good as the file is.
    pub(super) fn chunk_at(&self, number: u32, position: u64) -> Result<ChunkHeader, StoreError> {
        let mut header = [0; CHUNK_HEADER_BYTES];
        let segment = self.segment(number)?;
        segment.read(position, &mut header).map_err(failed)?;
        let mut fields = header.as_slice();
        let key = (fields.get_u64(), fields.get_u64());
        let place = Place {
            segment: number,
            length: fields.get_u32(),
            checksum: fields.get_u32(),
            position: u32::try_from(position + CHUNK_HEADER_BYTES as u64).unwrap_or(u32::MAX),
        };
        Ok(ChunkHeader { key, place })
    }

    /// Removes segments that nothing points to any more, or has it done by the last [`Pin`].
    pub fn remove(&self, dead: &[u32]) -> Result<(), StoreError> {
        let mut pins = self.pins.lock();
        if pins.count > 0 {
            pins.dead.extend_from_slice(dead);
            return Ok(());
        }
        drop(pins);
        for number in dead {
            self.given_back.fetch_add(1, Ordering::AcqRel);
            self.open.lock().remove(number);
            let name = name(*number);
            if let Err(error) = self.shrink(&name) {
                tracing::debug!(%error, segment = number, "it goes in one piece");
            }
            match self.files.remove(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives back all but the first piece of a dead segment, from its end on.
    fn shrink(&self, name: &str) -> io::Result<()> {
        let mut end = self.files.length(name)?;
        if end <= GIVEN_BACK_BYTES {
            return Ok(());
        }
        let file = self.files.create(name)?;
        while end > GIVEN_BACK_BYTES {
            end -= GIVEN_BACK_BYTES;
            file.set_len(end)?;
        }
        Ok(())
    }

    /// Removes the segments that `is_known` does not know: left by a crash between a file and the transaction that names it,
    /// or between a transaction and the removal that follows it.
    pub fn remove_unknown(
        &self,
        is_known: impl Fn(u32) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut unknown = Vec::new();
        for name in self.files.names().map_err(failed)? {
            if let Some(number) = number(&name)
                && !is_known(number)?
            {
                unknown.push(number);
            }
        }
        self.remove(&unknown)
    }

    /// Changes before dead chunks are given back: whoever read one before may have read zeros, or found the end of the file before it.
    pub(super) fn given_back(&self) -> u64 {
        self.given_back.load(Ordering::Acquire)
    }

    /// Whether somebody relies on chunks that are dead by now.
    pub(super) fn are_pinned(&self) -> bool {
        self.pins.lock().count > 0
    }

    /// Gives back what `ranges` of segment `number` take on the disk, where nothing is alive and no header lies.
    pub(super) fn punch(&self, number: u32, ranges: &[Range<u64>]) -> io::Result<()> {
        self.given_back.fetch_add(1, Ordering::AcqRel);
        self.files.punch(&name(number), ranges)
    }

    /// Cuts off what lies behind `end` of segment `number`, if there is such a file: a fold that failed left it there.
    pub(super) fn cut(&self, number: u32, end: u64) -> Result<(), StoreError> {
        let name = name(number);
        if !self.files.length(&name).is_ok_and(|length| length > end) {
            return Ok(());
        }
        let file = self.files.create(&name).map_err(failed)?;
        match file.set_len(end) {
            // It takes the room that it takes; the next fold writes over it.
            Err(error) if is_lack_of_room(&error) => Ok(()),
            cut => cut.map_err(failed),
        }
    }

    fn segment(&self, number: u32) -> Result<Segment, StoreError> {
        if let Some(segment) = self.open.lock().get(&number) {
            return Ok(Arc::clone(segment));
        }
        let segment: Segment = match self.files.open(&name(number)) {
            Ok(file) => Arc::from(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::SegmentGone { number });
            }
            Err(error) => return Err(failed(error)),
        };
        let mut open = self.open.lock();
        if open.len() >= OPEN_MAX {
            let oldest = open.keys().min().copied();
            oldest.and_then(|oldest| open.remove(&oldest));
        }
        open.insert(number, Arc::clone(&segment));
        Ok(segment)
    }

    /// How large a segment gets, but for what one fold adds.
    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Goes on writing segment `number` at `end`.
    pub(super) fn write_from(
        &self,
        number: u32,
        end: u64,
        syncs: Syncs,
    ) -> Result<SegmentWriter, StoreError> {
        let file = self.files.create(&name(number)).map_err(failed)?;
        // A file that is there already may be left by a fold that failed before its name was durable.
        if end == 0 {
            let not_synced = StoreError::not_synced(FILE);
            self.files.sync().map_err(not_synced)?;
        }
        Ok(SegmentWriter {
            file,
            number,
            syncs,
            synced: 0,
            written: end,
            buffer: Vec::new(),
        })
    }
}

/// The payload at `place` as `read` fills it in, if it is what was written there for `key`.
fn whole(
    key: ChunkKey,
    place: Place,
    read: impl FnOnce(u64, &mut [u8]) -> io::Result<()>,
) -> Result<Bytes, StoreError> {
    let corrupt = |reason: &str| StoreError::CorruptChunk {
        file: FILE,
        stream: key.0,
        offset: key.1,
        reason: format!("{reason} (segment {})", place.segment),
    };
    let start = u64::from(place.position).checked_sub(CHUNK_HEADER_BYTES as u64);
    let start = start.ok_or_else(|| corrupt("it cannot lie where the store says"))?;
    let mut chunk = vec![0; CHUNK_HEADER_BYTES + place.length as usize];
    match read(start, &mut chunk) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(corrupt("the file ends before it does"));
        }
        other => other.map_err(failed)?,
    }
    let mut header = Bytes::from(chunk);
    let payload = header.split_off(CHUNK_HEADER_BYTES);
    if crc32c::crc32c(&payload) != place.checksum {
        return Err(corrupt("its checksum does not match"));
    }
    if (header.get_u64(), header.get_u64()) != key {
        return Err(corrupt("what lies there is another chunk"));
    }
    Ok(payload)
}

fn name(number: u32) -> String {
    format!("chunks-{number:06}.seg")
}

/// The number in the name of a segment.
fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("chunks-")?.strip_suffix(".seg")?;
    digits.parse().ok()
}

/// Whether there is a segment among `files`.
pub(super) fn exist(files: &dyn Files) -> Result<bool, StoreError> {
    let names = files.names().map_err(failed)?;
    Ok(names.iter().any(|name| number(name).is_some()))
}

/// When what is written to a segment is made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Syncs {
    /// All of it at the end: the quickest.
    #[default]
    AtTheEnd,
    /// Piece by piece: whoever else syncs waits for one piece at most.
    AsItGoes,
}

/// What one fold writes at the end of a segment.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    file: Box<dyn StorageBackend>,
    number: u32,
    syncs: Syncs,
    /// How often it was synced.
    synced: u64,
    /// Bytes of the file that are written; what is in the buffer follows.
    written: u64,
    buffer: Vec<u8>,
}

impl SegmentWriter {
    /// Which segment.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Bytes of the segment so far.
    pub fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Writes one chunk. It is durable when [`SegmentWriter::finish`] returns.
    ///
    /// # Panics
    /// If the segment has 4 GiB: a fold brings a small part of that.
    pub fn append(&mut self, key: ChunkKey, payload: &[u8]) -> Result<Place, StoreError> {
        let checksum = crc32c::crc32c(payload);
        let length = u32::try_from(payload.len()).expect("a chunk is far smaller");
        self.buffer.put_u64(key.0);
        self.buffer.put_u64(key.1);
        self.buffer.put_u32(length);
        self.buffer.put_u32(checksum);
        let position = u32::try_from(self.end()).expect("a segment ends long before");
        self.buffer.extend_from_slice(payload);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
            if self.syncs == Syncs::AsItGoes {
                self.sync()?;
            }
        }
        Ok(Place {
            segment: self.number,
            position,
            length,
            checksum,
        })
    }

    /// The payload of the chunk of `key`, which lies in this segment, written just now or before.
    pub fn read(&self, key: ChunkKey, place: Place) -> Result<Bytes, StoreError> {
        whole(key, place, |at, out| {
            let from = at.checked_sub(self.written);
            let from = from.and_then(|from| usize::try_from(from).ok());
            let buffered = from.and_then(|from| self.buffer.get(from..)?.get(..out.len()));
            match buffered {
                Some(bytes) => out.copy_from_slice(bytes),
                None => self.file.read(at, out)?,
            }
            Ok(())
        })
    }

    /// Makes everything durable. Answers the end of the segment, and how often it was synced.
    pub fn finish(mut self) -> Result<(u64, u64), StoreError> {
        self.flush()?;
        self.sync()?;
        Ok((self.written, self.synced))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.synced += 1;
        let not_synced = StoreError::not_synced(FILE);
        self.file.sync_data().map_err(not_synced)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let end = self.end();
        self.file
            .write(self.written, &self.buffer)
            .map_err(failed)?;
        self.buffer.clear();
        self.written = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::Directory;

    /// How often a segment is synced while `chunks` of 100 KiB are written.
    fn synced(syncs: Syncs, chunks: u64) -> u64 {
        let place = tempfile::tempdir().unwrap();
        let segments = Segments::new(Arc::new(Directory::new(place.path())), 1 << 26);
        let mut writer = segments.write_from(1, 0, syncs).unwrap();
        for first in 0..chunks {
            writer.append((1, first), &vec![7; 100 << 10]).unwrap();
        }
        let (end, synced) = writer.finish().unwrap();
        assert_eq!(end, chunks * (CHUNK_HEADER_BYTES as u64 + (100 << 10)));
        synced
    }

    #[test]
    fn a_chunk_with_any_byte_changed_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        let segments = Segments::new(Arc::new(Directory::new(place.path())), 1 << 26);
        let mut writer = segments.write_from(1, 0, Syncs::AtTheEnd).unwrap();
        let lies = writer.append((1, 0), &[7; 300]).unwrap();
        writer.finish().unwrap();
        let file = place.path().join(name(1));
        let good = std::fs::read(&file).unwrap();
        assert_eq!(segments.read((1, 0), lies).unwrap(), [7; 300][..]);
        for at in CHUNK_HEADER_BYTES..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&file, bad).unwrap();
            assert!(segments.read((1, 0), lies).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_dead_segment_is_given_back_before_it_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let segments = Segments::new(Arc::new(Directory::new(place.path())), 1 << 26);
        let path = place.path().join(name(1));
        std::fs::write(&path, vec![7; 3 << 20]).unwrap();
        let held = std::fs::File::open(&path).unwrap();
        segments.remove(&[1]).unwrap();
        assert!(!path.exists());
        assert_eq!(held.metadata().unwrap().len(), GIVEN_BACK_BYTES);
    }

    #[test]
    fn a_fold_is_synced_once_or_as_it_goes() {
        assert_eq!(synced(Syncs::AtTheEnd, 20), 1);
        // Six chunks fill a piece.
        assert_eq!(synced(Syncs::AsItGoes, 20), 4);
    }
}
