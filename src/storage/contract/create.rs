//! Cases of `create`: what a new stream is, and when a second create is the same.

use super::Subject;
use super::fixture::{Expect as _, Fixture, Ran, and_close, ensure, from, name, same};
use crate::storage::Storage as _;
use crate::types::{AppendOptions, Created, Error, Expiry, Position, Refusal, Start, Str};

pub(super) async fn a_new_stream_is_open_and_empty<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let created = f
        .create(f.options(|_| ()))
        .await
        .accepted("the first create")?;
    same(
        "the answer",
        &created,
        &Created {
            existed: false,
            tail: Position::START,
            closed: false,
        },
    )?;
    same("the tail", &f.tail().await?, &Position::START)?;
    let metadata = f.metadata().await?;
    same(
        "the earliest position",
        &metadata.earliest,
        &Position::START,
    )?;
    same("closed", &metadata.closed, &false)?;
    f.holds(&[]).await
}

pub(super) async fn creating_again_with_the_same_options_confirms<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    let tail = f.append(&["a", "bc"]).await?.tail;
    let created = f
        .create(f.options(|_| ()))
        .await
        .accepted("the second create")?;
    same(
        "the answer",
        &created,
        &Created {
            existed: true,
            tail,
            closed: false,
        },
    )?;
    f.holds(&["a", "bc"]).await
}

pub(super) async fn creating_again_with_other_options_is_refused<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    f.append(&["a"]).await?;
    let before = f.metadata().await?;
    let others = [
        (
            "another content type",
            f.options(|o| o.content_type = Str::from("text/x-other")),
        ),
        ("a ttl", f.options(|o| o.expiry = Expiry::Ttl(60))),
        (
            "an expiry",
            f.options(|o| o.expiry = Expiry::At(f.now().after(MINUTE))),
        ),
        (
            "another retention by records",
            f.options(|o| o.retention.max_records = Some(7)),
        ),
        (
            "another retention by bytes",
            f.options(|o| o.retention.max_bytes = Some(700)),
        ),
        (
            "another retention by age",
            f.options(|o| o.retention.max_age = Some(MINUTE)),
        ),
    ];
    for (what, options) in others {
        f.create(options)
            .await
            .refused(&Refusal::AlreadyExists, what)?;
    }
    same(
        "the metadata after the refusals",
        &f.metadata().await?,
        &before,
    )
}

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) async fn the_media_type_is_compared_without_regard_to_case<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given_with(|o| o.content_type = Str::from("text/plain"))
        .await?;
    let again = f.options(|o| o.content_type = Str::from("Text/PLAIN"));
    let created = f
        .create(again)
        .await
        .accepted("the same media type in other letters")?;
    same("existed", &created.existed, &true)
}

pub(super) async fn a_closed_stream_exists<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let appended = f
        .try_append(&["a"], and_close(AppendOptions::default()))
        .await;
    let tail = appended.accepted("append and close")?.tail;
    let created = f
        .create(f.options(|_| ()))
        .await
        .accepted("creating a closed stream again")?;
    same(
        "the answer",
        &created,
        &Created {
            existed: true,
            tail,
            closed: true,
        },
    )?;
    same("closed", &f.metadata().await?.closed, &true)
}

pub(super) async fn invalid_options_are_refused<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let long = "x".repeat(256);
    let invalid = [
        ("a ttl of zero", f.options(|o| o.expiry = Expiry::Ttl(0))),
        (
            "an expiry that has passed",
            f.options(|o| o.expiry = Expiry::At(just_before(&f))),
        ),
        (
            "a retention of no records",
            f.options(|o| o.retention.max_records = Some(0)),
        ),
        (
            "a retention of no bytes",
            f.options(|o| o.retention.max_bytes = Some(0)),
        ),
        (
            "an empty content type",
            f.options(|o| o.content_type = Str::from("")),
        ),
        (
            "a content type of 256 bytes",
            f.options(|o| o.content_type = Str::from(long.as_str())),
        ),
        (
            "a content type of two lines",
            f.options(|o| o.content_type = Str::from("a/b\nc")),
        ),
    ];
    for (what, options) in invalid {
        let answer = f.create(options).await;
        let refused = matches!(answer, Err(Error::Refused(Refusal::InvalidOption { .. })));
        ensure(what, "the refusal InvalidOption", refused)?;
    }
    f.is_not_found().await
}

fn just_before<S: Subject>(f: &Fixture<'_, S>) -> crate::types::Timestamp {
    crate::types::Timestamp(f.now().0.saturating_sub(1))
}

pub(super) async fn streams_do_not_touch_each_other<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let other = name(&format!("{} and another", f.stream))?;
    f.given().await?;
    f.storage
        .create(&other, f.options(|_| ()))
        .await
        .accepted("creating another stream")?;
    f.append(&["a", "b"]).await?;
    let block = super::fixture::block(&["elsewhere"]);
    let appended = f
        .storage
        .append(&other, block, AppendOptions::default())
        .await;
    same(
        "the tail of the other",
        &appended.accepted("append")?.tail,
        &super::fixture::at(1, 9),
    )?;
    f.storage
        .close(&other)
        .await
        .accepted("closing the other")?;
    f.append(&["c"]).await?;
    f.storage
        .delete(&other)
        .await
        .accepted("deleting the other")?;
    f.holds(&["a", "b", "c"]).await?;
    same(
        "a read from the middle",
        &f.texts(from(1)).await?,
        &super::fixture::texts(&["b", "c"]),
    )?;
    same("a read from now", &f.texts(Start::Now).await?, &Vec::new())
}
