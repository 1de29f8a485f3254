//! Cases of `read` and `read_messages`: where a read begins, where it ends, and what it says about the rest.

use super::Subject;
use super::fixture::{Expect as _, Fixture, Ran, Stop, at, ensure, from, same, text, texts};
use crate::storage::{ReadLimits, Storage as _};
use crate::types::{Data, Message, Messages, Offset, Refusal, Start, Timestamp};

/// A stream of five records of two bytes each: a batch of one, one of three, one of one, ten seconds apart.
async fn five<S: Subject>(f: &Fixture<'_, S>) -> Result<[Timestamp; 3], Stop> {
    f.given().await?;
    let mut times = [Timestamp::default(); 3];
    let batches: [&[&str]; 3] = [&["a0"], &["b1", "b2", "b3"], &["c4"]];
    for (time, batch) in times.iter_mut().zip(batches) {
        f.advance(10);
        f.append(batch).await?;
        *time = f.now();
    }
    Ok(times)
}

const FIVE: [&str; 5] = ["a0", "b1", "b2", "b3", "c4"];

pub(super) async fn a_read_from_the_beginning_gives_everything<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    five(&f).await?;
    f.holds(&FIVE).await
}

pub(super) async fn a_read_from_now_gives_nothing<S: Subject>(f: Fixture<'_, S>) -> Ran {
    five(&f).await?;
    let nothing = Messages {
        messages: vec![],
        next: at(5, 10),
        has_more: false,
        closed: false,
    };
    same("the answer", &f.messages(Start::Now).await?, &nothing)
}

pub(super) async fn a_read_from_an_offset_begins_there<S: Subject>(f: Fixture<'_, S>) -> Ran {
    five(&f).await?;
    for (offset, _) in FIVE.iter().enumerate() {
        let expected = texts(FIVE.get(offset..).unwrap_or_default());
        let what = format!("a read from offset {offset}");
        same(&what, &f.texts(from(offset as u64)).await?, &expected)?;
        let joined = f.data(from(offset as u64)).await?;
        same(
            &format!("{what}, joined"),
            &joined.bytes,
            &expected.concat().into(),
        )?;
    }
    Ok(())
}

pub(super) async fn a_read_from_a_time_begins_there<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let [first, second, third] = five(&f).await?;
    let just_after = |time: Timestamp| Timestamp(time.0.saturating_add(1));
    let expectations = [
        (Timestamp(0), 0),
        (first, 0),
        (just_after(first), 1),
        (second, 1),
        (just_after(second), 4),
        (third, 4),
        (just_after(third), 5),
        (Timestamp(u64::MAX), 5),
    ];
    for (time, offset) in expectations {
        let read = f.messages(Start::Time(time)).await?;
        let what = format!(
            "a read from {time:?}, where the batches are of {first:?}, {second:?}, {third:?}"
        );
        same(&what, &read, &f.messages(from(offset)).await?)?;
    }
    Ok(())
}

pub(super) async fn records_come_with_position_and_time<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let [first, second, third] = five(&f).await?;
    let read = f.messages(Start::Beginning).await?;
    let expected: Vec<Message> = [first, second, second, second, third]
        .into_iter()
        .zip(FIVE)
        .zip(0..)
        .map(|((committed_at, payload), offset)| Message {
            position: at(offset, 2 * offset),
            committed_at,
            payload: payload.into(),
        })
        .collect();
    same("the records", &read.messages, &expected)?;
    same("the end", &read.next, &at(5, 10))
}

pub(super) async fn a_joined_read_is_the_bytes_back_to_back<S: Subject>(f: Fixture<'_, S>) -> Ran {
    five(&f).await?;
    let expected = Data {
        bytes: FIVE.concat().into(),
        next: at(5, 10),
        has_more: false,
        closed: false,
    };
    same("the answer", &f.data(Start::Beginning).await?, &expected)
}

pub(super) async fn a_read_at_the_tail_is_empty<S: Subject>(f: Fixture<'_, S>) -> Ran {
    five(&f).await?;
    let nothing = Data {
        bytes: "".into(),
        next: at(5, 10),
        has_more: false,
        closed: false,
    };
    same("the answer at the tail", &f.data(from(5)).await?, &nothing)
}

pub(super) async fn a_read_of_an_empty_stream_is_empty<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let nothing = Data {
        bytes: "".into(),
        next: at(0, 0),
        has_more: false,
        closed: false,
    };
    for start in [Start::Beginning, Start::Now, from(0), Start::Time(f.now())] {
        same(
            &format!("a read from {start:?}"),
            &f.data(start).await?,
            &nothing,
        )?;
    }
    Ok(())
}

pub(super) async fn a_read_past_the_tail_is_refused<S: Subject>(f: Fixture<'_, S>) -> Ran {
    five(&f).await?;
    let refusal = Refusal::PastTail { tail: Offset(5) };
    for offset in [6, 1_000, u64::MAX] {
        let what = format!("a read from offset {offset} at tail 5");
        f.try_messages(from(offset))
            .await
            .refused(&refusal, &what)?;
        let joined = f
            .storage
            .read(&f.stream, from(offset), ReadLimits::default())
            .await;
        joined.refused(&refusal, &format!("{what}, joined"))?;
    }
    Ok(())
}

pub(super) async fn a_read_keeps_to_its_limit_of_records<S: Subject>(f: Fixture<'_, S>) -> Ran {
    five(&f).await?;
    for max_records in 1..=6_u32 {
        let limits = ReadLimits {
            max_records,
            ..ReadLimits::default()
        };
        pages_of(&f, limits, max_records as usize).await?;
    }
    Ok(())
}

pub(super) async fn a_read_keeps_to_its_limit_of_bytes<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let record = "x".repeat(1_000);
    let batch: Vec<&str> = vec![&record; 10];
    f.append(&batch).await?;
    f.append(&batch).await?;
    // A backend may count its own framing too: so "about", but never nothing and never much more.
    for (max_bytes, most) in [(2_500, 3), (5_500, 6), (10_500, 11)] {
        let limits = ReadLimits {
            max_bytes,
            ..ReadLimits::default()
        };
        let read = f
            .storage
            .read_messages(&f.stream, Start::Beginning, limits)
            .await;
        let count = read.accepted("a read limited in bytes")?.messages.len();
        let what = format!("records of 1,000 bytes in a read of at most {max_bytes}");
        ensure(&what, &format!("1 to {most}"), (1..=most).contains(&count))?;
        let read = f.storage.read(&f.stream, Start::Beginning, limits).await;
        let length = read.accepted("a joined read limited in bytes")?.bytes.len();
        ensure(
            &what,
            &format!("1 to {most}"),
            (1..=most).contains(&(length / 1_000)),
        )?;
    }
    Ok(())
}

pub(super) async fn a_read_gives_at_least_one_record<S: Subject>(f: Fixture<'_, S>) -> Ran {
    five(&f).await?;
    for max_bytes in [0, 1] {
        pages_of(
            &f,
            ReadLimits {
                max_bytes,
                ..ReadLimits::default()
            },
            1,
        )
        .await?;
    }
    Ok(())
}

/// Reads the five records page by page, both ways. Each page holds at least one and at most `most`; `has_more` and
/// `closed` must be right on each, before and after the stream is closed.
async fn pages_of<S: Subject>(f: &Fixture<'_, S>, limits: ReadLimits, most: usize) -> Ran {
    let closed = f.metadata().await?.closed;
    let (storage, stream) = (&f.storage, &f.stream);
    let mut next = 0;
    while next < FIVE.len() {
        let start = from(next as u64);
        let page = storage
            .read_messages(stream, start, limits)
            .await
            .accepted("a page")?;
        let read: Vec<_> = page
            .messages
            .iter()
            .map(|message| text(&message.payload))
            .collect();
        let as_data = Data {
            bytes: read.concat().into(),
            next: page.next,
            has_more: page.has_more,
            closed: page.closed,
        };
        page_is(next, most, closed, &as_data)?;
        next = next.saturating_add(read.len());
    }
    next = 0;
    while next < FIVE.len() {
        let data = storage
            .read(stream, from(next as u64), limits)
            .await
            .accepted("a page")?;
        page_is(next, most, closed, &data)?;
        next = next.saturating_add(data.bytes.len() / 2);
    }
    Ok(())
}

/// The page that was read from `start` is a right one.
fn page_is(start: usize, most: usize, closed: bool, page: &Data) -> Ran {
    let count = page.bytes.len() / 2;
    let what = format!("a page from {start} of at most {most} records");
    ensure(
        &what,
        "1 record or more, none too many",
        (1..=most).contains(&count),
    )?;
    let end = start.saturating_add(count);
    let at_end = end == FIVE.len();
    let expected = Data {
        bytes: FIVE.get(start..end).unwrap_or_default().concat().into(),
        next: at(end as u64, 2 * end as u64),
        has_more: !at_end,
        closed: closed && at_end,
    };
    same(&what, page, &expected)
}

pub(super) async fn only_the_final_tail_reads_as_closed<S: Subject>(f: Fixture<'_, S>) -> Ran {
    five(&f).await?;
    f.close().await?;
    for max_records in 1..=5_u32 {
        let limits = ReadLimits {
            max_records,
            ..ReadLimits::default()
        };
        pages_of(&f, limits, max_records as usize).await?;
    }
    let end = f.messages(from(5)).await?;
    same(
        "closed, at the final tail",
        &(end.closed, end.has_more),
        &(true, false),
    )
}
