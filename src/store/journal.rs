//! `journal.redb`: every commit, in order, until the folder has moved it to the store.
//!
//! One table, `rows`: monotonic row number -> encoded row (see [`super::codec`]). Rows are cut just under 64 KiB, since redb
//! gives a value a power-of-two run of pages. Only the committer writes it. Commits are ordinary (no quick-repair): the
//! file is small, and so is the walk over it after a crash.
//!
//! Invariant: rows up to the store's watermark are dead weight, removed a few per commit; rows past it are replayed.

use std::path::Path;

use bytes::Bytes;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::error::StoreError;

/// File name within the data directory.
pub const FILE: &str = "journal.redb";

/// One value per row, below redb's 64 KiB page run with room for the key and the page header.
pub const ROW_BYTES_MAX: usize = 65_536 - 512;

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// Dead rows removed by one commit, beyond one for each row it adds.
const REMOVED_PER_COMMIT: usize = 8;

/// A row that has been committed.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number.
    pub number: u64,
    /// Its encoded bytes.
    pub bytes: Bytes,
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    database: Database,
    next: u64,
    /// First row that may still be in the file.
    oldest: u64,
}

fn failed<E: Into<redb::Error>>(error: E) -> StoreError {
    StoreError::redb(FILE)(error.into())
}

impl Journal {
    /// Opens or creates the journal in `directory`.
    pub fn open(directory: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let database =
            super::open_database(Builder::new().set_cache_size(cache_bytes), directory, FILE)?;
        let write = database.begin_write().map_err(failed)?;
        let (oldest, next) = {
            let rows = write.open_table(ROWS).map_err(failed)?;
            let first = rows.first().map_err(failed)?.map(|(key, _)| key.value());
            let last = rows.last().map_err(failed)?.map(|(key, _)| key.value());
            (first.unwrap_or(1), last.map_or(1, |last| last + 1))
        };
        write.commit().map_err(failed)?;
        Ok(Self {
            database,
            next,
            oldest,
        })
    }

    /// Row numbers go on after `watermark` even if the journal file was lost or emptied.
    pub fn skip_to(&mut self, watermark: u64) {
        let empty = self.oldest == self.next;
        self.next = self.next.max(watermark.saturating_add(1));
        if empty {
            self.oldest = self.next;
        }
    }

    /// The number the next row gets.
    pub fn next_row(&self) -> u64 {
        self.next
    }

    /// Reads the rows past `watermark`, in order.
    pub fn replay(
        &self,
        watermark: u64,
        mut each: impl FnMut(Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let rows = read.open_table(ROWS).map_err(failed)?;
        for row in rows.range(watermark + 1..).map_err(failed)? {
            let (number, bytes) = row.map_err(failed)?;
            each(Row {
                number: number.value(),
                bytes: Bytes::copy_from_slice(bytes.value()),
            })?;
        }
        Ok(())
    }

    /// Makes `rows` durable, in one transaction with one fsync; removes some rows up to `watermark` on the way.
    ///
    /// After an error nothing may be assumed of the file until it is opened again.
    pub fn commit(&mut self, rows: &[Bytes], watermark: u64) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(failed)?;
        {
            let mut table = write.open_table(ROWS).map_err(failed)?;
            for (number, row) in (self.next..).zip(rows) {
                table.insert(number, row.as_ref()).map_err(failed)?;
            }
            let dead_end = watermark
                .saturating_add(1)
                .min(self.oldest + (rows.len() + REMOVED_PER_COMMIT) as u64);
            while self.oldest < dead_end {
                table.remove(self.oldest).map_err(failed)?;
                self.oldest += 1;
            }
        }
        write.commit().map_err(failed)?;
        self.next += rows.len() as u64;
        Ok(())
    }
}
