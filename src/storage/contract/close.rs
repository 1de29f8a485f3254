//! Cases of `close` and of append-and-close: for ever, idempotent, one step.

use super::Subject;
use super::fixture::{Expect as _, Fixture, Ran, and_close, at, same, with_seq, with_tail};
use crate::storage::Storage as _;
use crate::types::{AppendOptions, Appended, Closed, Offset, Refusal, Start};

pub(super) async fn closing_answers_the_final_tail_every_time<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    let tail = f.append(&["a", "bc"]).await?.tail;
    for time in ["first", "second", "third"] {
        let closed = f
            .storage
            .close(&f.stream)
            .await
            .accepted(&format!("the {time} close"))?;
        same(
            &format!("the answer to the {time} close"),
            &closed,
            &Closed { tail },
        )?;
        same(
            "closed, in the metadata",
            &f.metadata().await?.closed,
            &true,
        )?;
    }
    Ok(())
}

pub(super) async fn a_closed_stream_takes_no_append<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append(&["a", "b"]).await?;
    f.close().await?;
    let closed = Refusal::StreamClosed { tail: Offset(2) };
    for options in [AppendOptions::default(), with_seq("z"), with_tail(2)] {
        f.try_append(&["x"], options)
            .await
            .refused(&closed, "an append to a closed stream")?;
    }
    f.advance(1_000_000);
    let answer = f
        .try_append(&["x"], and_close(AppendOptions::default()))
        .await;
    answer.refused(&closed, "append and close, long after the close")?;
    f.holds(&["a", "b"]).await
}

pub(super) async fn a_closed_stream_is_read_to_its_end<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append_each(&["a", "b"]).await?;
    f.close().await?;
    let read = f.messages(Start::Beginning).await?;
    same("closed, of a read to the final tail", &read.closed, &true)?;
    same("the end of the read", &read.next, &at(2, 2))?;
    let data = f.data(Start::Now).await?;
    same(
        "closed, of an empty read at the final tail",
        &data.closed,
        &true,
    )?;
    f.holds(&["a", "b"]).await
}

pub(super) async fn append_and_close_is_one_step<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append(&["a"]).await?;
    let answer = f
        .try_append(&["b", "c"], and_close(AppendOptions::default()))
        .await;
    let expected = Appended {
        tail: at(3, 3),
        duplicate: false,
        closed: true,
        producer_seq: None,
    };
    same(
        "the answer",
        &answer.accepted("append and close")?,
        &expected,
    )?;
    same("closed", &f.metadata().await?.closed, &true)?;
    let refusal = Refusal::StreamClosed { tail: Offset(3) };
    f.try_append(&["x"], AppendOptions::default())
        .await
        .refused(&refusal, "a later append")?;
    f.holds(&["a", "b", "c"]).await
}

pub(super) async fn an_empty_batch_may_close<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let tail = f.append(&["a"]).await?.tail;
    let answer = f.try_append(&[], and_close(AppendOptions::default())).await;
    let expected = Appended {
        tail,
        duplicate: false,
        closed: true,
        producer_seq: None,
    };
    same(
        "the answer",
        &answer.accepted("an empty batch that closes")?,
        &expected,
    )?;
    same("closed", &f.metadata().await?.closed, &true)?;
    f.holds(&["a"]).await
}

pub(super) async fn a_refused_append_and_close_does_not_close<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    f.try_append(&["a"], with_seq("m"))
        .await
        .accepted("the first append")?;
    let last = bytes::Bytes::from_static(b"m");
    let answer = f.try_append(&["x"], and_close(with_seq("m"))).await;
    answer.refused(
        &Refusal::SeqConflict { last },
        "append and close with the same seq",
    )?;
    same("closed", &f.metadata().await?.closed, &false)?;
    f.append(&["b"]).await?;
    f.holds(&["a", "b"]).await
}
