//! Values that cases are written with, short.

use bytes::Bytes;

use super::Failure;
use super::expectation::Stop;
use crate::types::{
    AppendOptions, Offset, Position, ProducerStamp, RecordBlock, Start, Str, StreamName,
};

pub(super) fn name(text: &str) -> Result<StreamName, Stop> {
    StreamName::new(text).map_err(|error| {
        Failure::new("a name of the suite", "a stream name", error.to_string()).into()
    })
}

pub(super) fn block(payloads: &[&str]) -> RecordBlock {
    RecordBlock::from_payloads(payloads)
}

pub(super) fn at(offset: u64, byte: u64) -> Position {
    Position {
        offset: Offset(offset),
        byte,
    }
}

pub(super) fn from(offset: u64) -> Start {
    Start::At(Offset(offset))
}

/// The payload as text; what is not UTF-8 shows as such.
pub(super) fn text(payload: &Bytes) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

pub(super) fn texts(payloads: &[&str]) -> Vec<String> {
    payloads.iter().map(|&payload| payload.to_owned()).collect()
}

pub(super) fn with_seq(seq: &str) -> AppendOptions {
    AppendOptions {
        seq: Some(Bytes::copy_from_slice(seq.as_bytes())),
        ..AppendOptions::default()
    }
}

pub(super) fn with_tail(offset: u64) -> AppendOptions {
    AppendOptions {
        expected_tail: Some(Offset(offset)),
        ..AppendOptions::default()
    }
}

pub(super) fn with_producer(id: &str, epoch: u64, seq: u64) -> AppendOptions {
    let producer = ProducerStamp {
        id: Str::from(id),
        epoch,
        seq,
    };
    AppendOptions {
        producer: Some(producer),
        ..AppendOptions::default()
    }
}

pub(super) fn and_close(options: AppendOptions) -> AppendOptions {
    AppendOptions {
        close: true,
        ..options
    }
}
