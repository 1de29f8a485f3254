//! Reads: catch-up and long-poll over a cursor.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use streamkeeper_protocol::run::Record;
use tokio::time::Instant;

use super::Broker;
use crate::fanout::{Bell, Cursor, EndReason, Step, Watcher, loaded, readable, slide_ttl};
use crate::storage::ReadLimits;
use crate::stream::View;
use crate::types::{
    CreateOptions, Data, Error, Expiry, Fault, Message, Messages, Offset, Position, Refusal, Run,
    Start, StreamId, StreamName, Timestamp,
};

/// Records as they are stored and sent.
#[derive(Clone, Debug)]
pub struct Runs {
    /// Which incarnation of the stream was read.
    pub stream: StreamId,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its configuration.
    pub options: Arc<CreateOptions>,
    /// The runs, in order.
    pub runs: Vec<Run>,
    /// Where the read began.
    pub from: Position,
    /// Where to read on.
    pub next: Position,
    /// The durable tail.
    pub tail: Position,
    /// More is there to read now.
    pub has_more: bool,
    /// The stream is closed and `next` is its final tail.
    pub closed: bool,
}

impl Broker {
    /// Reads records as runs; waits for the first up to `limits.wait`. Refusals: `NotFound`, `Trimmed`, `PastTail`.
    pub async fn read_runs(
        &self,
        stream: &StreamName,
        from: Start,
        limits: ReadLimits,
    ) -> Result<Runs, Error> {
        let read = self.read_runs_with(stream, from, limits, std::future::ready(()));
        read.await.map(|(runs, _)| runs)
    }

    /// As [`Broker::read_runs`]; but before the store is read it waits for `room`, and gives what that gave. Records that are in
    /// memory anyway need none.
    pub(crate) async fn read_runs_with<R>(
        &self,
        stream: &StreamName,
        from: Start,
        limits: ReadLimits,
        room: impl Future<Output = R>,
    ) -> Result<(Runs, Option<R>), Error> {
        let (mut room, mut held) = (Some(room), None);
        let bell = Arc::new(Bell::default());
        let watcher: Arc<dyn Watcher> = Arc::<Bell>::clone(&bell);
        let mut cursor = self.cursor(stream, from, Arc::clone(&watcher), 0).await?;
        // A wait beyond the clock's range is one without end.
        let deadline = Instant::now().checked_add(limits.wait);
        loop {
            let max_bytes = limits.max_bytes.max(1);
            let step = match cursor.poll(max_bytes) {
                Step::Behind => {
                    if let Some(room) = room.take() {
                        held = Some(room.await);
                    }
                    cursor.load(max_bytes).await?
                }
                step => step,
            };
            match step {
                Step::Runs(runs) => {
                    let runs = fill(&mut cursor, runs.into_vec(), &limits).await;
                    let runs = limited(&cursor, runs, limits.max_records.max(1));
                    return Ok((runs, held));
                }
                Step::End {
                    reason: EndReason::Closed,
                    ..
                } => return Ok((empty(&cursor, true), held)),
                Step::End {
                    reason: EndReason::Trimmed,
                    earliest,
                    ..
                } => {
                    if from == Start::Beginning {
                        // The beginning moved between finding it and reading there.
                        cursor = self.cursor(stream, from, Arc::clone(&watcher), 0).await?;
                        continue;
                    }
                    return Err(Refusal::Trimmed { earliest }.into());
                }
                Step::End { .. } => return Err(Refusal::NotFound.into()),
                Step::Idle | Step::Behind => {}
            }
            let rung = match deadline {
                _ if limits.wait.is_zero() => false,
                Some(deadline) => tokio::time::timeout_at(deadline, bell.wait()).await.is_ok(),
                None => {
                    bell.wait().await;
                    true
                }
            };
            if !rung {
                return Ok((empty(&cursor, false), held));
            }
        }
    }

    /// Restarts the sliding ttl of a stream that somebody waits on, as a read does. In memory, unless it has moved far; says
    /// when to do so again, or `None` if there is nothing to do: no ttl, or no such stream in memory.
    pub fn touch(&self, stream: &StreamName) -> Option<Duration> {
        let stream = self.stream(stream.as_str()).ok()?;
        let store = self.store(&stream);
        let view = stream.live().view.clone()?;
        let Expiry::Ttl(seconds) = view.options.expiry else {
            return None;
        };
        slide_ttl(store, &stream, &view, store.shared.clock.now());
        Some(Duration::from_secs(seconds) / 2)
    }

    /// The durable view of a stream that exists.
    pub(super) async fn view(&self, stream: &StreamName) -> Result<View, Error> {
        let stream = self.stream(stream.as_str())?;
        let store = Arc::clone(self.store(&stream));
        loaded(&store, &stream).await?;
        let view = {
            let live = stream.live();
            readable(&store, &stream, &live).cloned()
        };
        if view.is_err() {
            store.shared.discard(&stream);
        }
        Ok(view?)
    }
}

/// Reads on up to the limits: one step ends where the store, an ancestor of a fork, or memory does.
async fn fill(cursor: &mut Cursor, mut runs: Vec<Run>, limits: &ReadLimits) -> Vec<Run> {
    loop {
        let bytes: usize = runs.iter().map(Run::encoded_bytes).sum();
        let records: u64 = runs.iter().map(|run| u64::from(run.header.count)).sum();
        let left = limits.max_bytes.saturating_sub(bytes);
        // A small rest is not worth another step, which may have to read a chunk for it.
        let full =
            left < limits.max_bytes / 4 || left == 0 || records >= u64::from(limits.max_records);
        if full || cursor.next().offset >= cursor.tail().offset {
            return runs;
        }
        // What cannot be read now is the next read's to report.
        match cursor.load(left).await.unwrap_or(Step::Behind) {
            Step::Runs(more) if more.iter().map(Run::encoded_bytes).sum::<usize>() <= left => {
                runs.extend(more);
            }
            // At least one record is handed out, fit or not.
            Step::Runs(_) | Step::Idle | Step::Behind | Step::End { .. } => return runs,
        }
    }
}

fn empty(cursor: &Cursor, closed: bool) -> Runs {
    Runs {
        stream: cursor.incarnation(),
        created_at: cursor.created_at(),
        options: Arc::clone(cursor.options()),
        runs: Vec::new(),
        from: cursor.next(),
        next: cursor.next(),
        tail: cursor.tail(),
        has_more: false,
        closed,
    }
}

fn limited(cursor: &Cursor, runs: impl IntoIterator<Item = Run>, max_records: u32) -> Runs {
    let mut kept = Vec::new();
    let mut left = max_records;
    for run in runs {
        if left == 0 {
            break;
        }
        let run = if run.header.count > left {
            run.take(usize::MAX, left)
        } else {
            run
        };
        left -= run.header.count;
        kept.push(run);
    }
    let next = kept.last().map_or(cursor.next(), |last| Position {
        offset: Offset(last.header.next_offset()),
        byte: last.header.next_byte(),
    });
    let tail = cursor.tail();
    let has_more = next.offset < tail.offset;
    let closed = !has_more && next.offset == cursor.next().offset && cursor.is_at_end();
    let from = kept.first().map_or(next, |first: &Run| Position {
        offset: Offset(first.header.first_offset),
        byte: first.header.first_byte,
    });
    Runs {
        stream: cursor.incarnation(),
        created_at: cursor.created_at(),
        options: Arc::clone(cursor.options()),
        runs: kept,
        from,
        next,
        tail,
        has_more,
        closed,
    }
}

impl Broker {
    /// Tells log and metrics of an `error` that was found in records after they were read.
    pub(crate) fn note_unreadable(&self, stream: &StreamName, error: Error) -> Error {
        if let Error::Fault(fault @ Fault::Corrupt { offset, .. }) = &error {
            let shared = &self.inner.durable.shared;
            shared.failed_read(stream, *offset, fault);
        }
        error
    }
}

impl Runs {
    /// Payloads joined, each checked against its checksum; in JSON mode as an array.
    ///
    /// # Errors
    /// `Corrupt` if a record does not match its checksum.
    pub fn into_data(self, json: bool) -> Result<Data, Error> {
        let records = self.runs.iter().flat_map(verified);
        let mut bytes = BytesMut::new();
        if json {
            bytes.put_u8(b'[');
        }
        for (index, record) in records.enumerate() {
            let record = record?;
            if json && index > 0 {
                bytes.put_u8(b',');
            }
            bytes.extend_from_slice(&record.payload);
        }
        if json {
            bytes.put_u8(b']');
        }
        let Self {
            next,
            has_more,
            closed,
            ..
        } = self;
        Ok(Data {
            bytes: bytes.freeze(),
            next,
            has_more,
            closed,
        })
    }

    /// Records one by one, each checked against its checksum.
    pub(super) fn into_messages(self) -> Result<Messages, Error> {
        let Self {
            runs,
            next,
            has_more,
            closed,
            ..
        } = self;
        let mut messages = Vec::new();
        for run in &runs {
            for record in verified(run) {
                messages.push(message(&record?));
            }
        }
        Ok(Messages {
            messages,
            next,
            has_more,
            closed,
        })
    }
}

/// The records of `run`, each checked against its checksum: [`Fault::Corrupt`] in place of one that does not match it.
pub(crate) fn verified(run: &Run) -> impl Iterator<Item = Result<Record, Error>> + '_ {
    let offsets = run.header.first_offset..;
    offsets.zip(run.records_verified()).map(|(offset, record)| {
        record.map_err(|error| {
            Error::Fault(Fault::Corrupt {
                offset: Offset(offset),
                reason: error.to_string(),
            })
        })
    })
}

fn message(record: &Record) -> Message {
    Message {
        position: Position {
            offset: Offset(record.offset),
            byte: record.byte,
        },
        committed_at: Timestamp(record.committed_at),
        payload: Bytes::clone(&record.payload),
    }
}

#[cfg(test)]
mod tests {
    use streamkeeper_protocol::run::RunHeader;

    use super::*;
    use crate::types::RecordBlock;

    #[test]
    fn a_record_that_does_not_match_its_checksum_is_named_by_its_offset() {
        let block = RecordBlock::from_payloads(["one", "two", "three"]);
        let mut bytes = block.bytes().to_vec();
        let at = bytes.windows(3).position(|part| part == b"two");
        *bytes.get_mut(at.expect("it is there")).expect("within") ^= 1;
        let run = Run {
            header: RunHeader {
                first_offset: 40,
                first_byte: 400,
                committed_at: 4,
                count: block.count(),
                length: u32::try_from(bytes.len()).expect("few"),
            },
            records: Bytes::from(bytes),
        };
        let found: Vec<_> = verified(&run).collect();
        let [
            Ok(one),
            Err(Error::Fault(Fault::Corrupt { offset, .. })),
            Ok(three),
        ] = &*found
        else {
            panic!("{found:?}");
        };
        assert_eq!((one.offset, *offset, three.offset), (40, Offset(41), 42));
    }
}
