//! What may be asked of one stream: the input of [`decide`](super::decide()).
//!
//! Clients ask for the first four; [`Command::Touch`], [`Command::Trim`] and [`Command::Expire`] come from the engine itself.

use std::mem::size_of;

use crate::types::{AppendOptions, Creation, Position, RecordBlock};

/// About what an entry takes in a row beside what varies.
const EFFECT_BYTES: usize = 96;

/// A request to change one stream.
#[derive(Clone, Debug)]
pub enum Command {
    /// Create it, or confirm that it exists with the same configuration.
    Create(Box<Creation>),
    /// Append a batch, whole or not at all.
    Append {
        /// The records; empty only with `options.close`.
        batch: RecordBlock,
        /// Conditions and what else to do in the same step.
        options: AppendOptions,
    },
    /// Close it for ever.
    Close,
    /// Remove it with all its data.
    Delete,
    /// Somebody read it: restarts a sliding ttl.
    Touch,
    /// Forget the records before this position.
    Trim {
        /// The new earliest position; clamped to the tail.
        to: Position,
    },
    /// Remove it if its time is over.
    Expire,
}

impl Command {
    /// A create; of [`CreateOptions`](crate::types::CreateOptions) alone, of an empty, open stream.
    pub fn create(creation: impl Into<Creation>) -> Self {
        Self::Create(Box::new(creation.into()))
    }

    /// About what the command adds to what is written down, if it is the only one of its stream: an append without a seq or a
    /// producer is no more than its records.
    pub fn row_bytes(&self) -> usize {
        let stamped = match self {
            Self::Append { options, .. } => options.seq.is_some() || options.producer.is_some(),
            _ => true,
        };
        self.variable_bytes() + if stamped { EFFECT_BYTES } else { 0 }
    }

    /// True of what brings nothing and only takes away: it is let through where nothing else finds room.
    pub fn only_removes(&self) -> bool {
        matches!(self, Self::Delete | Self::Trim { .. } | Self::Expire)
    }

    /// What the command costs in a write queue: its variable bytes and a fixed overhead, never 0.
    pub fn queued_bytes(&self) -> usize {
        self.variable_bytes() + size_of::<Self>()
    }

    fn variable_bytes(&self) -> usize {
        match self {
            Self::Create(creation) => {
                size_of::<Creation>()
                    + creation.options.content_type.len()
                    + creation.batch.bytes().len()
            }
            Self::Append { batch, options } => {
                let seq = options.seq.as_ref().map_or(0, bytes::Bytes::len);
                let producer = options.producer.as_ref().map_or(0, |stamp| stamp.id.len());
                batch.bytes().len() + seq + producer
            }
            Self::Close | Self::Delete | Self::Touch | Self::Trim { .. } | Self::Expire => 0,
        }
    }
}
