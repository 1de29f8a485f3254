//! Cases of idempotent producers: duplicate, gap, fenced and a wrong start of an epoch are told apart.

use std::sync::Arc;

use bytes::Bytes;

use super::Subject;
use super::fixture::{
    Expect as _, Fixture, Ran, Stop, and_close, block, same, together, with_producer, with_seq,
    with_tail,
};
use crate::storage::Storage as _;
use crate::types::{AppendOptions, Appended, Offset, Refusal};

/// Appends one record with this stamp; it must be accepted.
async fn push<S: Subject>(
    f: &Fixture<'_, S>,
    producer: &str,
    epoch: u64,
    seq: u64,
) -> Result<Appended, Stop> {
    let payload = format!("{producer}{epoch}.{seq}");
    let answer = f
        .try_append(&[&payload], with_producer(producer, epoch, seq))
        .await;
    answer.accepted(&format!("epoch {epoch} seq {seq} of {producer}"))
}

/// Appends one record as producer `p` with this stamp; it must be refused.
async fn refuse<S: Subject>(f: &Fixture<'_, S>, epoch: u64, seq: u64, refusal: Refusal) -> Ran {
    let answer = f.try_append(&["x"], with_producer("p", epoch, seq)).await;
    answer.refused(&refusal, &format!("epoch {epoch} seq {seq}"))
}

pub(super) async fn a_duplicate_is_confirmed_and_stored_once<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let first = push(&f, "p", 0, 0).await?;
    same("duplicate, the first time", &first.duplicate, &false)?;
    let again = push(&f, "p", 0, 0).await?;
    same(
        "the answer to the retry",
        &again,
        &Appended {
            duplicate: true,
            ..first
        },
    )?;
    f.holds(&["p0.0"]).await
}

pub(super) async fn every_accepted_seq_is_a_duplicate<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    for seq in 0..3 {
        push(&f, "p", 4, seq).await?;
    }
    let tail = f.append(&["by nobody"]).await?.tail;
    for seq in 0..3 {
        let again = push(&f, "p", 4, seq).await?;
        let expected = Appended {
            tail,
            duplicate: true,
            closed: false,
            producer_seq: Some(2),
        };
        same("the answer to a late retry", &again, &expected)?;
    }
    push(&f, "p", 4, 3).await?;
    f.holds(&["p4.0", "p4.1", "p4.2", "by nobody", "p4.3"])
        .await
}

pub(super) async fn a_gap_is_refused_with_the_expected_seq<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    push(&f, "p", 0, 0).await?;
    refuse(
        &f,
        0,
        2,
        Refusal::ProducerGap {
            expected: 1,
            received: 2,
        },
    )
    .await?;
    push(&f, "p", 0, 1).await?;
    f.holds(&["p0.0", "p0.1"]).await
}

pub(super) async fn an_unknown_producer_begins_at_zero<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    refuse(
        &f,
        7,
        1,
        Refusal::ProducerGap {
            expected: 0,
            received: 1,
        },
    )
    .await?;
    push(&f, "p", 7, 0).await?;
    f.holds(&["p7.0"]).await
}

pub(super) async fn a_lower_epoch_is_fenced<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    push(&f, "p", 5, 0).await?;
    // Fenced even if the seq would be a duplicate, or the next one.
    for seq in 0..3 {
        refuse(&f, 4, seq, Refusal::ProducerFenced { current: 5 }).await?;
    }
    f.holds(&["p5.0"]).await
}

pub(super) async fn a_new_epoch_begins_at_zero<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    push(&f, "p", 0, 0).await?;
    push(&f, "p", 0, 1).await?;
    refuse(&f, 1, 2, Refusal::ProducerEpochStart { received: 2 }).await?;
    // The refused start of an epoch does not fence the one before.
    push(&f, "p", 0, 2).await?;
    push(&f, "p", 1, 0).await?;
    refuse(&f, 0, 3, Refusal::ProducerFenced { current: 1 }).await?;
    f.holds(&["p0.0", "p0.1", "p0.2", "p1.0"]).await
}

pub(super) async fn producers_do_not_touch_each_other<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    push(&f, "p", 9, 0).await?;
    push(&f, "q", 0, 0).await?;
    push(&f, "q", 0, 1).await?;
    push(&f, "p", 9, 1).await?;
    refuse(
        &f,
        9,
        3,
        Refusal::ProducerGap {
            expected: 2,
            received: 3,
        },
    )
    .await?;
    f.holds(&["p9.0", "q0.0", "q0.1", "p9.1"]).await
}

pub(super) async fn a_duplicate_passes_all_later_checks<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let options = AppendOptions {
        seq: with_seq("m").seq,
        expected_tail: with_tail(0).expected_tail,
        ..with_producer("p", 0, 0)
    };
    let first = f
        .try_append(&["a"], options.clone())
        .await
        .accepted("the first append")?;
    let again = f
        .try_append(&["a"], options)
        .await
        .accepted("the same append again")?;
    same(
        "the answer to the retry",
        &again,
        &Appended {
            duplicate: true,
            ..first
        },
    )?;
    f.holds(&["a"]).await
}

pub(super) async fn a_duplicate_is_confirmed_on_a_closed_stream<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    let tail = push(&f, "p", 0, 0).await?.tail;
    f.close().await?;
    let again = push(&f, "p", 0, 0).await?;
    let expected = Appended {
        tail,
        duplicate: true,
        closed: true,
        producer_seq: Some(0),
    };
    same("the answer to the retry", &again, &expected)?;
    refuse(&f, 0, 1, Refusal::StreamClosed { tail: tail.offset }).await
}

pub(super) async fn a_retried_append_and_close_is_a_duplicate<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    let options = and_close(with_producer("p", 0, 0));
    let first = f
        .try_append(&["a"], options.clone())
        .await
        .accepted("append and close")?;
    same("closed", &first.closed, &true)?;
    let again = f
        .try_append(&["a"], options)
        .await
        .accepted("the same again")?;
    same(
        "the answer to the retry",
        &again,
        &Appended {
            duplicate: true,
            ..first
        },
    )?;
    f.holds(&["a"]).await
}

pub(super) async fn a_refused_append_does_not_advance_its_producer<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    f.try_append(&["a"], with_seq("m"))
        .await
        .accepted("the first append")?;
    let stamped = |options| AppendOptions {
        producer: with_producer("p", 2, 0).producer,
        ..options
    };
    let mismatch = Refusal::TailMismatch { actual: Offset(1) };
    f.try_append(&["x"], stamped(with_tail(0)))
        .await
        .refused(&mismatch, "the wrong tail")?;
    let conflict = Refusal::SeqConflict {
        last: Bytes::from_static(b"m"),
    };
    f.try_append(&["x"], stamped(with_seq("l")))
        .await
        .refused(&conflict, "a lower seq")?;
    let empty = f.try_append(&[], stamped(AppendOptions::default())).await;
    empty.refused(&Refusal::EmptyBatch, "no records")?;
    let accepted = push(&f, "p", 2, 0).await?;
    same(
        "duplicate, of the first accepted append",
        &accepted.duplicate,
        &false,
    )?;
    f.holds(&["a", "p2.0"]).await
}

pub(super) async fn racing_retries_are_stored_once<S: Subject>(f: Fixture<'_, S>) -> Ran {
    const RETRIES: usize = 8;
    f.given().await?;
    let retries = (0..RETRIES).map(|_| {
        let (storage, stream) = (Arc::clone(&f.storage), f.stream.clone());
        async move {
            storage
                .append(&stream, block(&["once"]), with_producer("p", 0, 0))
                .await
        }
    });
    let mut duplicates = 0;
    for answer in together("the retries", retries).await? {
        duplicates += usize::from(answer.accepted("a retry")?.duplicate);
    }
    same("how many were duplicates", &duplicates, &(RETRIES - 1))?;
    f.holds(&["once"]).await
}
