//! Wire values to this crate's own. The only place that knows both for answers.

use std::time::Duration;

use bytes::Bytes;
use streamkeeper_protocol::event::{ListedStream, Records, Status};

use crate::error::Error;
use crate::subscription::Cursor;
use crate::types::{Page, StreamEntry, StreamStatus};

impl Page {
    /// Opens the runs of a RECORDS, checking every checksum.
    pub(crate) fn from_wire(stream: &str, records: &Records) -> Result<Self, Error> {
        let mut opened = Vec::new();
        for run in records.runs() {
            let mut cursor = Cursor::new(run?);
            while let Some(record) = cursor.next() {
                let (record, _) = record.map_err(|offset| Error::Corrupt {
                    stream: stream.to_owned(),
                    offset,
                })?;
                opened.push(record);
            }
        }
        Ok(Self {
            records: opened,
            next: records.next,
            next_byte: records.next_byte,
            tail: records.tail,
            more: records.more,
            closed: records.closed,
        })
    }
}

impl From<Status> for StreamStatus {
    fn from(status: Status) -> Self {
        Self {
            content_type: status.content_type.as_str().to_owned(),
            created_at: status.created_at,
            closed: status.closed,
            storage: status.storage,
            earliest: status.earliest,
            earliest_byte: status.earliest_byte,
            tail: status.tail,
            tail_byte: status.tail_byte,
            ttl: status.ttl_seconds.map(Duration::from_secs),
            expires_at: status.expires_at,
            max_age: status.max_age_ms.map(Duration::from_millis),
            max_records: status.max_records,
            max_bytes: status.max_bytes,
            last_seq: status.last_seq.as_deref().map(Bytes::copy_from_slice),
            last_append_at: status.last_append_at,
        }
    }
}

impl From<ListedStream> for StreamEntry {
    fn from(listed: ListedStream) -> Self {
        Self {
            stream: listed.stream.as_str().to_owned(),
            tail: listed.tail,
            earliest: listed.earliest,
            closed: listed.closed,
        }
    }
}
