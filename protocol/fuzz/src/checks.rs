//! Properties of the codec that hold for every input; each function panics if one does not.

use arbitrary::Unstructured;
use bytes::{Bytes, BytesMut};
use streamkeeper_protocol::command::CommandKind;
use streamkeeper_protocol::event::EventKind;
use streamkeeper_protocol::limits::{FRAME_BYTES_MAX, Limits};
use streamkeeper_protocol::{Command, Event, Frame, FrameHeader, RecordBlock, Run, frame, run};

use super::frames;

/// Takes bytes as what a peer sends: frames are split off until more bytes are needed or the bytes are malformed.
pub fn stream_of_frames(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    while let Ok(Some(frame)) = frame::split(&mut buffer, FRAME_BYTES_MAX) {
        decoded_frame_is_stable(&frame);
    }
}

/// The first two bytes as kind and flags, the rest as a body.
pub fn kind_flags_body(bytes: &[u8]) -> Option<(u8, u8, &[u8])> {
    let ([kind, flags], body) = bytes.split_first_chunk()?;
    Some((*kind, *flags, body))
}

/// Takes bytes as the body of a frame: it decodes and is stable, or it is an error with a code.
pub fn one_body(kind: u8, flags: u8, body: &[u8]) {
    let header = FrameHeader {
        kind,
        flags,
        correlation: 7,
    };
    decoded_frame_is_stable(&Frame {
        header,
        body: Bytes::copy_from_slice(body),
    });
}

fn decoded_frame_is_stable(frame: &Frame) {
    match Command::decode(frame) {
        Ok(command) => command_is_stable(&command),
        Err(error) => assert!(!error.to_string().is_empty() && error.code().number() > 0),
    }
    match Event::decode(frame) {
        Ok(event) => event_is_stable(&event),
        Err(error) => assert!(!error.to_string().is_empty() && error.code().number() > 0),
    }
}

fn command_is_stable(command: &Command) {
    let mut out = BytesMut::new();
    command.encode(9, &mut out);
    let bytes = out.clone();
    let frame = only_frame(&mut out);
    let again = Command::decode(&frame).expect("what was encoded decodes");
    assert_eq!(&again, command);
    again.encode(9, &mut out);
    assert_eq!(out, bytes);
    if let Command::Append(append) = command {
        let parsed = RecordBlock::parse(append.records.clone(), append.count, &Limits::default());
        if let Ok(block) = parsed {
            assert_eq!(RecordBlock::from_payloads(block.payloads()), block);
        }
    }
}

fn event_is_stable(event: &Event) {
    let mut out = BytesMut::new();
    event.encode(9, &mut out);
    let bytes = out.clone();
    let frame = only_frame(&mut out);
    let again = Event::decode(&frame).expect("what was encoded decodes");
    assert_eq!(&again, event);
    again.encode(9, &mut out);
    assert_eq!(out, bytes);
    let runs = match event {
        Event::Records(records) => &records.runs,
        Event::Deliver(deliver) => &deliver.runs,
        _ => return,
    };
    for run in run::decode_runs(runs).flatten() {
        cuts_keep_the_records(&run);
    }
}

/// Cutting anywhere gives the same records, or the same error, as reading the whole run does.
fn cuts_keep_the_records(run: &Run) {
    let whole: Vec<_> = run.records().collect();
    let _: usize = run.records_verified().count();
    let middle = run.header.first_offset + u64::from(run.header.count / 2);
    let front = run.take(run.encoded_bytes() / 2, run.header.count);
    let back = run.starting_at(middle);
    if whole.iter().all(Result::is_ok) {
        let front: Vec<_> = front.records().collect();
        assert_eq!(whole.get(..front.len()), Some(&*front));
        let skip = run.header.count as usize / 2;
        let back: Vec<_> = back.iter().flat_map(Run::records).flatten().collect();
        let expected: Vec<_> = whole.into_iter().skip(skip).flatten().collect();
        let same = |(a, b): (&run::Record, &run::Record)| {
            (a.offset, a.byte, &a.payload) == (b.offset, b.byte, &b.payload)
        };
        assert!(back.len() == expected.len() && back.iter().zip(&expected).all(same));
    }
}

/// Takes bytes as the choices for one frame of each kind: what is encoded decodes to the same value.
pub fn encoded_frames_decode(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let correlation = choices.arbitrary().unwrap_or_default();
    let command_kind = choices
        .choose(CommandKind::ALL)
        .copied()
        .unwrap_or(CommandKind::Append);
    let event_kind = choices
        .choose(EventKind::ALL)
        .copied()
        .unwrap_or(EventKind::Err);
    if let Ok(command) = frames::command(command_kind, &mut choices) {
        encoded_command_decodes(correlation, &command);
    }
    if let Ok(event) = frames::event(event_kind, &mut choices) {
        encoded_event_decodes(correlation, &event);
    }
}

/// Encodes a command, also behind another frame, and decodes it again.
pub fn encoded_command_decodes(correlation: u32, command: &Command) {
    let mut out = BytesMut::new();
    Command::Ping.encode(0, &mut out);
    command.encode(correlation, &mut out);
    let ping = frame::split(&mut out, FRAME_BYTES_MAX)
        .expect("in order")
        .expect("whole");
    assert_eq!(Command::decode(&ping), Ok(Command::Ping));
    let frame = only_frame(&mut out);
    assert_eq!(frame.header.correlation, correlation);
    assert_eq!(frame.header.kind, command.kind().number());
    assert_eq!(Command::decode(&frame).as_ref(), Ok(command));
}

/// Encodes an event, also behind another frame, and decodes it again.
pub fn encoded_event_decodes(correlation: u32, event: &Event) {
    let mut out = BytesMut::new();
    Event::Ping.encode(0, &mut out);
    event.encode(correlation, &mut out);
    let ping = frame::split(&mut out, FRAME_BYTES_MAX)
        .expect("in order")
        .expect("whole");
    assert_eq!(Event::decode(&ping), Ok(Event::Ping));
    let frame = only_frame(&mut out);
    assert_eq!(frame.header.correlation, correlation);
    assert_eq!(frame.header.kind, event.kind().number());
    assert_eq!(Event::decode(&frame).as_ref(), Ok(event));
}

fn only_frame(out: &mut BytesMut) -> Frame {
    let frame = frame::split(out, u32::MAX)
        .expect("in order")
        .expect("whole");
    assert!(out.is_empty(), "exactly one frame was written");
    frame
}
