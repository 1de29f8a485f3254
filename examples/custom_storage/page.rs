//! Reading for the example: one page of records as they are now, and its payloads joined.

use streamkeeper::rules::StreamState;
use streamkeeper::storage::ReadLimits;
use streamkeeper::types::{
    Data, Error, Fault, Message, Messages, Offset, Position, Refusal, Start, Timestamp,
};
use tokio::sync::watch;

use super::{Stream, View};

/// What a read answers, and what it takes to wait for more.
pub(crate) struct Page {
    pub(crate) read: Messages,
    pub(crate) view: watch::Receiver<View>,
    json: bool,
}

/// The records from `from` on within `limits`; at least one if there is one.
pub(crate) fn of(
    (stream, state): (&Stream, &StreamState),
    from: Start,
    limits: ReadLimits,
) -> Result<Page, Error> {
    let begin = begin(stream, state, from)?;
    let (mut messages, mut next, mut bytes) = (Vec::new(), state.tail, 0);
    let runs = stream
        .runs
        .iter()
        .filter_map(|run| run.starting_at(begin.0));
    'full: for run in runs {
        for record in run.records() {
            let record = record.map_err(|error| Fault::Read {
                reason: error.to_string(),
            })?;
            let position = Position {
                offset: Offset(record.offset),
                byte: record.byte,
            };
            bytes += record.payload.len();
            let full = bytes > limits.max_bytes || messages.len() >= limits.max_records as usize;
            if full && !messages.is_empty() {
                next = position;
                break 'full;
            }
            let committed_at = Timestamp(record.committed_at);
            messages.push(Message {
                position,
                committed_at,
                payload: record.payload,
            });
        }
    }
    let has_more = next < state.tail;
    let closed = state.closed && !has_more;
    let read = Messages {
        messages,
        next,
        has_more,
        closed,
    };
    Ok(Page {
        read,
        view: stream.view.subscribe(),
        json: state.is_json(),
    })
}

/// The offset that `from` means now.
fn begin(stream: &Stream, state: &StreamState, from: Start) -> Result<Offset, Refusal> {
    let (earliest, tail) = (state.earliest.offset, state.tail.offset);
    match from {
        Start::Beginning => Ok(earliest),
        Start::Now => Ok(tail),
        Start::At(offset) if offset < earliest => Err(Refusal::Trimmed { earliest }),
        Start::At(offset) if offset > tail => Err(Refusal::PastTail { tail }),
        Start::At(offset) => Ok(offset),
        Start::Time(time) => {
            let first = stream
                .runs
                .iter()
                .find(|run| run.header.committed_at >= time.0);
            Ok(first.map_or(tail, |run| Offset(run.header.first_offset)))
        }
    }
}

impl Page {
    /// The payloads joined: back to back, or in JSON mode as an array.
    pub(crate) fn into_data(self) -> Data {
        let Messages {
            messages,
            next,
            has_more,
            closed,
        } = self.read;
        let payloads: Vec<&[u8]> = messages
            .iter()
            .map(|message| &message.payload[..])
            .collect();
        let bytes = if self.json {
            [b"[", &payloads.join(&b","[..])[..], b"]"].concat()
        } else {
            payloads.concat()
        };
        Data {
            bytes: bytes.into(),
            next,
            has_more,
            closed,
        }
    }
}
