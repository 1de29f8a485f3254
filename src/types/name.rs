//! Stream names: checked once at the edge, cheap to clone after.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use streamkeeper_protocol::limits::STREAM_NAME_BYTES_MAX;

/// The name of a stream: 1 to 1,024 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

/// Why a string is not a stream name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a stream name must not be empty")]
    Empty,
    /// The name is longer than the limit.
    #[error("the stream name has {have} bytes, the limit is {limit}")]
    TooLong {
        /// Bytes in the name.
        have: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The name holds a control character.
    #[error("the stream name holds a control character at byte {at}")]
    ControlCharacter {
        /// Byte index of the character.
        at: usize,
    },
    /// The name is one that the broker keeps for itself.
    #[error("stream names under `__ds/` are reserved for the broker: use another")]
    Reserved,
}

impl StreamName {
    /// Checks `name` and takes it.
    pub fn new(name: &str) -> Result<Self, NameError> {
        Self::check(name)?;
        Ok(Self(Arc::from(name)))
    }

    /// As [`StreamName::new`], for a name that a client gave: a reserved one is refused.
    pub fn of_client(name: &str) -> Result<Self, NameError> {
        Self::check_client(name)?;
        Self::new(name)
    }

    /// Refuses reserved names, without looking at what else is wrong with one.
    pub fn check_client(name: &str) -> Result<(), NameError> {
        if is_reserved(name) {
            return Err(NameError::Reserved);
        }
        Ok(())
    }

    /// Says whether `name` could be a stream name, without taking it.
    pub fn check(name: &str) -> Result<(), NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > STREAM_NAME_BYTES_MAX {
            return Err(NameError::TooLong {
                have: name.len(),
                limit: STREAM_NAME_BYTES_MAX,
            });
        }
        match name.char_indices().find(|(_, c)| c.is_control()) {
            Some((at, _)) => Err(NameError::ControlCharacter { at }),
            None => Ok(()),
        }
    }

    /// The first segment of names that the broker keeps for itself.
    pub const RESERVED: &'static str = "__ds";

    /// True of a name that no client may use: the broker keeps state of its own there.
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// True of names in the reserved segment.
fn is_reserved(name: &str) -> bool {
    name.strip_prefix(StreamName::RESERVED)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for StreamName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}
