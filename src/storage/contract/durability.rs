//! Cases for backends that keep data over a restart: what was confirmed is there, all of it, and nothing else.

use bytes::Bytes;

use super::Subject;
use super::fixture::{
    Expect as _, Fixture, Ran, and_close, at, eventually, same, with_producer, with_seq,
};
use crate::types::{AppendOptions, Appended, Expiry, Offset, Refusal, Start};

pub(super) async fn confirmed_records_survive_a_restart<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut payloads: Vec<String> = (0..100).map(|number| format!("record {number}")).collect();
    payloads.push(String::new());
    for batch in payloads.chunks(7) {
        f.advance(1);
        f.append(&batch.iter().map(String::as_str).collect::<Vec<_>>())
            .await?;
    }
    let before = (f.metadata().await?, f.messages(Start::Beginning).await?);
    let f = f.reopen().await?;
    let after = (f.metadata().await?, f.messages(Start::Beginning).await?);
    same("metadata and records", &after, &before)?;
    same(
        "the next tail",
        &f.append(&["x"]).await?.tail.offset.0,
        &102,
    )
}

pub(super) async fn the_rules_go_on_after_a_restart<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let options = AppendOptions {
        seq: with_seq("m").seq,
        ..with_producer("p", 3, 0)
    };
    let first = f
        .try_append(&["a"], options.clone())
        .await
        .accepted("the append")?;
    let f = f.reopen().await?;
    let again = f
        .try_append(&["a"], options)
        .await
        .accepted("the same append again")?;
    same(
        "the retry",
        &again,
        &Appended {
            duplicate: true,
            ..first
        },
    )?;
    let fenced = Refusal::ProducerFenced { current: 3 };
    f.try_append(&["x"], with_producer("p", 2, 0))
        .await
        .refused(&fenced, "a lower epoch")?;
    let conflict = Refusal::SeqConflict {
        last: Bytes::from_static(b"m"),
    };
    f.try_append(&["x"], with_seq("m"))
        .await
        .refused(&conflict, "the same seq")?;
    f.holds(&["a"]).await
}

pub(super) async fn a_close_survives_a_restart<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.try_append(&["a"], and_close(AppendOptions::default()))
        .await
        .accepted("append and close")?;
    let f = f.reopen().await?;
    let refusal = Refusal::StreamClosed { tail: Offset(1) };
    f.try_append(&["x"], AppendOptions::default())
        .await
        .refused(&refusal, "an append")?;
    same(
        "closed, of a read",
        &f.messages(Start::Beginning).await?.closed,
        &true,
    )
}

pub(super) async fn a_delete_survives_a_restart<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append(&["old"]).await?;
    f.delete().await?;
    let f = f.reopen().await?;
    f.is_not_found().await?;
    f.given().await?;
    f.append(&["new"]).await?;
    let f = f.reopen().await?;
    f.holds(&["new"]).await
}

pub(super) async fn a_trim_survives_a_restart<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given_with(|o| o.retention.max_records = Some(2)).await?;
    f.append(&["a", "b", "c"]).await?;
    let look = || async { Ok(f.metadata().await?.earliest) };
    eventually("the earliest position", &at(1, 1), look).await?;
    let f = f.reopen().await?;
    let trimmed = f.try_messages(Start::At(Offset(0))).await;
    trimmed.refused(
        &Refusal::Trimmed {
            earliest: Offset(1),
        },
        "a read of what is trimmed",
    )?;
    f.holds(&["b", "c"]).await
}

/// A backend may write down late that a read put the ttl off: after a restart an eighth of it is left open, either way.
pub(super) async fn an_expiry_goes_on_over_a_restart<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given_with(|o| o.expiry = Expiry::Ttl(100)).await?;
    f.advance(60);
    f.append(&["a"]).await?;
    f.advance(50);
    let f = f.reopen().await?;
    f.advance(30);
    // Put off by the append; now put off by this read.
    f.holds(&["a"]).await?;
    f.advance(50);
    let f = f.reopen().await?;
    f.advance(30);
    f.append(&["b"]).await?;
    f.advance(50);
    let f = f.reopen().await?;
    f.advance(63);
    f.is_not_found().await
}
