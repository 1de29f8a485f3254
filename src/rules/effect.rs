//! What a command does to a stream: the output of [`decide`](super::decide()).
//!
//! Effects are facts: they are written to the journal in order and folded into the state by [`apply`](super::apply()), now and
//! at every replay. All effects of one decision become durable together or not at all. They carry everything that
//! `apply` needs, so that replay asks no limits, no configuration and no clock.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::types::{
    Appended, Closed, CreateOptions, Created, DeleteReason, Fork, Offset, Position, RecordBlock,
    Str, StreamId, Timestamp,
};

/// One change of one stream.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The stream came into being, open and empty.
    Created {
        /// The new incarnation's id.
        id: StreamId,
        /// Its configuration.
        options: Arc<CreateOptions>,
        /// When.
        at: Timestamp,
        /// Where it forks off another stream, if it does.
        fork: Option<Arc<Fork>>,
    },
    /// Records were appended at the tail. Never an empty batch.
    Appended {
        /// The records as they are stored: in JSON mode already flattened.
        batch: RecordBlock,
        /// When.
        at: Timestamp,
    },
    /// A producer's append was accepted.
    ProducerAdvanced {
        /// The producer.
        id: Str,
        /// Its current epoch.
        epoch: u64,
        /// Its last accepted seq in that epoch.
        seq: u64,
        /// When.
        at: Timestamp,
    },
    /// Producers were forgotten to make room for a new one.
    ProducersEvicted {
        /// Every producer that last appended at this time or before is gone.
        idle_since: Timestamp,
    },
    /// A `seq` was accepted.
    SeqAdvanced {
        /// The last accepted `seq`.
        seq: Bytes,
    },
    /// The stream was closed for ever.
    Closed {
        /// When.
        at: Timestamp,
    },
    /// The sliding ttl was restarted by a read.
    Touched {
        /// When.
        at: Timestamp,
    },
    /// The records before this position are gone.
    Trimmed {
        /// The new earliest position.
        to: Position,
    },
    /// A fork of the stream came into being.
    ForkTaken {
        /// It shares the records before this offset.
        until: Offset,
    },
    /// A fork of the stream is gone.
    ForkReleased,
    /// The stream is gone for clients; its records and its name are kept as long as forks need them.
    Retired {
        /// Why.
        reason: DeleteReason,
        /// When.
        at: Timestamp,
    },
    /// The stream is gone with all its data.
    Deleted {
        /// Why.
        reason: DeleteReason,
        /// When.
        at: Timestamp,
    },
}

/// The effects of one command, in order; no allocation up to two.
pub type Effects = SmallVec<[Effect; 2]>;

/// What to tell the caller once the effects are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of a create.
    Created(Created),
    /// Of an append.
    Appended(Appended),
    /// Of a close.
    Closed(Closed),
    /// Of a delete.
    Deleted,
    /// Of a touch, a trim or an expire.
    Done,
}

/// What an accepted command does and answers.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What happens to the stream; empty if nothing does.
    pub effects: Effects,
    /// What to answer after that is durable.
    pub answer: Answer,
}

impl Decision {
    /// A decision that changes nothing.
    pub fn unchanged(answer: Answer) -> Self {
        Self {
            effects: Effects::new(),
            answer,
        }
    }

    /// A decision with one effect.
    pub fn of(effect: Effect, answer: Answer) -> Self {
        let mut effects = Effects::new();
        effects.push(effect);
        Self { effects, answer }
    }
}
