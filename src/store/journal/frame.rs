//! The bytes of `journal.log`: the head of the file, and the frame that holds one commit. Pure.
//!
//! ```text
//!  block 0          blocks of 4 KiB, any frame begins at one
//!  ┌──────────────┐ ┌───────────────────────┬──────────────────┬───────────┬─────────┐ ┌──────
//!  │ head, salt   │ │ frame header, 28 bytes │ length of each row │ the rows    │ padding │ │ next
//!  └──────────────┘ └───────────────────────┴──────────────────┴───────────┴─────────┘ └──────
//! ```
//!
//! A frame's header has a checksum of its own, so that a reader can go from frame to frame without reading rows; the body's
//! checksum decides whether a commit is there whole or not at all. Both are seeded with the salt of the file, which nobody
//! outside knows: no record can be made to look like a frame.

/// What a commit is rounded up to: it never shares a block with another one, so writing it cannot harm one that is confirmed.
pub const BLOCK_BYTES: u64 = BLOCK as u64;

/// The same, of bytes in memory.
pub const BLOCK: usize = 4096;

/// Bytes of the head of the file.
pub const HEAD_BYTES: usize = 32;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 28;

const FILE_MAGIC: [u8; 8] = *b"SKJRNL\0\x01";
const FRAME_MAGIC: [u8; 4] = *b"SKfr";

/// Random bytes of one file.
pub type Salt = [u8; 16];

/// The head of a new file.
pub fn encode_head(salt: &Salt) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&FILE_MAGIC), salt);
    put(&mut head, 0, &FILE_MAGIC);
    put(&mut head, 8, salt);
    put(&mut head, 24, &checksum.to_be_bytes());
    head
}

/// The salt in the head of a file, if that is what it is.
pub fn decode_head(head: &[u8; HEAD_BYTES]) -> Option<Salt> {
    let salt: Salt = *head.get(8..)?.first_chunk()?;
    (encode_head(&salt) == *head).then_some(salt)
}

/// What the header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Number of the first row.
    pub first_row: u64,
    /// How many rows, at least one.
    pub rows: u32,
    /// Bytes of the lengths and the rows.
    pub body_bytes: u32,
    /// Checksum of those, from [`checksum`].
    pub body_checksum: u32,
}

impl FrameHeader {
    /// Number of the last row.
    pub fn last_row(&self) -> u64 {
        self.first_row.saturating_add(u64::from(self.rows) - 1)
    }

    /// Bytes that the frame takes in the file.
    pub fn blocks_bytes(&self) -> u64 {
        (HEADER_BYTES as u64 + u64::from(self.body_bytes)).next_multiple_of(BLOCK_BYTES)
    }

    /// As it stands in a file with `salt`.
    pub fn encode(&self, salt: &Salt) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        put(&mut header, 0, &FRAME_MAGIC);
        put(&mut header, 8, &self.first_row.to_be_bytes());
        put(&mut header, 16, &self.rows.to_be_bytes());
        put(&mut header, 20, &self.body_bytes.to_be_bytes());
        put(&mut header, 24, &self.body_checksum.to_be_bytes());
        let checksum = header.get(8..).map_or(0, |rest| checksum(salt, rest));
        put(&mut header, 4, &checksum.to_be_bytes());
        header
    }

    /// The header at the beginning of a block, if one is there.
    pub fn decode(bytes: &[u8; HEADER_BYTES], salt: &Salt) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let header = Self {
            first_row: u64::from_be_bytes(*bytes.get(8..)?.first_chunk()?),
            rows: word(16)?,
            body_bytes: word(20)?,
            body_checksum: word(24)?,
        };
        (header.rows > 0 && header.encode(salt) == *bytes).then_some(header)
    }

    /// The header at the beginning of a block, if all but one of its bits are there; and which byte has the other.
    pub fn decode_but_for_a_bit(
        mut bytes: [u8; HEADER_BYTES],
        salt: &Salt,
    ) -> Option<(usize, Self)> {
        let magic = u32::from_be_bytes(*bytes.first_chunk()?);
        if (magic ^ u32::from_be_bytes(FRAME_MAGIC)).count_ones() > 1 {
            return None;
        }
        for bit in 0..HEADER_BYTES * 8 {
            let (byte, mask) = (bit / 8, 1 << (bit % 8));
            *bytes.get_mut(byte)? ^= mask;
            if let Some(header) = Self::decode(&bytes, salt) {
                return Some((byte, header));
            }
            *bytes.get_mut(byte)? ^= mask;
        }
        None
    }
}

/// The checksum of `bytes` in a file with `salt`; for bytes in pieces, go on with [`crc32c::crc32c_append`].
pub fn checksum(salt: &Salt, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(salt), bytes)
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to.get_mut(at..at + bytes.len())
        .expect("the layout leaves room for each field")
        .copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = [7; 16];

    fn header() -> FrameHeader {
        FrameHeader {
            first_row: 90,
            rows: 3,
            body_bytes: 5_000,
            body_checksum: 0xdead_beef,
        }
    }

    #[test]
    fn a_header_reads_back_as_written() {
        let header = header();
        assert_eq!(
            FrameHeader::decode(&header.encode(&SALT), &SALT),
            Some(header)
        );
        assert_eq!(header.last_row(), 92);
        assert_eq!(header.blocks_bytes(), 2 * BLOCK_BYTES);
    }

    #[test]
    fn a_header_with_any_bit_flipped_is_none_but_can_be_told() {
        let good = header().encode(&SALT);
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = good;
            if let Some(byte) = bad.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            assert_eq!(FrameHeader::decode(&bad, &SALT), None, "bit {bit}");
            let but_for_a_bit = FrameHeader::decode_but_for_a_bit(bad, &SALT);
            assert_eq!(but_for_a_bit, Some((bit / 8, header())), "bit {bit}");
            assert_eq!(FrameHeader::decode_but_for_a_bit(bad, &[8; 16]), None);
        }
    }

    #[test]
    fn a_header_of_another_file_is_none() {
        assert_eq!(FrameHeader::decode(&header().encode(&SALT), &[8; 16]), None);
    }

    #[test]
    fn a_head_reads_back_and_a_damaged_one_does_not() {
        let head = encode_head(&SALT);
        assert_eq!(decode_head(&head), Some(SALT));
        for at in 0..28 {
            let mut bad = head;
            if let Some(byte) = bad.get_mut(at) {
                *byte ^= 1;
            }
            assert_eq!(decode_head(&bad), None, "byte {at}");
        }
    }
}
