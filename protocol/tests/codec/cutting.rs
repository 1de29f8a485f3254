//! Frames that arrive in pieces are put together; frames that end too early are refused, wherever they end.

use bytes::BytesMut;
use streamkeeper_protocol::limits::{FRAME_BYTES_MAX, Limits};
use streamkeeper_protocol::{Command, Event, Frame, RecordBlock, frame, run};

use crate::{vectors, whole_frame};

fn every_golden_frame() -> impl Iterator<Item = (String, bytes::Bytes)> {
    ["commands.json", "events.json"]
        .into_iter()
        .flat_map(vectors::golden)
}

#[test]
fn half_a_frame_is_no_frame_yet_and_the_rest_completes_it() {
    for (name, bytes) in every_golden_frame() {
        for cut in 0..bytes.len() {
            let mut buffer = BytesMut::from(&bytes[..cut]);
            assert_eq!(
                frame::split(&mut buffer, FRAME_BYTES_MAX),
                Ok(None),
                "{name} at {cut}"
            );
            assert_eq!(buffer, &bytes[..cut], "nothing is taken from half a frame");
            buffer.extend_from_slice(&bytes[cut..]);
            let frame = frame::split(&mut buffer, FRAME_BYTES_MAX).unwrap();
            assert_eq!(frame, Some(whole_frame(&bytes)), "{name} at {cut}");
        }
    }
}

#[test]
fn frames_back_to_back_are_split_in_order() {
    let golden: Vec<_> = every_golden_frame().collect();
    let all: Vec<u8> = golden
        .iter()
        .flat_map(|(_, bytes)| bytes.to_vec())
        .collect();
    for chunk_bytes in [1, 7, 64, all.len()] {
        let (mut buffer, mut split) = (BytesMut::new(), Vec::new());
        for chunk in all.chunks(chunk_bytes) {
            buffer.extend_from_slice(chunk);
            while let Some(frame) = frame::split(&mut buffer, FRAME_BYTES_MAX).unwrap() {
                split.push(frame);
            }
        }
        let expected: Vec<_> = golden.iter().map(|(_, bytes)| whole_frame(bytes)).collect();
        assert!(split == expected, "in chunks of {chunk_bytes}");
    }
}

/// Whether a receiver finds nothing wrong with a frame, down to its records.
fn is_accepted_as_command(frame: &Frame) -> bool {
    match Command::decode(frame) {
        Ok(Command::Append(append)) => {
            RecordBlock::parse(append.records, append.count, &Limits::default()).is_ok()
        }
        decoded => decoded.is_ok(),
    }
}

#[test]
fn a_command_whose_body_ends_too_early_is_refused_wherever_it_ends() {
    for (name, bytes) in vectors::golden("commands.json") {
        let Frame { header, body } = whole_frame(&bytes);
        for cut in 0..body.len() {
            let cut_off = Frame {
                header,
                body: body.slice(..cut),
            };
            assert!(!is_accepted_as_command(&cut_off), "{name} at {cut}");
        }
    }
}

#[test]
fn an_event_whose_body_ends_too_early_is_refused_unless_it_ends_between_runs() {
    for (name, bytes) in vectors::golden("events.json") {
        let Frame { header, body } = whole_frame(&bytes);
        let whole = Event::decode(&whole_frame(&bytes)).unwrap();
        for cut in 0..body.len() {
            let cut_off = Frame {
                header,
                body: body.slice(..cut),
            };
            let (runs, whole_runs) = match (Event::decode(&cut_off), &whole) {
                (Err(_), _) => continue,
                (Ok(Event::Records(cut)), Event::Records(whole)) => (cut.runs, &whole.runs),
                (Ok(Event::Deliver(cut)), Event::Deliver(whole)) => (cut.runs, &whole.runs),
                (Ok(other), _) => panic!("{name} at {cut} decodes as {other:?}"),
            };
            let mut boundaries = vec![0];
            for run in run::decode_runs(whole_runs) {
                boundaries.push(boundaries[boundaries.len() - 1] + run.unwrap().encoded_bytes());
            }
            let sound = run::decode_runs(&runs).all(|run| run.is_ok());
            assert_eq!(sound, boundaries.contains(&runs.len()), "{name} at {cut}");
        }
    }
}
