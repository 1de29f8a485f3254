//! Cases of reads that wait: woken by data, by a close and by a delete, empty after their time.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::Subject;
use super::fixture::{
    Expect as _, Fixture, Ran, and_close, at, from, pending, same, soon, text, texts, tick,
    together,
};
use crate::storage::{ReadLimits, Storage as _};
use crate::types::{AppendOptions, Data, Messages, Refusal, Start, Timestamp};

/// Limits of a read that waits for at most `wait`.
fn waiting(wait: Duration) -> ReadLimits {
    ReadLimits {
        wait,
        ..ReadLimits::default()
    }
}

/// Longer than any case lasts.
const LONG: Duration = Duration::from_secs(3_600);

/// A read from `start` waits at the tail of one record, and answers what is appended then.
async fn wakes_with_data<S: Subject>(f: Fixture<'_, S>, start: Start) -> Ran {
    f.given().await?;
    f.append(&["old"]).await?;
    let mut read = pin!(f.storage.read_messages(&f.stream, start, waiting(LONG)));
    pending("a read at the tail", read.as_mut()).await?;
    f.advance(1);
    f.append(&["new", "newer"]).await?;
    let read = soon("the waiting read", read)
        .await?
        .accepted("the waiting read")?;
    let found: Vec<_> = read
        .messages
        .iter()
        .map(|message| text(&message.payload))
        .collect();
    same(
        "what the waiting read saw",
        &found,
        &texts(&["new", "newer"]),
    )?;
    same("its end", &read.next, &at(3, 11))
}

pub(super) async fn a_waiting_read_wakes_with_data<S: Subject>(f: Fixture<'_, S>) -> Ran {
    wakes_with_data(f, from(1)).await
}

pub(super) async fn a_waiting_read_from_now_wakes_with_data<S: Subject>(f: Fixture<'_, S>) -> Ran {
    wakes_with_data(f, Start::Now).await
}

pub(super) async fn a_waiting_read_from_a_time_wakes_with_data<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    let later = Timestamp(f.now().0.saturating_add(1));
    wakes_with_data(f, Start::Time(later)).await
}

pub(super) async fn a_waiting_joined_read_wakes_with_data<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut read = pin!(f.storage.read(&f.stream, Start::Beginning, waiting(LONG)));
    pending("a read of an empty stream", read.as_mut()).await?;
    f.append(&["a", "bc"]).await?;
    let read = soon("the waiting read", read)
        .await?
        .accepted("the waiting read")?;
    let expected = Data {
        bytes: "abc".into(),
        next: at(2, 3),
        has_more: false,
        closed: false,
    };
    same("what the waiting read saw", &read, &expected)
}

pub(super) async fn a_waiting_read_wakes_with_close<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append(&["old"]).await?;
    let mut read = pin!(f.storage.read_messages(&f.stream, from(1), waiting(LONG)));
    pending("a read at the tail", read.as_mut()).await?;
    f.close().await?;
    let read = soon("the waiting read", read)
        .await?
        .accepted("the waiting read")?;
    let end = Messages {
        messages: vec![],
        next: at(1, 3),
        has_more: false,
        closed: true,
    };
    same("what the waiting read saw", &read, &end)
}

pub(super) async fn a_waiting_read_sees_append_and_close_as_one<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    let mut read = pin!(f.storage.read(&f.stream, Start::Now, waiting(LONG)));
    pending("a read at the tail", read.as_mut()).await?;
    let answer = f
        .try_append(&["end"], and_close(AppendOptions::default()))
        .await;
    answer.accepted("append and close")?;
    let read = soon("the waiting read", read)
        .await?
        .accepted("the waiting read")?;
    let end = Data {
        bytes: "end".into(),
        next: at(1, 3),
        has_more: false,
        closed: true,
    };
    same("what the waiting read saw", &read, &end)
}

pub(super) async fn a_waiting_read_of_a_deleted_stream_is_not_found<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    let mut read = pin!(
        f.storage
            .read_messages(&f.stream, Start::Now, waiting(LONG))
    );
    pending("a read at the tail", read.as_mut()).await?;
    f.delete().await?;
    let read = soon("the waiting read", read).await?;
    read.refused(&Refusal::NotFound, "the waiting read, after the delete")
}

pub(super) async fn a_waiting_read_ends_empty_after_its_time<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append(&["old"]).await?;
    let mut read = pin!(
        f.storage
            .read(&f.stream, Start::Now, waiting(Duration::from_secs(1)))
    );
    pending("a read of one second", read.as_mut()).await?;
    let ended = async {
        loop {
            tokio::select! {
                ended = &mut read => return ended,
                () = tick(&f) => {}
            }
        }
    };
    let read = soon("the waiting read", ended)
        .await?
        .accepted("the waiting read")?;
    let nothing = Data {
        bytes: "".into(),
        next: at(1, 3),
        has_more: false,
        closed: false,
    };
    same("the answer after a second", &read, &nothing)
}

pub(super) async fn a_read_does_not_wait_for_what_is_there<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append(&["a"]).await?;
    let read = f.storage.read(&f.stream, Start::Beginning, waiting(LONG));
    let read = soon("a read of what is there", read)
        .await?
        .accepted("a read")?;
    let expected = Data {
        bytes: "a".into(),
        next: at(1, 1),
        has_more: false,
        closed: false,
    };
    same("the answer", &read, &expected)
}

pub(super) async fn a_read_does_not_wait_at_the_end_of_a_closed_stream<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    f.append(&["a"]).await?;
    f.close().await?;
    for start in [Start::Now, from(1)] {
        let read = f.storage.read(&f.stream, start, waiting(LONG));
        let read = soon("a read at the final tail", read)
            .await?
            .accepted("a read")?;
        let end = Data {
            bytes: "".into(),
            next: at(1, 1),
            has_more: false,
            closed: true,
        };
        same(&format!("the answer from {start:?}"), &read, &end)?;
    }
    Ok(())
}

pub(super) async fn a_read_that_is_refused_does_not_wait<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let read = f.storage.read(&f.stream, Start::Now, waiting(LONG));
    let read = soon("a read of no stream", read).await?;
    read.refused(&Refusal::NotFound, "a waiting read of no stream")?;
    f.given().await?;
    let past = Refusal::PastTail {
        tail: at(0, 0).offset,
    };
    let read = soon(
        "a read past the tail",
        f.storage.read(&f.stream, from(1), waiting(LONG)),
    );
    read.await?.refused(&past, "a waiting read past the tail")
}

pub(super) async fn every_waiting_read_is_woken<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let reads = (0..16).map(|_| {
        let (storage, stream) = (Arc::clone(&f.storage), f.stream.clone());
        async move { storage.read(&stream, Start::Beginning, waiting(LONG)).await }
    });
    let append = f.append(&["a"]);
    let (reads, appended) = tokio::join!(together("the waiting reads", reads), append);
    appended?;
    for read in reads? {
        same(
            "what a waiting read saw",
            &read.accepted("a read")?.bytes,
            &"a".into(),
        )?;
    }
    Ok(())
}
