//! Replies as the servers send them, cut anywhere: what is counted and read must not depend on how they arrive.

use bytes::BytesMut;
use streamkeeper_protocol::event::{Confirm, ConfirmEntry, Deliver, Subscribed};
use streamkeeper_protocol::{Event, RecordBlock, Run};

use super::{Dialect, Nats, Redis, Streamkeeper};
use crate::error::Error;
use crate::record::{self, RECORD_BYTES};

const STREAM: u32 = 7;

/// Feeds `bytes` in pieces; gives how many confirms there were.
fn confirms(dialect: &mut dyn Dialect, bytes: &[u8], piece: usize) -> Result<u64, Error> {
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut count = 0;
    for piece in bytes.chunks(piece) {
        input.extend_from_slice(piece);
        count += dialect.replies(&mut input, &mut output)?;
    }
    assert!(input.is_empty(), "something is left");
    Ok(count)
}

/// Feeds `bytes` in pieces to a dialect that follows the stream; gives the sequences of the records, each of which is
/// right, and what was sent.
fn follow(mut dialect: Box<dyn Dialect>, bytes: &[u8], piece: usize) -> (Vec<u64>, Vec<u8>) {
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    dialect.follow(0, &mut output);
    output.clear();
    let mut seen = Vec::new();
    for piece in bytes.chunks(piece) {
        input.extend_from_slice(piece);
        let mut each = |payload: &[u8]| {
            let sequence = seen.len() as u64;
            assert!(record::check(payload, STREAM, sequence).is_some());
            seen.push(sequence);
            Ok(())
        };
        dialect.records(&mut input, &mut output, &mut each).unwrap();
    }
    assert_eq!(dialect.held(), Some(2));
    (seen, output.to_vec())
}

fn for_every_cut(bytes: &[u8], check: impl Fn(usize)) {
    for piece in [1, 2, 3, 7, 64, RECORD_BYTES, bytes.len()] {
        check(piece);
    }
}

fn redis_records() -> Vec<u8> {
    let mut reply = b":2\r\n*1\r\n*2\r\n$2\r\ns7\r\n*2\r\n".to_vec();
    for sequence in 0..2 {
        let id = format!("*2\r\n$3\r\n9-{sequence}\r\n*2\r\n$1\r\nd\r\n$256\r\n");
        reply.extend_from_slice(id.as_bytes());
        reply.extend_from_slice(&record::make(STREAM, sequence, 0));
        reply.extend_from_slice(b"\r\n");
    }
    reply
}

fn nats_records() -> Vec<u8> {
    let mut said = Vec::new();
    for (token, body) in [
        ("stream", r#"{"state":{"messages":2,"bytes":600}}"#),
        ("consumer", r#"{"name":"f3"}"#),
    ] {
        said.extend_from_slice(
            format!("MSG i.3.{token} 1 {}\r\n{body}\r\n", body.len()).as_bytes(),
        );
    }
    for sequence in 0..2 {
        let head = format!("MSG s7 2 $JS.ACK.s7.f3.1.{sequence} 256\r\n");
        said.extend_from_slice(head.as_bytes());
        said.extend_from_slice(&record::make(STREAM, sequence, 0));
        said.extend_from_slice(b"\r\n");
    }
    let status = "NATS/1.0 100 FlowControl Request\r\n\r\n";
    let head = format!(
        "HMSG d.3 2 $JS.FC.s7.f3.x {0} {0}\r\n{status}\r\nPING\r\n",
        status.len()
    );
    said.extend_from_slice(head.as_bytes());
    said
}

fn streamkeeper_records() -> Vec<u8> {
    let mut said = BytesMut::new();
    let subscribed = Subscribed {
        subscription: 1,
        next: 0,
        tail: 2,
    };
    Event::Subscribed(subscribed).encode(1, &mut said);
    let payloads = (0..2).map(|sequence| record::make(STREAM, sequence, 0));
    let mut runs = BytesMut::new();
    Run::new(&RecordBlock::from_payloads(payloads), 0, 0, 1).encode(&mut runs);
    let deliver = Deliver {
        subscription: 1,
        runs: runs.freeze(),
    };
    Event::Deliver(deliver).encode(0, &mut said);
    said.to_vec()
}

#[test]
fn records_of_redis_come_whole_however_they_are_cut_and_more_are_asked_for() {
    let bytes = redis_records();
    for_every_cut(&bytes, |piece| {
        let (seen, sent) = follow(Box::new(Redis::new(&[STREAM])), &bytes, piece);
        assert_eq!(seen, [0, 1]);
        let sent = String::from_utf8(sent).unwrap();
        assert!(
            sent.starts_with("*8\r\n$5\r\nXREAD\r\n") && sent.ends_with("$3\r\n9-1\r\n"),
            "{sent}"
        );
    });
}

#[test]
fn records_of_nats_come_whole_however_they_are_cut_and_flow_control_is_answered() {
    let bytes = nats_records();
    for_every_cut(&bytes, |piece| {
        let (seen, sent) = follow(Box::new(Nats::new(3, &[STREAM])), &bytes, piece);
        assert_eq!(seen, [0, 1]);
        assert_eq!(sent, b"PUB $JS.FC.s7.f3.x 0\r\n\r\nPONG\r\n");
    });
}

#[test]
fn records_of_streamkeeper_come_whole_however_they_are_cut() {
    let bytes = streamkeeper_records();
    for_every_cut(&bytes, |piece| {
        let (seen, _) = follow(Box::new(Streamkeeper::new(&[STREAM])), &bytes, piece);
        assert_eq!(seen, [0, 1]);
    });
}

#[test]
fn replies_of_redis_are_counted_and_a_refusal_is_an_error() {
    let bytes = b"$3\r\n9-0\r\n$3\r\n9-1\r\n+OK\r\n";
    for_every_cut(bytes, |piece| {
        assert_eq!(
            confirms(&mut Redis::new(&[STREAM]), bytes, piece).unwrap(),
            3
        );
    });
    let refused = confirms(&mut Redis::new(&[STREAM]), b"-OOM no\r\n", 64);
    assert!(matches!(refused, Err(Error::Said { said }) if said == "-OOM no"));
}

#[test]
fn an_acknowledgement_of_nats_must_be_the_next_of_its_stream() {
    let ack = |local: u32, sequence: u64| {
        let body = format!(r#"{{"stream":"s", "seq":{sequence}}}"#);
        format!("MSG i.3.{local} 1 {}\r\n{body}\r\n", body.len())
    };
    let right = [ack(0, 1), ack(1, 1), ack(0, 2)].concat();
    for_every_cut(right.as_bytes(), |piece| {
        let counted = confirms(&mut Nats::new(3, &[7, 8]), right.as_bytes(), piece);
        assert_eq!(counted.unwrap(), 3);
    });
    let skipped = [ack(0, 1), ack(0, 3)].concat();
    let skipped = confirms(&mut Nats::new(3, &[7, 8]), skipped.as_bytes(), 64);
    assert!(matches!(
        skipped,
        Err(Error::Confirm {
            stream: 7,
            have: 3,
            expected: 2
        })
    ));
}

#[test]
fn a_refusal_of_nats_is_an_error() {
    let body = r#"{"error":{"code":503},"stream":"s7","seq":0}"#;
    let refusal = format!("MSG i.3.0 1 {}\r\n{body}\r\n", body.len());
    let unheard = "HMSG i.3.0 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
    for said in [refusal.as_str(), unheard, "-ERR 'slow consumer'\r\n"] {
        let refused = confirms(&mut Nats::new(3, &[STREAM]), said.as_bytes(), 64);
        assert!(matches!(refused, Err(Error::Said { .. })), "{said}");
    }
}

#[test]
fn a_confirm_of_streamkeeper_must_be_the_next_of_its_stream() {
    let confirm = |entries: &[(u32, u64)]| {
        let entry = |(correlation, tail): &(u32, u64)| ConfirmEntry {
            correlation: *correlation,
            duplicate: false,
            closed: false,
            tail: *tail,
        };
        let entries = entries.iter().map(entry).collect();
        let mut bytes = BytesMut::new();
        Event::Confirm(Confirm { entries }).encode(0, &mut bytes);
        bytes
    };
    // Two streams: odd correlation ids are of the first, even ones of the second.
    let right = confirm(&[(1, 1), (2, 1), (3, 2)]);
    for_every_cut(&right, |piece| {
        let counted = confirms(&mut Streamkeeper::new(&[7, 8]), &right, piece);
        assert_eq!(counted.unwrap(), 3);
    });
    let skipped = confirms(&mut Streamkeeper::new(&[7, 8]), &confirm(&[(2, 2)]), 64);
    assert!(matches!(
        skipped,
        Err(Error::Confirm {
            stream: 8,
            have: 2,
            expected: 1
        })
    ));
}

#[test]
fn an_append_of_streamkeeper_is_a_frame_that_the_broker_can_read() {
    use streamkeeper_protocol::{Command, frame, limits::Limits};

    let mut dialect = Streamkeeper::new(&[7, 8]);
    let mut output = BytesMut::new();
    for (local, sequence) in [(0, 0), (1, 0), (0, 1)] {
        let stream = STREAM + u32::try_from(local).unwrap();
        dialect.append(local, &record::make(stream, sequence, 0), &mut output);
    }
    for (correlation, stream, sequence) in [(1, 7, 0), (2, 8, 0), (3, 7, 1)] {
        let frame = frame::split(&mut output, 4096).unwrap().unwrap();
        assert_eq!(frame.header.correlation, correlation);
        let Command::Append(append) = Command::decode(&frame).unwrap() else {
            panic!("not an APPEND")
        };
        assert_eq!(append.stream, *format!("s{stream}"));
        let block = RecordBlock::parse(append.records, append.count, &Limits::default()).unwrap();
        let payload = block.payloads().next().unwrap();
        assert!(record::check(&payload, stream, sequence).is_some());
    }
}
