//! The pure core: every rule of a stream, as two functions over values.
//!
//! [`decide()`] says what a command does to a stream, or why it is refused; [`apply`] folds one effect into the
//! stream's state. The engine decides, makes the effects durable, applies them, and only then answers;
//! replaying the effects from nothing gives the same state again.
//!
//! - [`state`], [`producer`]: what is known of one stream.
//! - [`command`], [`effect`]: what may be asked, and what then happens.
//! - [`decide`](decide()): the rules, one file per command that has many.
//! - `json`: JSON mode. [`retention`]: up to where a stream is trimmed.
//!
//! No I/O, no clock, no randomness, no locks: the time and the next id come in with the [`Context`], so that equal
//! inputs give equal decisions. Reads are not decided here: they change nothing but the ttl ([`Command::Touch`]).

pub mod command;
pub mod decide;
pub mod effect;
mod json;
pub mod producer;
pub mod retention;
pub mod state;

pub use command::Command;
pub use decide::{Context, RuleLimits, apply, check_source, decide, is_same_media_type, released};
pub use effect::{Answer, Decision, Effect, Effects};
pub use json::is_json;
pub use producer::{ProducerState, Producers};
pub use retention::{is_due, surely_trims, trim_point};
pub use state::StreamState;
