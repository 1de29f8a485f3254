//! What the store says of itself: a few numbers, in the transaction of each fold.
//!
//! redb compares pages with their checksums only when it repairs its file, so they carry one of their own. A watermark that is not what
//! was written would be believed: rows that only the journal has would be taken for folded, and the newest records would be
//! missing without a word.

use redb::{ReadableTable, Table, TableDefinition};

use super::chunks::{FILE, failed};
use super::error::StoreError;
use crate::types::Timestamp;

pub(super) const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");

const WATERMARK: &str = "watermark";
const NEXT_STREAM_ID: &str = "next_stream_id";
const NEWEST_COMMIT_AT: &str = "newest_commit_at";

/// CRC-32C of the others. A store that was last written by a build that knew none has none.
const CHECKSUM: &str = "checksum";

/// What the store says of itself when opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Journal rows up to this one are folded in.
    pub watermark: u64,
    /// The id that the next stream gets.
    pub next_stream_id: u64,
    /// Newest commit time folded in.
    pub newest_commit_at: Timestamp,
}

impl Facts {
    /// # Errors
    /// [`StoreError::Damaged`] if they are not what was written.
    pub(super) fn read(table: &impl ReadableTable<&'static str, u64>) -> Result<Self, StoreError> {
        let fact = |name| {
            let value = table.get(name).map_err(failed)?;
            Ok::<_, StoreError>(value.map(|value| value.value()))
        };
        let facts = Self {
            watermark: fact(WATERMARK)?.unwrap_or(0),
            next_stream_id: fact(NEXT_STREAM_ID)?.unwrap_or(0),
            newest_commit_at: Timestamp(fact(NEWEST_COMMIT_AT)?.unwrap_or(0)),
        };
        match fact(CHECKSUM)? {
            Some(checksum) if checksum != facts.checksum() => Err(StoreError::Damaged {
                file: FILE,
                reason: "its watermark and counters do not match their checksum".to_owned(),
            }),
            _ => Ok(facts),
        }
    }

    pub(super) fn write(self, table: &mut Table<'_, &'static str, u64>) -> Result<(), StoreError> {
        let facts = self.rows().into_iter();
        for (name, value) in facts.chain([(CHECKSUM, self.checksum())]) {
            table.insert(name, value).map_err(failed)?;
        }
        Ok(())
    }

    /// The larger of each.
    #[must_use]
    pub(super) fn or_newer(self, other: Self) -> Self {
        Self {
            watermark: self.watermark.max(other.watermark),
            next_stream_id: self.next_stream_id.max(other.next_stream_id),
            newest_commit_at: self.newest_commit_at.max(other.newest_commit_at),
        }
    }

    fn rows(&self) -> [(&'static str, u64); 3] {
        [
            (WATERMARK, self.watermark),
            (NEXT_STREAM_ID, self.next_stream_id),
            (NEWEST_COMMIT_AT, self.newest_commit_at.0),
        ]
    }

    fn checksum(&self) -> u64 {
        let checksum = self.rows().iter().fold(0, |checksum, (_, value)| {
            crc32c::crc32c_append(checksum, &value.to_be_bytes())
        });
        u64::from(checksum)
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;
    use redb::{Builder, ReadableDatabase};

    use super::*;

    /// What is read once `facts` were written, and then the row `name` as `value`.
    fn read_with(facts: Facts, name: &'static str, value: u64) -> Result<Facts, StoreError> {
        let backend = InMemoryBackend::new();
        let database = Builder::new().create_with_backend(backend).unwrap();
        let write = database.begin_write().unwrap();
        {
            let mut table = write.open_table(FACTS).unwrap();
            facts.write(&mut table).unwrap();
            table.insert(name, value).unwrap();
        }
        write.commit().unwrap();
        let read = database.begin_read().unwrap();
        Facts::read(&read.open_table(FACTS).unwrap())
    }

    #[test]
    fn no_bit_of_a_fact_changes_without_being_told() {
        let facts = Facts {
            watermark: 7,
            next_stream_id: 3,
            newest_commit_at: Timestamp(1_700_000_000_000_000),
        };
        assert_eq!(read_with(facts, WATERMARK, 7).unwrap(), facts);
        for (name, value) in facts.rows() {
            for bit in 0..64 {
                let read = read_with(facts, name, value ^ 1 << bit);
                assert!(
                    matches!(read, Err(StoreError::Damaged { .. })),
                    "bit {bit} of {name}: {read:?}"
                );
            }
        }
    }
}
