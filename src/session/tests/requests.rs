//! Requests and their answers: order, refusals, limits, the drain.

use super::*;

#[tokio::test]
async fn pipelined_requests_on_one_stream_are_done_in_order() {
    let mut peer = Peer::connected().await;
    peer.ask(2, &create("s"));
    for correlation in 3..103 {
        peer.ask(correlation, &Command::Append(append("s", &["a", "b"])));
    }
    peer.ask(103, &Command::Close(Close { stream: "s".into() }));
    peer.ask(104, &Command::Append(append("s", &["late"])));
    let mut entries = Vec::new();
    let mut others = Vec::new();
    while entries.len() < 100 || others.len() < 3 {
        match peer.next().await {
            (0, Event::Confirm(confirm)) => entries.extend(confirm.entries),
            other => others.push(other),
        }
    }
    for (index, entry) in (0u32..).zip(&entries) {
        assert_eq!(
            (entry.correlation, entry.tail),
            (3 + index, 2 * u64::from(index + 1))
        );
    }
    assert!(matches!(&others[0], (2, Event::Created(created)) if !created.exists));
    assert!(matches!(&others[1], (103, Event::Closed(closed)) if closed.tail == 200));
    assert!(matches!(&others[2], (104, Event::Err(err)) if err.tail == Some(200)));
    assert_eq!(peer.session.in_flight(), 0);
}

#[tokio::test]
async fn confirms_of_one_commit_share_a_frame() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    for correlation in 0..50 {
        let command = Command::Append(append("s", &["x"]));
        let mut bytes = BytesMut::new();
        command.encode(correlation, &mut bytes);
        let frame = frame::split(&mut bytes, u32::MAX)
            .expect("a frame")
            .expect("whole");
        peer.session
            .receive(&frame, &mut peer.out)
            .expect("not fatal");
    }
    peer.session.kick();
    let (0, Event::Confirm(first)) = peer.next().await else {
        panic!("not CONFIRM")
    };
    assert!(first.entries.len() > 1, "{}", first.entries.len());
}

#[tokio::test]
async fn an_append_without_confirm_is_silent_unless_refused() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    let silent = |stream| Append {
        no_confirm: true,
        ..append(stream, &["a"])
    };
    peer.ask(2, &Command::Append(silent("s")));
    peer.ask(3, &Command::Append(silent("absent")));
    peer.ask(4, &Command::Append(append("s", &["b"])));
    let mut confirmed = None;
    let mut refused = None;
    while confirmed.is_none() || refused.is_none() {
        match peer.next().await {
            (0, Event::Confirm(confirm)) => confirmed = Some(confirm.entries),
            (correlation, Event::Err(err)) => refused = Some((correlation, err.code)),
            other => panic!("unexpected {other:?}"),
        }
    }
    let only = ConfirmEntry {
        correlation: 4,
        duplicate: false,
        closed: false,
        tail: 2,
    };
    assert_eq!(confirmed, Some(vec![only]));
    assert_eq!(refused, Some((3, ErrorCode::NotFound.number())));
}

#[tokio::test]
async fn a_bad_checksum_refuses_the_append_and_the_session_goes_on() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    let mut bad = append("s", &["payload"]);
    let mut records = bad.records.to_vec();
    *records.last_mut().expect("not empty") ^= 1;
    bad.records = Bytes::from(records);
    peer.ask(2, &Command::Append(bad));
    let (2, err) = peer.next_err().await else {
        panic!("another request")
    };
    assert_eq!(
        (err.code, err.fatal),
        (ErrorCode::ChecksumMismatch.number(), false)
    );
    peer.ask(3, &Command::Append(append("s", &["payload"])));
    assert_eq!(peer.confirms(1).await[0].tail, 1);
}

#[tokio::test]
async fn records_that_do_not_fill_their_frame_are_fatal() {
    let mut peer = Peer::connected().await;
    let short = Append {
        count: 3,
        ..append("s", &["a", "b"])
    };
    let failure = peer.send(2, &Command::Append(short)).expect_err("refused");
    assert_eq!(failure.code(), ErrorCode::MalformedFrame);
}

#[tokio::test]
async fn limits_on_records_and_batches_refuse_one_request() {
    let limits = Limits {
        record_bytes_max: 4,
        batch_records_max: 2,
        ..Limits::default()
    };
    let mut peer = Peer::connected_with(SessionOptions {
        limits,
        ..SessionOptions::default()
    })
    .await;
    peer.ask(2, &Command::Append(append("s", &["12345"])));
    assert_eq!(
        peer.next_err().await.1.code,
        ErrorCode::RecordTooLarge.number()
    );
    peer.ask(3, &Command::Append(append("s", &["1", "2", "3"])));
    assert_eq!(
        peer.next_err().await.1.code,
        ErrorCode::BatchTooLarge.number()
    );
    peer.ask(4, &Command::Append(append("", &["1"])));
    assert_eq!(
        peer.next_err().await.1.code,
        ErrorCode::InvalidName.number()
    );
}

#[tokio::test]
async fn a_duplicate_is_confirmed_as_one() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    let producer = Some(Producer {
        id: "p".into(),
        epoch: 0,
        seq: 0,
    });
    let stamped = Append {
        producer,
        ..append("s", &["once"])
    };
    peer.ask(2, &Command::Append(stamped.clone()));
    peer.ask(3, &Command::Append(stamped));
    let entries = peer.confirms(2).await;
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry.duplicate)
            .collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(entries[1].tail, 1);
}

#[tokio::test]
async fn stat_list_and_delete_answer() {
    let mut peer = Peer::connected().await;
    peer.create("a/1").await;
    peer.create("a/2").await;
    peer.create("b").await;
    peer.ask(2, &Command::Append(append("a/1", &["x"])));
    peer.confirms(1).await;
    peer.ask(
        3,
        &Command::Stat(Stat {
            stream: "a/1".into(),
        }),
    );
    let (3, Event::Status(status)) = peer.next().await else {
        panic!("not STATUS")
    };
    assert_eq!(
        (status.tail, status.tail_byte, status.closed),
        (1, 1, false)
    );
    peer.ask(
        4,
        &Command::List(List {
            prefix: "a/".into(),
            after: "".into(),
            limit: 1,
        }),
    );
    let (4, Event::Listed(listed)) = peer.next().await else {
        panic!("not LISTED")
    };
    assert_eq!((listed.streams.len(), listed.more), (1, true));
    assert_eq!(listed.streams[0].stream, "a/1");
    peer.ask(
        5,
        &Command::Delete(Delete {
            stream: "a/1".into(),
        }),
    );
    let (5, Event::Deleted) = peer.next().await else {
        panic!("not DELETED")
    };
    peer.ask(
        6,
        &Command::Stat(Stat {
            stream: "a/1".into(),
        }),
    );
    assert_eq!(
        peer.next_err().await,
        (6, ErrorEvent::new(ErrorCode::NotFound, peer_not_found()))
    );
}

fn peer_not_found() -> String {
    crate::types::Refusal::NotFound.to_string()
}

#[tokio::test]
async fn a_read_answers_what_is_there_and_a_waiting_one_what_comes() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    peer.ask(2, &read("s", 60_000));
    peer.ask(3, &Command::Append(append("s", &["a", "b"])));
    let mut records = None;
    while records.is_none() {
        if let (2, Event::Records(some)) = peer.next().await {
            records = Some(some);
        }
    }
    let records = records.expect("just seen");
    assert_eq!((records.next, records.next_byte, records.tail), (2, 2, 2));
    assert_eq!(payloads(records.runs()), ["a", "b"]);
}

#[tokio::test]
async fn one_waiting_read_too_many_is_refused() {
    let options = SessionOptions {
        reads_max: 2,
        ..SessionOptions::default()
    };
    let mut peer = Peer::connected_with(options).await;
    peer.create("s").await;
    for correlation in 2..5 {
        peer.ask(correlation, &read("s", 60_000));
    }
    let (4, err) = peer.next_err().await else {
        panic!("another request")
    };
    assert_eq!(err.code, ErrorCode::TooManyRequests.number());
    assert!(err.retry_after_ms.is_some());
}

#[tokio::test]
async fn a_drain_refuses_new_work_and_answers_what_waits() {
    let mut peer = Peer::connected().await;
    peer.create("s").await;
    peer.ask(2, &read("s", 60_000));
    let grace = Duration::from_secs(7);
    assert!(peer.session.drain(grace, &mut peer.out));
    assert!(!peer.session.drain(grace, &mut peer.out));
    let (0, Event::Draining(draining)) = peer.next().await else {
        panic!("not DRAINING")
    };
    assert_eq!(draining.grace_ms, 7000);
    assert_eq!(peer.next_err().await.1.code, ErrorCode::Draining.number());
    peer.ask(3, &Command::Append(append("s", &["a"])));
    let (3, err) = peer.next_err().await else {
        panic!("another request")
    };
    assert_eq!((err.code, err.fatal), (ErrorCode::Draining.number(), false));
    assert_eq!(peer.session.in_flight(), 0);
}
