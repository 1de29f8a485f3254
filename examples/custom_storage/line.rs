//! The lines of the example's log: one JSON object per command, with the stream's name and all effects.
//!
//! A line counts once its newline is there: what a crash leaves after the last one was never confirmed and is cut off.
//! This is a mapping between [`Effect`] and what serde can write, and nothing more; payloads become arrays of numbers.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamkeeper::rules::Effect;
use streamkeeper::types::{
    CreateOptions, DeleteReason, Expiry, Offset, Position, RecordBlock, Retention, StorageKind,
    Str, StreamId, StreamName, Timestamp,
};

#[derive(Serialize, Deserialize)]
struct Line {
    stream: String,
    effects: Vec<Entry>,
}

/// An [`Effect`]; times are the last number.
#[derive(Serialize, Deserialize)]
enum Entry {
    Created(u64, Options, u64),
    Appended(Vec<Vec<u8>>, u64),
    ProducerAdvanced(String, u64, u64, u64),
    ProducersEvicted(u64),
    SeqAdvanced(Vec<u8>),
    Closed(u64),
    Touched(u64),
    Trimmed(u64, u64),
    Deleted(u64),
    Expired(u64),
}

#[derive(Serialize, Deserialize)]
struct Options {
    content_type: String,
    ttl: Option<u64>,
    expires_at: Option<u64>,
    max_age: Option<Duration>,
    max_records: Option<u64>,
    max_bytes: Option<u64>,
    memory: bool,
}

/// What a line says: a stream, and the effects of one command on it.
pub(crate) type Change = (StreamName, Vec<Effect>);

/// The line for the effects of one command.
pub(crate) fn encode(stream: &StreamName, effects: &[Effect]) -> Vec<u8> {
    let effects = effects.iter().map(Entry::from).collect();
    let line = Line {
        stream: stream.to_string(),
        effects,
    };
    let mut bytes = serde_json::to_vec(&line).expect("a line has no map with odd keys");
    bytes.push(b'\n');
    bytes
}

/// Opens the log for appending, and gives what it holds.
pub(crate) fn open(path: &Path) -> io::Result<(File, Vec<Change>)> {
    let mut log = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let whole = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |last| last + 1);
    log.set_len(whole as u64)?;
    log.seek(io::SeekFrom::End(0))?;
    let lines = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| line.ends_with(b"\n"));
    Ok((log, lines.map(decode).collect::<io::Result<_>>()?))
}

fn decode(line: &[u8]) -> io::Result<Change> {
    let line: Line = serde_json::from_slice(line)?;
    let stream = StreamName::new(&line.stream).map_err(io::Error::other)?;
    Ok((stream, line.effects.into_iter().map(Effect::from).collect()))
}

impl From<&Effect> for Entry {
    fn from(effect: &Effect) -> Self {
        match effect {
            Effect::Created {
                id, options, at, ..
            } => Self::Created(id.0, (&**options).into(), at.0),
            Effect::Appended { batch, at } => Self::Appended(
                batch.payloads().map(|payload| payload.to_vec()).collect(),
                at.0,
            ),
            Effect::ProducerAdvanced { id, epoch, seq, at } => {
                Self::ProducerAdvanced(id.to_string(), *epoch, *seq, at.0)
            }
            Effect::ProducersEvicted { idle_since } => Self::ProducersEvicted(idle_since.0),
            Effect::SeqAdvanced { seq } => Self::SeqAdvanced(seq.to_vec()),
            Effect::Closed { at } => Self::Closed(at.0),
            Effect::Touched { at } => Self::Touched(at.0),
            Effect::Trimmed { to } => Self::Trimmed(to.offset.0, to.byte),
            Effect::ForkTaken { .. } | Effect::ForkReleased | Effect::Retired { .. } => {
                unreachable!("the storage contract creates no forks")
            }
            Effect::Deleted { reason, at } => match reason {
                DeleteReason::Requested => Self::Deleted(at.0),
                DeleteReason::Expired => Self::Expired(at.0),
            },
        }
    }
}

impl From<Entry> for Effect {
    fn from(entry: Entry) -> Self {
        let deleted = |reason, at| Self::Deleted {
            reason,
            at: Timestamp(at),
        };
        match entry {
            Entry::Created(id, options, at) => {
                let (id, options) = (StreamId(id), CreateOptions::from(options).into());
                Self::Created {
                    id,
                    options,
                    at: Timestamp(at),
                    fork: None,
                }
            }
            Entry::Appended(records, at) => {
                let batch = RecordBlock::from_payloads(records);
                Self::Appended {
                    batch,
                    at: Timestamp(at),
                }
            }
            Entry::ProducerAdvanced(id, epoch, seq, at) => {
                let (id, at) = (Str::from(id), Timestamp(at));
                Self::ProducerAdvanced { id, epoch, seq, at }
            }
            Entry::ProducersEvicted(at) => {
                let idle_since = Timestamp(at);
                Self::ProducersEvicted { idle_since }
            }
            Entry::SeqAdvanced(seq) => Self::SeqAdvanced { seq: seq.into() },
            Entry::Closed(at) => Self::Closed { at: Timestamp(at) },
            Entry::Touched(at) => Self::Touched { at: Timestamp(at) },
            Entry::Trimmed(offset, byte) => {
                let to = Position {
                    offset: Offset(offset),
                    byte,
                };
                Self::Trimmed { to }
            }
            Entry::Deleted(at) => deleted(DeleteReason::Requested, at),
            Entry::Expired(at) => deleted(DeleteReason::Expired, at),
        }
    }
}

impl From<&CreateOptions> for Options {
    fn from(options: &CreateOptions) -> Self {
        let (ttl, expires_at) = match options.expiry {
            Expiry::Never => (None, None),
            Expiry::Ttl(seconds) => (Some(seconds), None),
            Expiry::At(at) => (None, Some(at.0)),
        };
        let Retention {
            max_age,
            max_records,
            max_bytes,
        } = options.retention;
        let content_type = options.content_type.to_string();
        let memory = options.storage == StorageKind::Memory;
        Self {
            content_type,
            ttl,
            expires_at,
            max_age,
            max_records,
            max_bytes,
            memory,
        }
    }
}

impl From<Options> for CreateOptions {
    fn from(options: Options) -> Self {
        let expiry = match (options.ttl, options.expires_at) {
            (Some(seconds), _) => Expiry::Ttl(seconds),
            (None, Some(at)) => Expiry::At(Timestamp(at)),
            (None, None) => Expiry::Never,
        };
        let Options {
            content_type,
            max_age,
            max_records,
            max_bytes,
            memory,
            ..
        } = options;
        Self {
            content_type: Str::from(content_type),
            expiry,
            retention: Retention {
                max_age,
                max_records,
                max_bytes,
            },
            storage: if memory {
                StorageKind::Memory
            } else {
                StorageKind::Durable
            },
        }
    }
}
