//! Cases of `delete`: the stream and everything about it is gone, and the name is free.

use super::Subject;
use super::fixture::{
    Expect as _, Fixture, Ran, and_close, ensure, same, with_producer, with_seq, with_tail,
};
use crate::types::{AppendOptions, Created, Position, Refusal, Start, Str};

pub(super) async fn a_deleted_stream_is_not_found<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append(&["a"]).await?;
    f.delete().await?;
    f.is_not_found().await
}

pub(super) async fn a_closed_stream_may_be_deleted<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.try_append(&["a"], and_close(AppendOptions::default()))
        .await
        .accepted("append and close")?;
    f.delete().await?;
    f.is_not_found().await
}

pub(super) async fn a_stream_created_again_starts_at_zero<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append(&["old", "older"]).await?;
    f.close().await?;
    f.delete().await?;
    f.advance(5);
    let created = f
        .create(f.options(|_| ()))
        .await
        .accepted("creating it again")?;
    same(
        "the answer",
        &created,
        &Created {
            existed: false,
            tail: Position::START,
            closed: false,
        },
    )?;
    let metadata = f.metadata().await?;
    same("the tail", &metadata.tail, &Position::START)?;
    same(
        "the earliest position",
        &metadata.earliest,
        &Position::START,
    )?;
    same("closed", &metadata.closed, &false)?;
    same("created at", &metadata.created_at, &f.now())?;
    same("last append at", &metadata.last_append_at, &None)?;
    f.holds(&[]).await?;
    f.append(&["new"]).await?;
    f.holds(&["new"]).await
}

pub(super) async fn nothing_of_the_old_stream_is_remembered<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let options = AppendOptions {
        seq: with_seq("m").seq,
        ..with_producer("p", 7, 0)
    };
    f.try_append(&["old"], options)
        .await
        .accepted("the append to the old stream")?;
    f.delete().await?;
    f.given().await?;
    same("the last seq", &f.metadata().await?.last_seq, &None)?;
    f.try_append(&["a"], with_seq("a"))
        .await
        .accepted("a seq lower than the old one")?;
    let gap = Refusal::ProducerGap {
        expected: 0,
        received: 1,
    };
    f.try_append(&["x"], with_producer("p", 7, 1))
        .await
        .refused(&gap, "the old next seq")?;
    let first = f.try_append(&["b"], with_producer("p", 0, 0)).await;
    let first = first.accepted("an epoch lower than the old one")?;
    ensure(
        "the first append of a producer",
        "no duplicate",
        !first.duplicate,
    )?;
    f.try_append(&["c"], with_tail(2))
        .await
        .accepted("the new tail")?;
    f.holds(&["a", "b", "c"]).await
}

pub(super) async fn a_stream_created_again_may_have_other_options<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    f.append(&["not json"]).await?;
    f.delete().await?;
    f.given_with(|o| o.content_type = Str::from("application/json"))
        .await?;
    let invalid = Refusal::InvalidJson { index: 0 };
    let answer = f.try_append(&["not json"], AppendOptions::default()).await;
    answer.refused(&invalid, "what was fine in the old stream")?;
    same("a read", &f.texts(Start::Beginning).await?, &Vec::new())
}
