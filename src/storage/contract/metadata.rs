//! Cases of `get_metadata` and `current_offset`: every field says what is so.

use std::time::Duration;

use bytes::Bytes;

use super::Subject;
use super::fixture::{Expect as _, Fixture, Ran, at, same, with_seq};
use crate::types::{Expiry, Metadata, Position, Retention, Str};

pub(super) async fn metadata_of_a_new_stream<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let expected = Metadata {
        options: f.options(|_| ()),
        created_at: f.now(),
        last_append_at: None,
        closed: false,
        earliest: Position::START,
        tail: Position::START,
        last_seq: None,
    };
    f.advance(3);
    same("the metadata", &f.metadata().await?, &expected)
}

pub(super) async fn metadata_tells_the_options_as_given<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let options = f.options(|o| {
        o.content_type = Str::from("text/csv; charset=utf-8");
        o.expiry = Expiry::Ttl(3_600);
        o.retention = Retention {
            max_age: Some(Duration::from_millis(86_400_500)),
            max_records: Some(1_000),
            max_bytes: Some(1 << 40),
        };
    });
    f.create(options.clone())
        .await
        .accepted("creating the stream")?;
    same("the options", &f.metadata().await?.options, &options)?;
    f.delete().await?;
    let options = f.options(|o| o.expiry = Expiry::At(f.now().after(Duration::from_secs(3_600))));
    f.create(options.clone())
        .await
        .accepted("creating it with an expiry")?;
    same("the options", &f.metadata().await?.options, &options)
}

pub(super) async fn metadata_follows_what_is_appended<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let created_at = f.now();
    f.advance(10);
    f.try_append(&["ab", "", "c"], with_seq("m"))
        .await
        .accepted("the first append")?;
    f.advance(10);
    let appended_at = f.now();
    f.append(&["def"]).await?;
    f.advance(10);
    f.close().await?;
    f.advance(10);
    let expected = Metadata {
        options: f.options(|_| ()),
        created_at,
        last_append_at: Some(appended_at),
        closed: true,
        earliest: Position::START,
        tail: at(4, 6),
        last_seq: Some(Bytes::from_static(b"m")),
    };
    let metadata = f.metadata().await?;
    same("the metadata", &metadata, &expected)?;
    same("how many records are kept", &metadata.records(), &4)?;
    same("how many bytes are kept", &metadata.bytes(), &6)?;
    same("the tail asked for", &f.tail().await?, &at(4, 6))
}
