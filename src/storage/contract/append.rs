//! Cases of `append`: positions, whole batches, `seq`, the expected tail, and the order of the checks.

use bytes::Bytes;

use super::Subject;
use super::fixture::{
    Expect as _, Fixture, Ran, and_close, at, ensure, same, with_producer, with_seq, with_tail,
};
use crate::storage::Storage as _;
use crate::types::{AppendOptions, Appended, Offset, RecordBlock, Refusal, Start};

pub(super) async fn an_append_answers_the_new_tail<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let first = f.append(&["a"]).await?;
    let expected = Appended {
        tail: at(1, 1),
        duplicate: false,
        closed: false,
        producer_seq: None,
    };
    same("the answer to one record of one byte", &first, &expected)?;
    let second = f.append(&["bcd", "", "ef"]).await?;
    same(
        "the tail after three more records of 3, 0 and 2 bytes",
        &second.tail,
        &at(4, 6),
    )
}

pub(super) async fn a_confirmed_append_is_visible_at_once<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    for number in 1..=20_u64 {
        let appended = f.append(&["one", "two"]).await?;
        same("the tail asked for", &f.tail().await?, &appended.tail)?;
        same(
            "the tail in the metadata",
            &f.metadata().await?.tail,
            &appended.tail,
        )?;
        let read = f.messages(Start::Beginning).await?;
        same("the end of a read", &read.next, &appended.tail)?;
        same(
            "the records read",
            &(read.messages.len() as u64),
            &(2 * number),
        )?;
    }
    Ok(())
}

pub(super) async fn payloads_come_back_as_they_were<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let payloads = [
        every_byte.repeat(400),
        Vec::new(),
        b"\n".to_vec(),
        every_byte,
    ];
    let block = RecordBlock::from_payloads(&payloads);
    f.storage
        .append(&f.stream, block, AppendOptions::default())
        .await
        .accepted("the append")?;
    let read = f.messages(Start::Beginning).await?;
    same(
        "how many records came back",
        &read.messages.len(),
        &payloads.len(),
    )?;
    let intact = read
        .messages
        .iter()
        .zip(&payloads)
        .all(|(message, p)| message.payload == *p);
    ensure("the payloads", "the bytes that were appended", intact)
}

pub(super) async fn appending_to_no_stream_is_not_found<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.is_not_found().await
}

pub(super) async fn an_empty_batch_is_refused<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let answer = f.try_append(&[], AppendOptions::default()).await;
    answer.refused(&Refusal::EmptyBatch, "an append of no records")?;
    f.holds(&[]).await
}

pub(super) async fn seq_must_grow_byte_by_byte<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    for (seq, grows) in [
        ("10", true),
        ("10", false),
        ("0", false),
        ("1", false),
        ("100", true),
    ] {
        push(&f, seq.as_bytes(), grows).await?;
    }
    // Numbers do not count: byte by byte, "9" is greater than "10", and "a" greater than "Z".
    for (seq, grows) in [
        ("9", true),
        ("10", false),
        ("Z", true),
        ("a", true),
        ("B", false),
    ] {
        push(&f, seq.as_bytes(), grows).await?;
    }
    push(&f, &[0xff], true).await?;
    push(&f, &[0x7f, 0xff], false).await?;
    push(&f, &[0xff, 0x00], true).await
}

/// Appends with `seq`, which must be accepted if it `grows`, and else refused with the last accepted one.
async fn push<S: Subject>(f: &Fixture<'_, S>, seq: &[u8], grows: bool) -> Ran {
    let before = f.metadata().await?;
    let seq = Bytes::copy_from_slice(seq);
    let what = format!("seq {seq:?} after {:?}", before.last_seq);
    let options = AppendOptions {
        seq: Some(seq.clone()),
        ..AppendOptions::default()
    };
    let answer = f.try_append(&["x"], options).await;
    if grows {
        answer.accepted(&what)?;
        return same("the last seq", &f.metadata().await?.last_seq, &Some(seq));
    }
    let last = before.last_seq.clone().unwrap_or_default();
    answer.refused(&Refusal::SeqConflict { last }, &what)?;
    same(
        "the metadata after the refusal",
        &f.metadata().await?,
        &before,
    )
}

pub(super) async fn an_append_without_seq_leaves_the_last_seq<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    f.append(&["a"]).await?;
    same(
        "the last seq before any",
        &f.metadata().await?.last_seq,
        &None,
    )?;
    f.try_append(&["b"], with_seq("m"))
        .await
        .accepted("a first seq")?;
    f.append(&["c"]).await?;
    let answer = f.try_append(&["d"], with_seq("m")).await;
    answer.refused(
        &Refusal::SeqConflict {
            last: Bytes::from_static(b"m"),
        },
        "the same seq",
    )?;
    f.holds(&["a", "b", "c"]).await
}

pub(super) async fn the_tail_must_be_the_expected_one<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.try_append(&["a", "b"], with_tail(0))
        .await
        .accepted("tail 0 expected of an empty stream")?;
    for wrong in [0, 1, 3] {
        let answer = f.try_append(&["x"], with_tail(wrong)).await;
        let refusal = Refusal::TailMismatch { actual: Offset(2) };
        answer.refused(&refusal, &format!("tail {wrong} expected at tail 2"))?;
    }
    f.try_append(&["c"], with_tail(2))
        .await
        .accepted("tail 2 expected at tail 2")?;
    f.holds(&["a", "b", "c"]).await
}

pub(super) async fn a_refused_append_changes_nothing<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.try_append(&["a"], with_seq("m"))
        .await
        .accepted("the first append")?;
    let before = f.metadata().await?;
    f.advance(1);
    let conflict = Refusal::SeqConflict {
        last: Bytes::from_static(b"m"),
    };
    f.try_append(&["x", "y"], with_seq("l"))
        .await
        .refused(&conflict, "a lower seq")?;
    let mismatch = Refusal::TailMismatch { actual: Offset(1) };
    let options = AppendOptions {
        seq: with_seq("z").seq,
        ..with_tail(9)
    };
    f.try_append(&["x", "y"], and_close(options))
        .await
        .refused(&mismatch, "another tail")?;
    same("the metadata", &f.metadata().await?, &before)?;
    f.try_append(&["b"], with_seq("n"))
        .await
        .accepted("the next seq")?;
    f.holds(&["a", "b"]).await
}

pub(super) async fn the_checks_come_in_their_order<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.try_append(&["a"], with_seq("m"))
        .await
        .accepted("the first append")?;
    let everything_wrong = AppendOptions {
        seq: with_seq("l").seq,
        expected_tail: Some(Offset(7)),
        ..with_producer("p", 0, 5)
    };
    let gap = Refusal::ProducerGap {
        expected: 0,
        received: 5,
    };
    f.try_append(&[], everything_wrong.clone())
        .await
        .refused(&gap, "the producer first")?;
    let seq_and_tail_wrong = AppendOptions {
        producer: None,
        ..everything_wrong
    };
    let mismatch = Refusal::TailMismatch { actual: Offset(1) };
    f.try_append(&[], seq_and_tail_wrong.clone())
        .await
        .refused(&mismatch, "then the tail")?;
    let conflict = Refusal::SeqConflict {
        last: Bytes::from_static(b"m"),
    };
    f.try_append(&[], with_seq("l"))
        .await
        .refused(&conflict, "then seq, before an empty batch")?;
    f.close().await?;
    let closed = Refusal::StreamClosed { tail: Offset(1) };
    f.try_append(&[], seq_and_tail_wrong)
        .await
        .refused(&closed, "closed comes before tail and seq")
}
