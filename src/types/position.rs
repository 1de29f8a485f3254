//! Positions in a stream, as numbers and as text.

use std::fmt;
use std::str::FromStr;

use super::Timestamp;

/// A record position: how many records of the stream lie before it. The first record has offset 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A position by record and by byte: what a text offset says.
///
/// As text: two zero-padded 16-digit decimal parts joined by `_`, so that texts sort as positions do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Records before this position.
    pub offset: Offset,
    /// Payload bytes before this position.
    pub byte: u64,
}

impl Position {
    /// The start of every stream.
    pub const START: Self = Self {
        offset: Offset(0),
        byte: 0,
    };

    /// The position after `records` more records that hold `bytes` payload bytes.
    #[must_use]
    pub fn advanced(self, records: u64, bytes: u64) -> Self {
        Self {
            offset: Offset(self.offset.0.saturating_add(records)),
            byte: self.byte.saturating_add(bytes),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}_{:016}", self.offset.0, self.byte)
    }
}

/// The text is not a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no offset: expected 16 digits, `_`, 16 digits")]
pub struct ParsePositionError {
    /// What was given.
    pub text: String,
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let part = |digits: &str| {
            let well_formed = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit());
            well_formed.then(|| digits.parse::<u64>().ok()).flatten()
        };
        text.split_once('_')
            .and_then(|(record, byte)| Some((part(record)?, part(byte)?)))
            .map(|(record, byte)| Self {
                offset: Offset(record),
                byte,
            })
            .ok_or_else(|| ParsePositionError {
                text: text.to_owned(),
            })
    }
}

/// Where a read or a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the earliest record that is still there (`-1`).
    Beginning,
    /// At the durable tail: only what comes from now on (`now`).
    Now,
    /// At this record.
    At(Offset),
    /// At the first record committed at this time or later.
    Time(Timestamp),
}
