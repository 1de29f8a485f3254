//! The words of the house as values: names, positions, times, options, answers and errors.
//!
//! Everything else imports from here; nothing here imports from elsewhere in the broker. Three value types
//! come from the protocol crate because their bytes are one encoding from socket to disk and back:
//! [`RecordBlock`], [`Run`] and [`Str`].

mod clock;
mod creation;
mod error;
mod name;
mod options;
mod position;
mod view;

pub use clock::{Clock, ManualClock, Timestamp};
pub use creation::{Creation, Fork, ForkRequest};
pub use error::{Error, Fault, Refusal};
pub use name::{NameError, StreamName};
pub use options::{AppendOptions, CreateOptions, Expiry, ProducerStamp, Retention, StorageKind};
pub use position::{Offset, ParsePositionError, Position, Start};
pub use streamkeeper_protocol::command::Str;
pub use streamkeeper_protocol::{RecordBlock, Run, RunHeader};
pub use view::{
    Appended, Closed, Created, Data, DeleteReason, Message, Messages, Metadata, StreamId,
};
