//! Whatever is encoded decodes to the same value; whatever decodes is stable; nothing panics.

use arbitrary::Unstructured;
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use streamkeeper_protocol::command::{Append, CommandKind};
use streamkeeper_protocol::event::{
    Confirm, ConfirmEntry, Deliver, EventKind, Records, confirm, deliver, records,
};
use streamkeeper_protocol::limits::{CONFIRM_ENTRIES_MAX, FRAME_BYTES_MAX};
use streamkeeper_protocol::{Command, Event, RecordBlock, frame};

use crate::{checks, encoded_command, encoded_event, frames, vectors, whole_frame};

proptest! {
    #[test]
    fn commands_of_every_kind_survive_the_wire(
        choices in vec(any::<u8>(), 0..2000),
        correlation: u32,
    ) {
        for kind in CommandKind::ALL {
            let command = frames::command(*kind, &mut Unstructured::new(&choices)).unwrap();
            checks::encoded_command_decodes(correlation, &command);
        }
    }

    #[test]
    fn events_of_every_kind_survive_the_wire(
        choices in vec(any::<u8>(), 0..2000),
        correlation: u32,
    ) {
        for kind in EventKind::ALL {
            let event = frames::event(*kind, &mut Unstructured::new(&choices)).unwrap();
            checks::encoded_event_decodes(correlation, &event);
        }
    }

    #[test]
    fn the_structured_fuzz_target_holds(choices in vec(any::<u8>(), 0..2000)) {
        checks::encoded_frames_decode(&choices);
    }

    #[test]
    fn any_body_decodes_or_is_an_error_for_every_kind(
        flags: u8,
        body in vec(prop_oneof![4 => 0u8..3, 1 => any::<u8>()], 0..120),
    ) {
        for kind in 0..=u8::MAX {
            checks::one_body(kind, flags, &body);
        }
    }

    #[test]
    fn a_golden_frame_with_bytes_changed_decodes_or_is_an_error(
        golden in prop::sample::select(every_golden_frame()),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        chunk in any::<prop::sample::Index>(),
    ) {
        let mut bytes = golden.to_vec();
        for (at, value) in changes {
            bytes[at.index(golden.len())] = value;
        }
        checks::stream_of_frames(&bytes);
        let body = &bytes[frame::LENGTH_BYTES..];
        if let Some((kind, flags, body)) = checks::kind_flags_body(body) {
            checks::one_body(kind, flags, &body[chunk.index(body.len())..]);
        }
    }
}

fn every_golden_frame() -> Vec<Bytes> {
    let files = ["commands.json", "events.json", "tolerated.json"];
    files
        .into_iter()
        .flat_map(vectors::golden)
        .map(|(_, bytes)| bytes)
        .collect()
}

#[test]
fn header_and_records_written_apart_are_the_same_append() {
    let block = RecordBlock::from_payloads(["one", "two"]);
    let append = Append {
        stream: "orders".into(),
        expected_tail: Some(3),
        count: block.count(),
        records: block.into_bytes(),
        ..Append::default()
    };
    let mut apart = BytesMut::new();
    append.encode_header(1, &mut apart);
    apart.extend_from_slice(&append.records);
    assert_eq!(apart, encoded_command(&Command::Append(append)));
}

#[test]
fn header_and_runs_written_apart_are_the_same_event() {
    let runs = Bytes::from_static(b"any bytes will do here");
    let whole = Deliver {
        subscription: 5,
        runs: runs.clone(),
    };
    let mut apart = BytesMut::new();
    deliver::encode_header(5, runs.len(), &mut apart);
    assert_eq!(apart.len(), deliver::DELIVER_HEADER_BYTES);
    apart.extend_from_slice(&runs);
    let decoded = whole_frame(&apart);
    assert_eq!(decoded.header.correlation, 0);
    assert_eq!(Event::decode(&decoded), Ok(Event::Deliver(whole)));

    let mut head = Records {
        more: true,
        closed: true,
        next: 1,
        next_byte: 2,
        tail: 3,
        runs: Bytes::new(),
    };
    let mut apart = BytesMut::new();
    records::encode_header(1, &head, runs.len(), &mut apart);
    apart.extend_from_slice(&runs);
    head.runs = runs;
    assert_eq!(apart, encoded_event(&Event::Records(head)));
}

#[test]
fn many_confirms_are_split_into_frames_within_the_limit() {
    let entry = |correlation| ConfirmEntry {
        correlation,
        duplicate: false,
        closed: false,
        tail: 9,
    };
    let entries: Vec<_> = (0..=CONFIRM_ENTRIES_MAX * 2).map(entry).collect();
    let mut out = BytesMut::new();
    confirm::encode(&[], &mut out);
    assert!(out.is_empty(), "nothing to confirm is no frame");
    confirm::encode(&entries, &mut out);
    let mut received = Vec::new();
    let mut frames = 0;
    while let Some(frame) = frame::split(&mut out, FRAME_BYTES_MAX).unwrap() {
        let Ok(Event::Confirm(Confirm { entries })) = Event::decode(&frame) else {
            panic!("a CONFIRM")
        };
        received.extend(entries);
        frames += 1;
    }
    assert_eq!((received, frames), (entries, 3));
}
