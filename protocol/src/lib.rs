//! SKP/1, the wire protocol of Streamkeeper: bytes in, values out.
//!
//! This crate is a pure codec: no sockets, no runtime, no clock. The broker and every Rust client share it.
//! `SPEC.md` beside this crate is normative; the tests hold its tables against the enums here.
//!
//! A frame, big-endian throughout:
//!
//! ```text
//!  length:u32   kind:u8   flags:u8   correlation:u32   body ...
//!  └ bytes that follow the length field: 6 + body
//! ```
//!
//! Layers, bottom up: [`limits`] and [`error`]; [`record`] (one record, and a block of them) and [`run`]
//! (records with their position and commit time); [`frame`] (delimiting); [`command`] (client to server)
//! and [`event`] (server to client), one file per frame kind.

pub mod code;
pub mod command;
pub mod error;
pub mod event;
pub mod fields;
pub mod flags;
pub mod frame;
pub mod limits;
pub mod record;
pub mod run;
mod wire;

pub use code::ErrorCode;
pub use command::Command;
pub use error::{RecordError, WireError};
pub use event::Event;
pub use frame::{Frame, FrameHeader};
pub use record::{RecordBlock, RecordBlockBuilder};
pub use run::{Record, Run, RunHeader};
pub use wire::Str;
