//! Stdout: records as they are, one a line, or JSON objects, one a line.
//!
//! Buffered; whoever writes says when a reader may be waiting ([`Output::flush`]). A reader that has gone ends the
//! command quietly ([`Failure::OutputGone`]).

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use streamkeeper_client::Record;

use super::Failure;
use super::position::show_time;
use crate::types::{Offset, Position};

/// Buffered stdout in one of two forms.
#[derive(Debug)]
pub(super) struct Output {
    to: BufWriter<Stdout>,
    json: bool,
}

/// A record as JSON.
#[derive(Serialize)]
struct RecordLine<'a> {
    offset: u64,
    text_offset: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// Instead of `payload`, for what is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self {
            to: BufWriter::with_capacity(64 << 10, io::stdout()),
            json,
        }
    }

    /// Whether JSON was asked for.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes one record.
    pub(super) fn record(&mut self, record: &Record) -> Result<(), Failure> {
        if self.json {
            let text = std::str::from_utf8(&record.payload).ok();
            let position = Position {
                offset: Offset(record.offset),
                byte: record.byte,
            };
            return self.object(&RecordLine {
                offset: record.offset,
                text_offset: position.to_string(),
                time: show_time(record.committed_at),
                payload: text,
                payload_base64: text.is_none().then(|| STANDARD.encode(&record.payload)),
            });
        }
        self.to
            .write_all(&record.payload)
            .and_then(|()| self.to.write_all(b"\n"))
            .map_err(Failure::output)
    }

    /// Writes one JSON object.
    pub(super) fn object(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.to, object)
            .map_err(|error| Failure::output(error.into()))?;
        self.to.write_all(b"\n").map_err(Failure::output)
    }

    /// Writes one line of text.
    pub(super) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.to, "{line}").map_err(Failure::output)
    }

    /// Writes `object`, or the line in its place if JSON was not asked for, and flushes.
    pub(super) fn answer(
        &mut self,
        object: &impl Serialize,
        line: impl Display,
    ) -> Result<(), Failure> {
        if self.json {
            self.object(object)?;
        } else {
            self.line(line)?;
        }
        self.flush()
    }

    /// Hands everything written so far to whoever reads.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(Failure::output)
    }
}
