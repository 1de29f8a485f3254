//! Runs: records with their place in the stream and the time of their commit.
//!
//! ```text
//! first_offset:u64 first_byte:u64 committed_at:u64 count:u32 length:u32   then `length` bytes of records
//! ```
//!
//! The journal, the store's chunks, RECORDS and DELIVER all hold runs, byte for byte, so a run is encoded once. A
//! reader who wants a part cuts it ([`Run::starting_at`], [`Run::take`]): a new header over a slice of the same bytes.
//!
//! [`RunHeader::decode`] checks that the header is sound; the records behind it are walked only when somebody
//! asks. Records that turn out malformed are an error of [`Run::records`], never lost in a cut.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{RecordError, WireError};
use crate::record::{RECORD_HEADER_BYTES, RecordBlock, split_record, verify};

/// Bytes of the header of a run.
pub const RUN_HEADER_BYTES: usize = 32;

/// Where a run's records stand, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHeader {
    /// Offset of the first record.
    pub first_offset: u64,
    /// Payload bytes of the stream before the first record.
    pub first_byte: u64,
    /// When the records were committed, in microseconds since the Unix epoch.
    pub committed_at: u64,
    /// Records in the run; at least 1.
    pub count: u32,
    /// Bytes of the encoded records after the header.
    pub length: u32,
}

impl RunHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; RUN_HEADER_BYTES] {
        let mut bytes = [0; RUN_HEADER_BYTES];
        let mut out: &mut [u8] = &mut bytes;
        out.put_u64(self.first_offset);
        out.put_u64(self.first_byte);
        out.put_u64(self.committed_at);
        out.put_u32(self.count);
        out.put_u32(self.length);
        bytes
    }

    /// Reads the header at the start of `bytes`; what follows it is not looked at.
    ///
    /// # Errors
    /// [`WireError::RunTruncated`] if there are fewer than 32 bytes, [`WireError::RunHeader`] if the header has no
    /// records, fewer bytes than that many records need, or positions past `u64`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (head, _) =
            bytes
                .split_first_chunk::<RUN_HEADER_BYTES>()
                .ok_or(WireError::RunTruncated {
                    have: bytes.len(),
                    need: RUN_HEADER_BYTES,
                })?;
        let (first_offset, rest) = take_u64(head);
        let (first_byte, rest) = take_u64(rest);
        let (committed_at, rest) = take_u64(rest);
        let (count_and_length, _) = take_u64(rest);
        let header = Self {
            first_offset,
            first_byte,
            committed_at,
            count: high(count_and_length),
            length: low(count_and_length),
        };
        if header.is_sound() {
            Ok(header)
        } else {
            let Self {
                first_offset,
                count,
                length,
                ..
            } = header;
            Err(WireError::RunHeader {
                first_offset,
                count,
                length,
            })
        }
    }

    fn is_sound(&self) -> bool {
        self.count > 0
            && u64::from(self.length) >= u64::from(self.count) * RECORD_HEADER_BYTES as u64
            && self
                .first_offset
                .checked_add(u64::from(self.count))
                .is_some()
            && self.first_byte.checked_add(self.payload_bytes()).is_some()
    }

    /// Offset after the last record.
    pub const fn next_offset(&self) -> u64 {
        self.first_offset.saturating_add(self.count as u64)
    }

    /// Bytes of all payloads, without the record headers.
    pub const fn payload_bytes(&self) -> u64 {
        (self.length as u64).saturating_sub(self.count as u64 * RECORD_HEADER_BYTES as u64)
    }

    /// Payload bytes of the stream up to and with the last record.
    pub const fn next_byte(&self) -> u64 {
        self.first_byte.saturating_add(self.payload_bytes())
    }

    /// Bytes of header and records together.
    pub const fn encoded_bytes(&self) -> usize {
        RUN_HEADER_BYTES + self.length as usize
    }
}

fn take_u64(bytes: &[u8]) -> (u64, &[u8]) {
    let (head, rest) = bytes
        .split_first_chunk()
        .expect("a run header is four times eight bytes");
    (u64::from_be_bytes(*head), rest)
}

fn high(both: u64) -> u32 {
    u32::try_from(both >> 32).expect("32 bits are left")
}

fn low(both: u64) -> u32 {
    u32::try_from(both & u64::from(u32::MAX)).expect("32 bits are left")
}

/// Records back to back with their header. Cloning and cutting copy no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where the records stand.
    pub header: RunHeader,
    /// The encoded records: `header.length` bytes.
    pub records: Bytes,
}

/// One record of a run, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position in the stream.
    pub offset: u64,
    /// Payload bytes of the stream before this record.
    pub byte: u64,
    /// When it was committed, in microseconds since the Unix epoch.
    pub committed_at: u64,
    /// What the producer appended.
    pub payload: Bytes,
    /// Position within the run, for errors.
    index: u32,
    crc32c: u32,
}

impl Record {
    /// The checksum (CRC-32C of the payload) the record was appended with.
    pub fn crc32c(&self) -> u32 {
        self.crc32c
    }

    /// Payload bytes of the stream up to and with this record.
    pub fn next_byte(&self) -> u64 {
        self.byte.saturating_add(self.payload.len() as u64)
    }

    /// Compares the payload with its checksum.
    ///
    /// # Errors
    /// [`RecordError::Checksum`].
    pub fn verify(&self) -> Result<(), RecordError> {
        verify(self.index, self.crc32c, &self.payload)
    }
}

impl Run {
    /// A run of a block's records.
    ///
    /// # Panics
    /// If the block has 4 GiB or more, which no frame can carry.
    pub fn new(block: &RecordBlock, first_offset: u64, first_byte: u64, committed_at: u64) -> Self {
        let length = u32::try_from(block.bytes().len()).expect("a block came in a frame");
        let header = RunHeader {
            first_offset,
            first_byte,
            committed_at,
            count: block.count(),
            length,
        };
        Self {
            header,
            records: block.bytes().clone(),
        }
    }

    /// The run from `offset` on: all of it if `offset` is not after its first record, nothing if it is after its
    /// last.
    ///
    /// Malformed records met on the way end the search: the rest is returned, and reading it gives the error.
    pub fn starting_at(&self, offset: u64) -> Option<Self> {
        if offset >= self.header.next_offset() {
            return None;
        }
        let skip = u32::try_from(offset.saturating_sub(self.header.first_offset)).ok()?;
        let mut rest: &[u8] = &self.records;
        let mut payload_bytes = 0;
        let mut skipped = 0;
        while skipped < skip {
            let Ok((header, _, after)) = split_record(rest, skipped) else {
                break;
            };
            payload_bytes += u64::from(header.length);
            skipped += 1;
            rest = after;
        }
        let cut = self.records.len() - rest.len();
        let header = RunHeader {
            first_offset: self.header.first_offset + u64::from(skipped),
            first_byte: self.header.first_byte.saturating_add(payload_bytes),
            committed_at: self.header.committed_at,
            count: self.header.count - skipped,
            length: self.header.length.saturating_sub(u32::try_from(cut).ok()?),
        };
        Some(Self {
            header,
            records: self.records.slice(cut..),
        })
    }

    /// The longest prefix of at most `max_records` records and `max_bytes` encoded bytes (with the header), but at
    /// least one record.
    ///
    /// Malformed records end the prefix; they are in the run from its end on, and reading that gives the error. A
    /// run that begins with one is returned as it is.
    #[must_use]
    pub fn take(&self, max_bytes: usize, max_records: u32) -> Self {
        let max_records = max_records.max(1);
        if self.encoded_bytes() <= max_bytes && self.header.count <= max_records {
            return self.clone();
        }
        let budget = max_bytes.saturating_sub(RUN_HEADER_BYTES);
        let (mut taken, mut count): (usize, u32) = (0, 0);
        let mut rest: &[u8] = &self.records;
        while count < max_records.min(self.header.count) {
            let Ok((_, payload, after)) = split_record(rest, count) else {
                if count == 0 {
                    return self.clone();
                }
                break;
            };
            let bytes = taken + RECORD_HEADER_BYTES + payload.len();
            if count > 0 && bytes > budget {
                break;
            }
            taken = bytes;
            count += 1;
            rest = after;
        }
        // A prefix is no longer than the run, whose length is a `u32`.
        let length = u32::try_from(taken).unwrap_or(self.header.length);
        let header = RunHeader {
            count,
            length,
            ..self.header
        };
        Self {
            header,
            records: self.records.slice(..taken),
        }
    }

    /// The records in order, not compared with their checksums. The first error is the last item.
    pub fn records(&self) -> Records<'_> {
        Records {
            run: self,
            rest: &self.records,
            index: 0,
            byte: self.header.first_byte,
            failed: false,
        }
    }

    /// The records in order, each compared with its checksum. Structural errors end the iteration; a wrong checksum
    /// is the item of its record and the next records follow.
    pub fn records_verified(&self) -> impl Iterator<Item = Result<Record, RecordError>> + '_ {
        self.records().map(|record| {
            let record = record?;
            record.verify()?;
            Ok(record)
        })
    }

    /// Bytes of header and records together.
    pub fn encoded_bytes(&self) -> usize {
        RUN_HEADER_BYTES + self.records.len()
    }

    /// Appends header and records to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(self.encoded_bytes());
        out.put_slice(&self.header.encode());
        out.put_slice(&self.records);
    }
}

/// The records of one run; see [`Run::records`].
#[derive(Debug)]
pub struct Records<'a> {
    run: &'a Run,
    rest: &'a [u8],
    index: u32,
    byte: u64,
    failed: bool,
}

impl Iterator for Records<'_> {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.index;
        let header = &self.run.header;
        if self.failed || (index == header.count && self.rest.is_empty()) {
            return None;
        }
        if index == header.count {
            self.failed = true;
            return Some(Err(RecordError::Count {
                count: index,
                left: self.rest.len(),
            }));
        }
        match split_record(self.rest, index) {
            Ok((record, payload, rest)) => {
                let byte = self.byte;
                self.rest = rest;
                self.index += 1;
                self.byte = byte.saturating_add(u64::from(record.length));
                Some(Ok(Record {
                    offset: header.first_offset.saturating_add(u64::from(index)),
                    byte,
                    committed_at: header.committed_at,
                    payload: self.run.records.slice_ref(payload),
                    index,
                    crc32c: record.crc32c,
                }))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

/// Splits `bytes` that hold runs back to back, copying none. The first error is the last item.
pub fn decode_runs(bytes: &Bytes) -> impl Iterator<Item = Result<Run, WireError>> + use<> {
    let mut rest = bytes.clone();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let run = split_run(&mut rest);
        if run.is_err() {
            rest.clear();
        }
        Some(run)
    })
}

fn split_run(rest: &mut Bytes) -> Result<Run, WireError> {
    let header = RunHeader::decode(rest)?;
    let need = header.encoded_bytes();
    if rest.len() < need {
        return Err(WireError::RunTruncated {
            have: rest.len(),
            need,
        });
    }
    let records = rest.split_to(need).slice(RUN_HEADER_BYTES..);
    Ok(Run { header, records })
}
