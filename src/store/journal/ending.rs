//! A last frame that is not there whole: nothing of it is replayed, and what can be told of it is told.
//!
//! A loss of power while a commit is written leaves such a frame, which was never confirmed; damage to a confirmed one leaves the
//! same. They are told apart where the bytes say more:
//! - its checksum, or its header's, is off by exactly what one flipped bit does: all else is there. (A frame that was cut off looks
//!   so with a chance of one in 2^32 for each of its bits; so larger frames than [`BITS_LOOKED_AT`] are not looked at.)
//! - it lies in one sector with its header, and a sector is written whole or not at all;
//! - some of its sectors are zeros, or hold an earlier frame: these were not written.

use std::fmt;
use std::ops::RangeInclusive;

use super::frame::{self, BLOCK, FrameHeader, HEADER_BYTES};
use super::{FILE, Journal, Scan, StoreError};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The largest body that is searched for a flipped bit.
const BITS_LOOKED_AT: usize = 8 << 20;

/// CRC-32C, reflected.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The frame at the journal's end that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The numbers of its rows, as far as they are missing.
    pub rows: RangeInclusive<u64>,
    /// Where it begins in the file.
    pub at: u64,
    /// What it takes there.
    pub bytes: u64,
    /// Why it is not whole.
    pub cause: Cause,
}

/// Why a frame is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// One bit, of the byte at this place in the file, is not what was written.
    BitFlipped(u64),
    /// It lies in one sector, and that is not what was written.
    SectorDamaged,
    /// Parts of it were never written, by all appearances.
    Unwritten,
    /// It could be either.
    Unknown,
}

impl LeftOut {
    /// Whether it was written whole, and so may have been confirmed.
    pub fn was_whole(&self) -> bool {
        matches!(self.cause, Cause::BitFlipped(_) | Cause::SectorDamaged)
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, bytes, .. } = self;
        let (first, last) = (self.rows.start(), self.rows.end());
        write!(
            f,
            "{FILE}: its last commit, rows {first} to {last} ({bytes} bytes at {at}), is not whole and is left out: "
        )?;
        match self.cause {
            Cause::BitFlipped(at) => write!(
                f,
                "a bit of the byte at {at} has flipped since it was written, so it may have been confirmed. Put back a copy"
            ),
            Cause::SectorDamaged => f.write_str(
                "it lies in one sector, which is not what was written, so it may have been confirmed. Put back a copy",
            ),
            Cause::Unwritten => f.write_str(
                "parts of it hold zeros or an earlier commit, as after a loss of power before it was confirmed",
            ),
            Cause::Unknown => f.write_str(
                "it was cut off before it was confirmed, or was damaged since; which of the two cannot be told",
            ),
        }
    }
}

impl Journal {
    /// The frame that would follow row `next - 1`, the last that is whole, and is broken.
    pub(super) fn left_out(&self, scan: &Scan, next: u64) -> Result<Option<LeftOut>, StoreError> {
        let flipped = scan.flipped.iter().map(|(at, byte, header)| {
            let cause = Cause::BitFlipped(at + *byte as u64);
            (*at, *header, Some(cause))
        });
        let seen = scan.frames.iter();
        let all = flipped.chain(seen.map(|(at, header)| (*at, *header, None)));
        for (at, header, cause) in all.filter(|(_, header, _)| header.last_row() >= next) {
            let whole = cause.is_none() && self.read_rows(at, &header)?.is_some();
            if whole || self.is_superseded(scan, &header)? {
                continue;
            }
            let cause = cause.map_or_else(|| self.cause(at, &header), Ok)?;
            let (rows, bytes) = (next..=header.last_row(), header.blocks_bytes());
            return Ok(Some(LeftOut {
                rows,
                at,
                bytes,
                cause,
            }));
        }
        Ok(None)
    }

    /// Whether the number of the first row was given again, by a commit after a start that left this one out.
    fn is_superseded(&self, scan: &Scan, broken: &FrameHeader) -> Result<bool, StoreError> {
        for (at, header) in &scan.frames {
            let later = header != broken && header.last_row() >= broken.first_row;
            if later && self.read_rows(*at, header)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn cause(&self, at: u64, header: &FrameHeader) -> Result<Cause, StoreError> {
        let bytes = HEADER_BYTES as u64 + u64::from(header.body_bytes);
        let frame = self.read(at, bytes)?;
        let (_, body) = frame.split_at(HEADER_BYTES);
        let off = frame::checksum(&self.salt, body) ^ header.body_checksum;
        if let Some(byte) = flipped_byte(off, body.len()) {
            return Ok(Cause::BitFlipped(at + (HEADER_BYTES + byte) as u64));
        }
        if frame.len() <= SECTOR {
            return Ok(Cause::SectorDamaged);
        }
        let zeros = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
        let unwritten = frame.chunks_exact(SECTOR).any(zeros)
            || frame.chunks(BLOCK).skip(1).any(|block| {
                let first = block.first_chunk();
                first.is_some_and(|header| FrameHeader::decode(header, &self.salt).is_some())
            });
        Ok(if unwritten {
            Cause::Unwritten
        } else {
            Cause::Unknown
        })
    }
}

/// The byte of `length` bytes that has one bit flipped, if that is what makes their checksum differ by `off`.
fn flipped_byte(off: u32, length: usize) -> Option<usize> {
    let bits = length.checked_mul(8).filter(|bits| *bits <= BITS_LOOKED_AT);
    // What the last bit of all does to the checksum, then the one before it, and so on.
    let mut does = POLYNOMIAL;
    for bit in 0..bits? {
        if does == off {
            return Some(length - 1 - bit / 8);
        }
        does = does >> 1 ^ if does & 1 == 1 { POLYNOMIAL } else { 0 };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found_where_it_is_and_other_damage_is_none() {
        let bytes: Vec<u8> = (0..700_u32).map(|n| n.to_le_bytes()[0]).collect();
        let whole = crc32c::crc32c(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            if let Some(byte) = other.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            let off = crc32c::crc32c(&other) ^ whole;
            assert_eq!(flipped_byte(off, bytes.len()), Some(bit / 8));
        }
        for cut in 0..bytes.len() - 1 {
            let mut other = bytes.clone();
            other.get_mut(cut..).unwrap_or_default().fill(0xAA);
            let off = crc32c::crc32c(&other) ^ whole;
            assert_eq!(flipped_byte(off, bytes.len()), None, "from {cut}");
        }
    }
}
