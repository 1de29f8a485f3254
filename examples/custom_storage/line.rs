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

#[derive(Serialize, Deserialize)]
enum Entry {
    Created {
        id: u64,
        options: Options,
        at: u64,
    },
    Appended {
        records: Vec<Vec<u8>>,
        at: u64,
    },
    Producer {
        id: String,
        epoch: u64,
        seq: u64,
        at: u64,
    },
    ProducersEvicted {
        idle_since: u64,
    },
    Seq {
        seq: Vec<u8>,
    },
    Closed {
        at: u64,
    },
    Touched {
        at: u64,
    },
    Trimmed {
        offset: u64,
        byte: u64,
    },
    Deleted {
        expired: bool,
        at: u64,
    },
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
pub(crate) fn open(path: &Path) -> io::Result<(File, Vec<(StreamName, Vec<Effect>)>)> {
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

fn decode(line: &[u8]) -> io::Result<(StreamName, Vec<Effect>)> {
    let line: Line = serde_json::from_slice(line)?;
    let stream = StreamName::new(&line.stream).map_err(io::Error::other)?;
    Ok((stream, line.effects.into_iter().map(Effect::from).collect()))
}

impl From<&Effect> for Entry {
    fn from(effect: &Effect) -> Self {
        match effect {
            Effect::Created { id, options, at } => Self::Created {
                id: id.0,
                options: Options::from(&**options),
                at: at.0,
            },
            Effect::Appended { batch, at } => Self::Appended {
                records: batch.payloads().map(|payload| payload.to_vec()).collect(),
                at: at.0,
            },
            Effect::ProducerAdvanced { id, epoch, seq, at } => Self::Producer {
                id: id.to_string(),
                epoch: *epoch,
                seq: *seq,
                at: at.0,
            },
            Effect::ProducersEvicted { idle_since } => Self::ProducersEvicted {
                idle_since: idle_since.0,
            },
            Effect::SeqAdvanced { seq } => Self::Seq { seq: seq.to_vec() },
            Effect::Closed { at } => Self::Closed { at: at.0 },
            Effect::Touched { at } => Self::Touched { at: at.0 },
            Effect::Trimmed { to } => Self::Trimmed {
                offset: to.offset.0,
                byte: to.byte,
            },
            Effect::Deleted { reason, at } => Self::Deleted {
                expired: *reason == DeleteReason::Expired,
                at: at.0,
            },
        }
    }
}

impl From<Entry> for Effect {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Created { id, options, at } => Self::Created {
                id: StreamId(id),
                options: CreateOptions::from(options).into(),
                at: Timestamp(at),
            },
            Entry::Appended { records, at } => Self::Appended {
                batch: RecordBlock::from_payloads(records),
                at: Timestamp(at),
            },
            Entry::Producer { id, epoch, seq, at } => Self::ProducerAdvanced {
                id: Str::from(id),
                epoch,
                seq,
                at: Timestamp(at),
            },
            Entry::ProducersEvicted { idle_since } => Self::ProducersEvicted {
                idle_since: Timestamp(idle_since),
            },
            Entry::Seq { seq } => Self::SeqAdvanced { seq: seq.into() },
            Entry::Closed { at } => Self::Closed { at: Timestamp(at) },
            Entry::Touched { at } => Self::Touched { at: Timestamp(at) },
            Entry::Trimmed { offset, byte } => Self::Trimmed {
                to: Position {
                    offset: Offset(offset),
                    byte,
                },
            },
            Entry::Deleted { expired, at } => Self::Deleted {
                reason: if expired {
                    DeleteReason::Expired
                } else {
                    DeleteReason::Requested
                },
                at: Timestamp(at),
            },
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
