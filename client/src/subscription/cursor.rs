//! Walks the records of one run, checking each checksum as it is reached.
//!
//! Used for pushed and for read records alike. It owns its run (a reference count), because it lives from one
//! call of the application to the next. A record that is cut short counts as corrupt.

use bytes::{Buf, Bytes};
use streamkeeper_protocol::Run;
use streamkeeper_protocol::record::RECORD_HEADER_BYTES;

use crate::types::Record;

/// The records of a run that were not yet returned.
#[derive(Debug)]
pub(crate) struct Cursor {
    rest: Bytes,
    offset: u64,
    byte: u64,
    committed_at: u64,
    /// Records left.
    left: u32,
}

impl Cursor {
    pub(crate) fn new(run: Run) -> Self {
        let header = run.header;
        Self {
            rest: run.records,
            offset: header.first_offset,
            byte: header.first_byte,
            committed_at: header.committed_at,
            left: header.count,
        }
    }

    /// The next record and its encoded size in bytes; or the offset of a corrupt one, after which the cursor is of
    /// no more use.
    pub(crate) fn next(&mut self) -> Option<Result<(Record, u64), u64>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.split().ok_or(self.offset))
    }

    fn split(&mut self) -> Option<(Record, u64)> {
        let length = self.rest.try_get_u32().ok()? as usize;
        let checksum = self.rest.try_get_u32().ok()?;
        if self.rest.len() < length {
            return None;
        }
        let payload = self.rest.split_to(length);
        if crc32c::crc32c(&payload) != checksum {
            return None;
        }
        let record = Record {
            offset: self.offset,
            byte: self.byte,
            committed_at: self.committed_at,
            payload,
        };
        self.offset += 1;
        self.byte += length as u64;
        Some((record, (RECORD_HEADER_BYTES + length) as u64))
    }
}

#[cfg(test)]
mod tests {
    use streamkeeper_protocol::RecordBlock;

    use super::*;

    fn run(payloads: &[&str]) -> Run {
        Run::new(&RecordBlock::from_payloads(payloads), 7, 100, 5)
    }

    #[test]
    fn records_come_with_their_offsets_and_byte_positions() {
        let mut cursor = Cursor::new(run(&["one", "", "three"]));
        let mut seen = Vec::new();
        while let Some(record) = cursor.next() {
            let (record, bytes) = record.unwrap();
            assert_eq!(bytes, 8 + record.payload.len() as u64);
            seen.push((record.offset, record.byte, record.payload));
        }
        assert_eq!(
            seen,
            [
                (7, 100, "one".into()),
                (8, 103, "".into()),
                (9, 103, Bytes::from("three"))
            ]
        );
    }

    #[test]
    fn a_damaged_payload_is_reported_by_its_offset() {
        let mut damaged = run(&["one", "two"]);
        let mut bytes = damaged.records.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        damaged.records = bytes.into();
        let mut cursor = Cursor::new(damaged);
        assert!(cursor.next().unwrap().is_ok());
        assert_eq!(cursor.next().unwrap().unwrap_err(), 8);
    }

    #[test]
    fn a_record_cut_short_is_corrupt() {
        let mut cut = run(&["one"]);
        cut.records.truncate(10);
        assert_eq!(Cursor::new(cut).next().unwrap().unwrap_err(), 7);
    }
}
