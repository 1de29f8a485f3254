//! Looking at a journal that may be damaged: everything past the watermark is told of, what is whole and what is not.
//!
//! A replay stops at the first damage, since nothing may be skipped; here nothing is gone on with, so the rest is worth telling.

use bytes::Bytes;

use super::frame::{FrameHeader, HEADER_BYTES};
use super::{Journal, LeftOut, Row, StoreError};

/// What is found, in the order of the rows.
#[derive(Debug)]
pub enum Surveyed {
    /// A row that its commit's checksum confirms.
    Row(Row),
    /// A row of a commit that does not match its checksum. The row itself may be right.
    Doubtful(Row),
    /// Rows from the first of these numbers up to the second are not there whole, and others follow them.
    Lost(u64, u64),
    /// The last commit is not there whole: a start leaves it out.
    LeftOut(LeftOut),
}

impl Journal {
    /// Goes through what lies past `watermark`.
    ///
    /// # Errors
    /// If the file cannot be read, or from `each`.
    pub fn survey(
        &self,
        watermark: u64,
        mut each: impl FnMut(Surveyed) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut next = watermark.saturating_add(1);
        // Broken frames with rows that no whole frame has brought so far.
        let mut broken: Vec<(u64, FrameHeader)> = Vec::new();
        let scan = self.scan()?;
        for (start, header) in scan.frames.iter().copied() {
            if header.last_row() < next {
                continue;
            }
            let Some(rows) = self.read_rows(start, &header)? else {
                broken.push((start, header));
                continue;
            };
            if header.first_row > next {
                self.tell_doubtful(&broken, next..header.first_row, &mut each)?;
                each(Surveyed::Lost(next, header.first_row))?;
            }
            for (number, bytes) in (header.first_row..).zip(rows) {
                if number >= next {
                    each(Surveyed::Row(Row::new(number, bytes)))?;
                }
            }
            next = header.last_row() + 1;
            broken.retain(|(_, header)| header.last_row() >= next);
        }
        match self.left_out(&scan, next)? {
            Some(left_out) => each(Surveyed::LeftOut(left_out)),
            None => Ok(()),
        }
    }

    fn tell_doubtful(
        &self,
        broken: &[(u64, FrameHeader)],
        lost: std::ops::Range<u64>,
        each: &mut impl FnMut(Surveyed) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for (start, header) in broken {
            let rows = self.rows_unchecked(*start, header)?;
            for (number, bytes) in (header.first_row..).zip(rows) {
                if lost.contains(&number) {
                    each(Surveyed::Doubtful(Row::new(number, bytes)))?;
                }
            }
        }
        Ok(())
    }

    /// The rows of a frame as far as their lengths can be believed.
    fn rows_unchecked(&self, start: u64, header: &FrameHeader) -> Result<Vec<Bytes>, StoreError> {
        let mut at = start + HEADER_BYTES as u64;
        let end = at + u64::from(header.body_bytes);
        let table = u64::from(header.rows) * 4;
        let mut rows = Vec::new();
        if at + table > end {
            return Ok(rows);
        }
        let lengths = self.read(at, table)?;
        at += table;
        for length in lengths.chunks_exact(4) {
            let length = length
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            if at + length > end {
                break;
            }
            rows.push(Bytes::from(self.read(at, length)?));
            at += length;
        }
        Ok(rows)
    }
}
