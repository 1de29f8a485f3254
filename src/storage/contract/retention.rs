//! Cases of retention: what is trimmed, and what reads say about it. A trim may come shortly after what caused it.

use std::time::Duration;

use super::Subject;
use super::fixture::{
    Expect as _, Fixture, Ran, at, ensure, eventually, from, pending, same, texts,
};
use crate::storage::{ReadLimits, Storage as _};
use crate::types::{Offset, Position, Refusal, Retention, Start, Timestamp};

/// A stream with `retention`.
async fn given_retention<S: Subject>(f: &Fixture<'_, S>, retention: Retention) -> Ran {
    f.given_with(|o| o.retention = retention).await
}

fn records(max_records: u64) -> Retention {
    Retention {
        max_records: Some(max_records),
        ..Retention::default()
    }
}

fn bytes(max_bytes: u64) -> Retention {
    Retention {
        max_bytes: Some(max_bytes),
        ..Retention::default()
    }
}

fn age(seconds: u64) -> Retention {
    Retention {
        max_age: Some(Duration::from_secs(seconds)),
        ..Retention::default()
    }
}

/// The stream is trimmed to `earliest`, then everything before it is out of reach and everything after it is there.
async fn is_trimmed_to<S: Subject>(f: &Fixture<'_, S>, earliest: Position, kept: &[&str]) -> Ran {
    let look = || async { Ok(f.metadata().await?.earliest) };
    eventually("the earliest position", &earliest, look).await?;
    let offset = earliest.offset;
    if offset > Offset(0) {
        let refusal = Refusal::Trimmed { earliest: offset };
        for trimmed in [0, offset.0.saturating_sub(1)] {
            let what = format!("a read from {trimmed}, trimmed to {offset}");
            f.try_messages(from(trimmed))
                .await
                .refused(&refusal, &what)?;
            let joined = f
                .storage
                .read(&f.stream, from(trimmed), ReadLimits::default())
                .await;
            joined.refused(&refusal, &format!("{what}, joined"))?;
        }
    }
    for start in [
        Start::Beginning,
        Start::At(offset),
        Start::Time(Timestamp(0)),
    ] {
        same(
            &format!("a read from {start:?}"),
            &f.texts(start).await?,
            &texts(kept),
        )?;
    }
    let metadata = f.metadata().await?;
    same(
        "how many records are kept",
        &metadata.records(),
        &(kept.len() as u64),
    )?;
    let kept_bytes = kept.iter().map(|payload| payload.len() as u64).sum();
    same("how many bytes are kept", &metadata.bytes(), &kept_bytes)
}

pub(super) async fn max_records_keeps_the_newest<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_retention(&f, records(3)).await?;
    f.append_each(&["a", "b", "c"]).await?;
    is_trimmed_to(&f, Position::START, &["a", "b", "c"]).await?;
    f.append(&["dd", "ee"]).await?;
    is_trimmed_to(&f, at(2, 2), &["c", "dd", "ee"]).await?;
    f.append(&["f", "g", "h", "i", "j"]).await?;
    is_trimmed_to(&f, at(7, 9), &["h", "i", "j"]).await
}

pub(super) async fn max_bytes_keeps_the_newest<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_retention(&f, bytes(6)).await?;
    f.append(&["aa", "bb", "cc"]).await?;
    is_trimmed_to(&f, Position::START, &["aa", "bb", "cc"]).await?;
    f.append(&["d"]).await?;
    is_trimmed_to(&f, at(1, 2), &["bb", "cc", "d"]).await?;
    f.append(&["eeee"]).await?;
    is_trimmed_to(&f, at(3, 6), &["d", "eeee"]).await
}

pub(super) async fn max_bytes_always_keeps_the_newest_record<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_retention(&f, bytes(2)).await?;
    f.append(&["a", "much too long"]).await?;
    is_trimmed_to(&f, at(1, 1), &["much too long"]).await
}

pub(super) async fn max_age_trims_what_is_older<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_retention(&f, age(100)).await?;
    f.append_each(&["a", "b"]).await?;
    f.advance(60);
    f.append(&["c"]).await?;
    f.advance(39);
    is_trimmed_to(&f, Position::START, &["a", "b", "c"]).await?;
    f.advance(2);
    is_trimmed_to(&f, at(2, 2), &["c"]).await?;
    f.advance(100);
    is_trimmed_to(&f, at(3, 3), &[]).await?;
    same(
        "a read of nothing kept",
        &f.messages(Start::Beginning).await?.next,
        &at(3, 3),
    )?;
    same("the next tail", &f.append(&["d"]).await?.tail, &at(4, 4))?;
    is_trimmed_to(&f, at(3, 3), &["d"]).await
}

pub(super) async fn the_limit_passed_first_trims<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let retention = Retention {
        max_records: Some(3),
        max_bytes: Some(8),
        ..age(100)
    };
    given_retention(&f, retention).await?;
    f.append(&["a", "b", "c", "d"]).await?;
    is_trimmed_to(&f, at(1, 1), &["b", "c", "d"]).await?;
    f.advance(60);
    f.append(&["eeeeeee"]).await?;
    is_trimmed_to(&f, at(3, 3), &["d", "eeeeeee"]).await?;
    f.advance(41);
    is_trimmed_to(&f, at(4, 4), &["eeeeeee"]).await
}

pub(super) async fn a_trim_renumbers_nothing<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_retention(&f, records(2)).await?;
    f.append_each(&["a", "bb", "ccc"]).await?;
    is_trimmed_to(&f, at(1, 1), &["bb", "ccc"]).await?;
    let read = f.messages(Start::Beginning).await?;
    let positions: Vec<_> = read
        .messages
        .iter()
        .map(|message| message.position)
        .collect();
    same(
        "the positions of what is kept",
        &positions,
        &vec![at(1, 1), at(2, 3)],
    )?;
    same("the tail", &f.tail().await?, &at(3, 6))?;
    same(
        "a read from the last record",
        &f.texts(from(2)).await?,
        &texts(&["ccc"]),
    )?;
    same("a read at the tail", &f.texts(from(3)).await?, &Vec::new())?;
    let past = f.try_messages(from(4)).await;
    past.refused(
        &Refusal::PastTail { tail: Offset(3) },
        "a read past the tail",
    )
}

pub(super) async fn a_closed_stream_is_trimmed_too<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_retention(&f, age(100)).await?;
    f.append(&["a"]).await?;
    f.close().await?;
    f.advance(101);
    is_trimmed_to(&f, at(1, 1), &[]).await?;
    let end = f.messages(Start::Beginning).await?;
    ensure(
        "a read of a closed stream with nothing kept",
        "closed",
        end.closed && !end.has_more,
    )
}

pub(super) async fn a_stream_without_retention_keeps_everything<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    let payloads: Vec<String> = (0..200).map(|number| format!("record {number}")).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    for batch in payloads.chunks(7) {
        f.append(batch).await?;
        f.advance(86_400);
    }
    is_trimmed_to(&f, Position::START, &payloads).await
}

pub(super) async fn a_trim_is_no_change_to_a_subscriber<S: Subject>(f: Fixture<'_, S>) -> Ran {
    use crate::storage::Changes as _;
    given_retention(&f, age(100)).await?;
    f.append(&["a"]).await?;
    let mut changes = f.subscribe().await?;
    f.advance(101);
    is_trimmed_to(&f, at(1, 1), &[]).await?;
    pending(
        "a subscription of a trimmed stream",
        std::pin::pin!(changes.next()),
    )
    .await
}
