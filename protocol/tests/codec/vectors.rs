//! The golden vectors: what every client library's tests read, the codec obeys.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::BytesMut;
use serde_json::Value;
use streamkeeper_protocol::command::CommandKind;
use streamkeeper_protocol::event::{EndReason, EventKind};
use streamkeeper_protocol::limits::{FRAME_BYTES_MAX, Limits};
use streamkeeper_protocol::{
    Command, ErrorCode, Event, Frame, RecordBlock, RecordError, WireError, frame, run,
};

use crate::meaning::{self, Meaning, hex, unhex};
use crate::whole_frame;

/// One of the files under `vectors/`.
pub(crate) fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name);
    let text = fs::read_to_string(&path).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["version"], 1, "{name}");
    value
}

/// The bytes of every golden frame of a file.
pub(crate) fn golden(name: &str) -> Vec<(String, bytes::Bytes)> {
    let file = file(name);
    let frames = Meaning(&file).list("frames");
    frames
        .map(|frame| (frame.string("name").to_owned(), frame.hex("hex")))
        .collect()
}

fn check_command(frame: Meaning<'_>) -> Frame {
    let name = frame.string("name");
    let decoded = whole_frame(&frame.hex("hex"));
    assert_eq!(
        decoded.header.correlation,
        frame.small::<u32>("correlation"),
        "{name}"
    );
    assert_eq!(
        Command::decode(&decoded),
        Ok(meaning::command(frame)),
        "{name}"
    );
    decoded
}

fn check_event(frame: Meaning<'_>) -> Frame {
    let name = frame.string("name");
    let decoded = whole_frame(&frame.hex("hex"));
    assert_eq!(
        decoded.header.correlation,
        frame.small::<u32>("correlation"),
        "{name}"
    );
    assert_eq!(Event::decode(&decoded), Ok(meaning::event(frame)), "{name}");
    decoded
}

#[test]
fn golden_commands_decode_to_their_meaning_and_encode_to_their_bytes() {
    let file = file("commands.json");
    for frame in Meaning(&file).list("frames") {
        check_command(frame);
        let mut out = BytesMut::new();
        meaning::command(frame).encode(frame.small("correlation"), &mut out);
        assert_eq!(hex(&out), frame.string("hex"), "{}", frame.string("name"));
    }
}

#[test]
fn golden_events_decode_to_their_meaning_and_encode_to_their_bytes() {
    let file = file("events.json");
    for frame in Meaning(&file).list("frames") {
        check_event(frame);
        let mut out = BytesMut::new();
        meaning::event(frame).encode(frame.small("correlation"), &mut out);
        assert_eq!(hex(&out), frame.string("hex"), "{}", frame.string("name"));
    }
}

#[test]
fn frames_of_a_later_minor_revision_decode_to_what_this_version_knows() {
    let file = file("tolerated.json");
    for frame in Meaning(&file).list("frames") {
        match frame.string("sender") {
            "client" => check_command(frame),
            "server" => check_event(frame),
            other => panic!("{other} sends nothing"),
        };
    }
}

#[test]
fn every_frame_kind_and_every_end_reason_has_a_golden_frame() {
    let (commands, events) = (file("commands.json"), file("events.json"));
    let kinds = |file| -> BTreeSet<&str> {
        Meaning(file)
            .list("frames")
            .map(|frame| frame.string("kind"))
            .collect()
    };
    let known: BTreeSet<_> = CommandKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(kinds(&commands), known);
    let known: BTreeSet<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(kinds(&events), known);
    let ends = Meaning(&events)
        .list("frames")
        .filter(|frame| frame.string("kind") == "END");
    let reasons: Vec<u8> = ends.map(|end| end.get("fields").small("reason")).collect();
    let known: Vec<u8> = EndReason::ALL
        .iter()
        .map(|reason| reason.number())
        .collect();
    assert_eq!(reasons, known);
}

/// Everything a receiver does with a frame, down to the records' checksums.
fn receive(sender: &str, bytes: &[u8], frame_bytes_max: u32) -> Result<(), ErrorCode> {
    let wire = |error: WireError| error.code();
    let record = |error: RecordError| error.code();
    let mut buffer = BytesMut::from(bytes);
    let frame = frame::split(&mut buffer, frame_bytes_max)
        .map_err(wire)?
        .expect("a whole frame");
    if sender == "client" {
        if let Command::Append(append) = Command::decode(&frame).map_err(wire)? {
            RecordBlock::parse(append.records, append.count, &Limits::default()).map_err(record)?;
        }
        return Ok(());
    }
    if let Event::Deliver(deliver) = Event::decode(&frame).map_err(wire)? {
        for run in run::decode_runs(&deliver.runs) {
            run.map_err(wire)?
                .records_verified()
                .try_for_each(|it| it.map(drop))
                .map_err(record)?;
        }
    }
    Ok(())
}

#[test]
fn invalid_frames_are_refused_with_their_code() {
    let file = file("invalid.json");
    for frame in Meaning(&file).list("frames") {
        let limit = frame.0.get("frame_bytes_max").and_then(Value::as_u64);
        let limit = limit.map_or(FRAME_BYTES_MAX, |limit| limit.try_into().unwrap());
        let received = receive(frame.string("sender"), &frame.hex("hex"), limit);
        let code = received.map_err(ErrorCode::as_str);
        assert_eq!(code, Err(frame.string("error")), "{}", frame.string("name"));
    }
}

#[test]
fn checksums_are_crc32c() {
    let file = file("crc32c.json");
    for value in Meaning(&file).list("values") {
        let block = RecordBlock::from_payloads([unhex(value.string("hex"))]);
        assert_eq!(
            hex(&block.bytes()[4..8]),
            value.string("crc32c"),
            "{}",
            value.string("name")
        );
    }
}
