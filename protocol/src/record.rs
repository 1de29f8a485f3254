//! Records, and blocks of them: `length:u32 | crc32c:u32 | payload`, back to back.
//!
//! A record is encoded once, by the client. The server verifies a block as it arrives ([`RecordBlock::parse`]) and
//! from then on only moves its bytes: journal, chunks, RECORDS and DELIVER hold them unchanged.
//!
//! Invariant of [`RecordBlock`]: its bytes are exactly `count` whole records and every checksum is right. There is
//! no way to make one that is not so. Nothing here allocates per record.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::RecordError;
use crate::limits::Limits;

/// Bytes before the payload of each record.
pub const RECORD_HEADER_BYTES: usize = 8;

/// The two numbers before a payload.
#[derive(Clone, Copy)]
pub(crate) struct RecordHeader {
    pub(crate) length: u32,
    pub(crate) crc32c: u32,
}

/// Splits the first record off `bytes`: its header, its payload and what follows. `index` is for the error only.
pub(crate) fn split_record(
    bytes: &[u8],
    index: u32,
) -> Result<(RecordHeader, &[u8], &[u8]), RecordError> {
    let truncated = |need| RecordError::Truncated {
        index,
        have: bytes.len(),
        need,
    };
    let (length, after_length) = bytes
        .split_first_chunk()
        .ok_or_else(|| truncated(RECORD_HEADER_BYTES))?;
    let (crc32c, rest) = after_length
        .split_first_chunk()
        .ok_or_else(|| truncated(RECORD_HEADER_BYTES))?;
    let header = RecordHeader {
        length: u32::from_be_bytes(*length),
        crc32c: u32::from_be_bytes(*crc32c),
    };
    let length = header.length as usize;
    let (payload, rest) = rest
        .split_at_checked(length)
        .ok_or_else(|| truncated(RECORD_HEADER_BYTES.saturating_add(length)))?;
    Ok((header, payload, rest))
}

/// Whole records with right checksums, back to back in one shared buffer. Cloning copies no record.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RecordBlock {
    bytes: Bytes,
    count: u32,
}

impl RecordBlock {
    /// Verifies that `bytes` are exactly `count` records within `limits`, each matching its checksum.
    ///
    /// # Errors
    /// The first record that is not in order, or a count over `batch_records_max`.
    pub fn parse(bytes: Bytes, count: u32, limits: &Limits) -> Result<Self, RecordError> {
        if count > limits.batch_records_max {
            return Err(RecordError::TooMany {
                have: count,
                limit: limits.batch_records_max,
            });
        }
        let mut rest: &[u8] = &bytes;
        for index in 0..count {
            let (header, payload, after) = split_record(rest, index)?;
            if header.length > limits.record_bytes_max {
                let limit = limits.record_bytes_max;
                return Err(RecordError::TooLarge {
                    index,
                    have: header.length,
                    limit,
                });
            }
            verify(index, header.crc32c, payload)?;
            rest = after;
        }
        if rest.is_empty() {
            Ok(Self { bytes, count })
        } else {
            Err(RecordError::Count {
                count,
                left: rest.len(),
            })
        }
    }

    /// Encodes payloads as a block.
    ///
    /// # Panics
    /// As [`RecordBlockBuilder::push`].
    pub fn from_payloads<I>(payloads: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut builder = RecordBlockBuilder::new();
        for payload in payloads {
            builder.push(payload.as_ref());
        }
        builder.finish()
    }

    /// Records in the block.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The encoded records.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The encoded records, by value.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Bytes of all payloads, without the record headers.
    pub fn payload_bytes(&self) -> u64 {
        self.bytes.len() as u64 - u64::from(self.count) * RECORD_HEADER_BYTES as u64
    }

    /// Whether the block holds no record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The payloads in order, as slices of the block's buffer.
    pub fn payloads(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut rest: &[u8] = &self.bytes;
        std::iter::from_fn(move || {
            // The invariant of the type: only the end of the block stops this.
            let (_, payload, after) = split_record(rest, 0).ok()?;
            rest = after;
            Some(self.bytes.slice_ref(payload))
        })
    }
}

/// Compares a payload with the checksum of its record.
pub(crate) fn verify(index: u32, expected: u32, payload: &[u8]) -> Result<(), RecordError> {
    let actual = crc32c::crc32c(payload);
    if actual == expected {
        Ok(())
    } else {
        Err(RecordError::Checksum {
            index,
            expected,
            actual,
        })
    }
}

/// Encodes records one after another into one growing buffer.
#[derive(Debug, Default)]
pub struct RecordBlockBuilder {
    bytes: BytesMut,
    count: u32,
}

impl RecordBlockBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty builder with room for `bytes` of encoded records (payloads and [`RECORD_HEADER_BYTES`] each).
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: BytesMut::with_capacity(bytes),
            count: 0,
        }
    }

    /// Appends one record.
    ///
    /// # Panics
    /// If the payload is 4 GiB or longer or the block holds 2³² - 1 records: callers keep to [`Limits`], which are
    /// far below both.
    pub fn push(&mut self, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a payload is far below 4 GiB");
        self.count = self
            .count
            .checked_add(1)
            .expect("a block holds far below 2^32 records");
        self.bytes.reserve(RECORD_HEADER_BYTES + payload.len());
        self.bytes.put_u32(length);
        self.bytes.put_u32(crc32c::crc32c(payload));
        self.bytes.put_slice(payload);
    }

    /// Bytes encoded so far.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Records so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether no record was pushed since the start or the last [`RecordBlockBuilder::finish`].
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The block of everything pushed; the builder is empty again and keeps what is left of its buffer.
    pub fn finish(&mut self) -> RecordBlock {
        let count = std::mem::take(&mut self.count);
        RecordBlock {
            bytes: self.bytes.split().freeze(),
            count,
        }
    }
}
