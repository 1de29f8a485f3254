//! The codec, seen from outside: golden vectors, round trips, cuts, limits and hostile input.
//!
//! One binary, one file per behaviour. `checks` and `frames` are the fuzz targets' logic, run here under proptest.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails, in its own functions too"
)]

mod corpus;
mod cutting;
mod fields;
mod hostile;
mod limits;
mod meaning;
mod records;
mod round_trip;
mod runs;
mod spec;
mod vectors;

#[path = "../../fuzz/src/checks.rs"]
mod checks;
#[path = "../../fuzz/src/frames.rs"]
mod frames;

use bytes::{Bytes, BytesMut};
use streamkeeper_protocol::{Command, Event, Frame, FrameHeader, frame};

/// A frame with this body, as if it had been split off.
fn frame_of(kind: u8, body: impl Into<Bytes>) -> Frame {
    Frame {
        header: FrameHeader {
            kind,
            flags: 0,
            correlation: 1,
        },
        body: body.into(),
    }
}

/// The frame that `bytes` are, exactly.
fn whole_frame(bytes: &[u8]) -> Frame {
    let mut buffer = BytesMut::from(bytes);
    let frame = frame::split(&mut buffer, u32::MAX)
        .unwrap()
        .expect("a whole frame");
    assert!(buffer.is_empty(), "more than one frame");
    frame
}

fn encoded_command(command: &Command) -> BytesMut {
    let mut out = BytesMut::new();
    command.encode(1, &mut out);
    out
}

fn encoded_event(event: &Event) -> BytesMut {
    let mut out = BytesMut::new();
    event.encode(1, &mut out);
    out
}
