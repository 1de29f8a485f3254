//! Cases of ttl and absolute expiry: an expired stream is absent, and only reads and writes put it off.

use std::time::Duration;

use super::Subject;
use super::fixture::{Expect as _, Fixture, Ran, at, follow_to, from, same, with_seq};
use crate::storage::{Notification, ReadLimits, Storage as _};
use crate::types::{Created, Expiry, Position, Start, Str};

/// A stream with a ttl of 100 seconds.
async fn given_ttl<S: Subject>(f: &Fixture<'_, S>) -> Ran {
    f.given_with(|o| o.expiry = Expiry::Ttl(100)).await
}

pub(super) async fn a_stream_expires_after_its_ttl<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_ttl(&f).await?;
    f.advance(101);
    f.is_not_found().await
}

pub(super) async fn a_stream_stays_until_its_ttl_has_passed<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_ttl(&f).await?;
    f.append(&["a"]).await?;
    f.advance(99);
    f.holds(&["a"]).await
}

pub(super) async fn a_stream_without_expiry_stays<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append(&["a"]).await?;
    f.advance(10 * 365 * 86_400);
    f.holds(&["a"]).await
}

pub(super) async fn a_write_puts_the_ttl_off<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_ttl(&f).await?;
    for _ in 0..5 {
        f.advance(60);
        f.append(&["a"]).await?;
    }
    f.holds(&["a"; 5]).await?;
    f.advance(101);
    f.is_not_found().await
}

pub(super) async fn a_read_puts_the_ttl_off<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_ttl(&f).await?;
    f.append(&["a"]).await?;
    for _ in 0..3 {
        f.advance(60);
        f.messages(Start::Beginning).await?;
        f.advance(60);
        f.data(from(1)).await?;
        f.advance(60);
        f.data(Start::Now).await?;
    }
    f.advance(101);
    f.is_not_found().await
}

pub(super) async fn a_close_puts_the_ttl_off<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_ttl(&f).await?;
    f.advance(60);
    f.close().await?;
    f.advance(60);
    f.holds(&[]).await
}

pub(super) async fn asking_does_not_put_the_ttl_off<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_ttl(&f).await?;
    f.advance(60);
    f.tail().await?;
    f.metadata().await?;
    f.advance(41);
    f.is_not_found().await
}

pub(super) async fn an_absolute_expiry_is_not_put_off<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let end = f.now().after(Duration::from_secs(100));
    f.given_with(|o| o.expiry = Expiry::At(end)).await?;
    f.advance(99);
    f.append(&["a"]).await?;
    f.holds(&["a"]).await?;
    f.advance(2);
    f.is_not_found().await
}

pub(super) async fn an_expired_stream_is_created_anew<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_ttl(&f).await?;
    f.try_append(&["old"], with_seq("m"))
        .await
        .accepted("the old append")?;
    f.close().await?;
    f.advance(101);
    let options = f.options(|o| o.content_type = Str::from("text/other"));
    let created = f
        .create(options.clone())
        .await
        .accepted("creating it with other options")?;
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
    same("the options", &metadata.options, &options)?;
    same("created at", &metadata.created_at, &f.now())?;
    same("closed", &metadata.closed, &false)?;
    same("the last seq", &metadata.last_seq, &None)?;
    f.append(&["new"]).await?;
    f.holds(&["new"]).await
}

pub(super) async fn an_expired_stream_may_be_created_with_the_same_options<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    given_ttl(&f).await?;
    f.append(&["old"]).await?;
    f.advance(101);
    let options = f.options(|o| o.expiry = Expiry::Ttl(100));
    let created = f.create(options).await.accepted("creating it again")?;
    same(
        "the answer",
        &created,
        &Created {
            existed: false,
            tail: Position::START,
            closed: false,
        },
    )?;
    f.holds(&[]).await?;
    f.advance(60);
    same("the new tail", &f.append(&["new"]).await?.tail, &at(1, 3))
}

pub(super) async fn a_subscriber_hears_of_the_expiry<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_ttl(&f).await?;
    let mut changes = f.subscribe().await?;
    f.advance(60);
    f.append(&["a"]).await?;
    f.advance(60);
    // Put off by the append: the stream is still there.
    f.holds(&["a"]).await?;
    f.advance(101);
    follow_to(&mut changes, Notification::Deleted).await
}

pub(super) async fn a_waiting_read_ends_with_the_stream<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let end = f.now().after(Duration::from_secs(100));
    f.given_with(|o| o.expiry = Expiry::At(end)).await?;
    let limits = ReadLimits {
        wait: Duration::from_secs(3_600),
        ..ReadLimits::default()
    };
    let mut read = std::pin::pin!(f.storage.read(&f.stream, Start::Now, limits));
    super::fixture::pending("a read at the tail", read.as_mut()).await?;
    f.advance(101);
    let read = super::fixture::soon("the waiting read", read).await?;
    read.refused(
        &crate::types::Refusal::NotFound,
        "the waiting read, after the expiry",
    )
}
