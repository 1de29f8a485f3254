//! What a create may bring beside the configuration: first records, a close, and the stream it forks.

use super::{CreateOptions, Position, RecordBlock, StreamId, StreamName};

/// A stream to be created, whole: all of it becomes durable in one step.
#[derive(Clone, Debug)]
pub struct Creation {
    /// The configuration.
    pub options: CreateOptions,
    /// The first records; of a fork, those after what it inherits. Ignored if the stream exists.
    pub batch: RecordBlock,
    /// Whether it is closed at birth; a stream that exists must be just so. `None`: open, and of one that exists it does
    /// not matter.
    pub closed: Option<bool>,
    /// Where it forks off another stream.
    pub fork: Option<Fork>,
}

impl From<CreateOptions> for Creation {
    /// An empty, open stream.
    fn from(options: CreateOptions) -> Self {
        Self {
            options,
            batch: RecordBlock::default(),
            closed: None,
            fork: None,
        }
    }
}

/// What a client asks for when it forks a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkRequest {
    /// The stream to fork.
    pub source: StreamName,
    /// Where; `None` is its tail.
    pub offset: Option<Position>,
    /// How much further: messages in JSON mode, else bytes of the next append.
    pub sub_offset: u64,
}

/// Where a stream forks off another: what lies before is the source's, and is shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// As it was asked for; asking for the same again is no conflict.
    pub request: ForkRequest,
    /// The source's incarnation.
    pub source: StreamId,
    /// Records before this position are the source's.
    pub at: Position,
    /// The earliest record the source had when it was forked.
    pub earliest: Position,
    /// The expiry is the source's: none was asked for.
    pub inherits_expiry: bool,
    /// How many streams lie between this one and one that is no fork.
    pub depth: u32,
}

impl Fork {
    /// The longest chain of forks: each link is one more stream that a read may have to look at.
    pub const DEPTH_MAX: u32 = 64;
}
