//! Cases of many callers at once: one total order, whole batches, nothing lost, readers see prefixes only.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::Subject;
use super::fixture::{
    Expect as _, Fixture, Ran, Stop, at, block, ensure, from, messages_of, name, same, text, texts,
    together, with_tail,
};
use crate::storage::{ReadLimits, Storage};
use crate::types::{AppendOptions, Error, Offset, Position, Refusal, Start, StreamName};

/// Records in each batch of these cases.
const BATCH: usize = 3;

/// What one appender had confirmed: for each batch, its records and the tail that was answered.
type Confirmed = Vec<(Vec<String>, Position)>;

/// Appends `batches` batches of records that say who wrote them; stops early when the stream is closed.
async fn append_batches<T: Storage>(
    storage: Arc<T>,
    stream: StreamName,
    writer: usize,
    batches: usize,
) -> Result<Confirmed, Error> {
    let mut confirmed = Vec::new();
    for batch in 0..batches {
        let payloads: Vec<String> = (0..BATCH)
            .map(|record| format!("{writer}.{batch}.{record}"))
            .collect();
        let refs: Vec<&str> = payloads.iter().map(String::as_str).collect();
        match storage
            .append(&stream, block(&refs), AppendOptions::default())
            .await
        {
            Ok(appended) => confirmed.push((payloads, appended.tail)),
            Err(Error::Refused(Refusal::StreamClosed { .. })) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(confirmed)
}

/// The stream holds the confirmed batches, each in one piece where its tail says, and nothing else.
async fn holds_confirmed<S: Subject>(f: &Fixture<'_, S>, confirmed: &[Confirmed]) -> Ran {
    let stored = f.texts(Start::Beginning).await?;
    let count: usize = confirmed
        .iter()
        .flatten()
        .map(|(payloads, _)| payloads.len())
        .sum();
    same("how many records are stored", &stored.len(), &count)?;
    for appender in confirmed {
        let in_order = appender.is_sorted_by_key(|(_, tail)| tail.offset);
        ensure("the tails told to one appender", "to grow", in_order)?;
        for (payloads, tail) in appender {
            let end = usize::try_from(tail.offset.0).unwrap_or(usize::MAX);
            let found = stored
                .get(end.saturating_sub(payloads.len())..end)
                .unwrap_or_default();
            same(
                &format!("the batch that was confirmed at tail {tail}"),
                &found,
                &&payloads[..],
            )?;
        }
    }
    Ok(())
}

pub(super) async fn concurrent_batches_stay_whole_and_none_is_lost<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    let appenders = (0..8)
        .map(|appender| append_batches(Arc::clone(&f.storage), f.stream.clone(), appender, 25));
    let confirmed = together("the appenders", appenders).await?;
    let confirmed = confirmed.into_iter().map(|c| c.accepted("the appends"));
    let confirmed = confirmed.collect::<Result<Vec<_>, _>>()?;
    let bytes = confirmed
        .iter()
        .flatten()
        .flat_map(|(p, _)| p)
        .map(|p| p.len() as u64)
        .sum();
    same(
        "the tail",
        &f.tail().await?,
        &at(8 * 25 * BATCH as u64, bytes),
    )?;
    holds_confirmed(&f, &confirmed).await
}

pub(super) async fn appends_racing_a_close_are_stored_or_refused<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    let appenders = (0..4)
        .map(|appender| append_batches(Arc::clone(&f.storage), f.stream.clone(), appender, 10_000));
    let close = async {
        while f.tail().await?.offset < Offset(60) {
            tokio::task::yield_now().await;
        }
        f.storage.close(&f.stream).await.accepted("the close")
    };
    let (confirmed, closed) = tokio::join!(together("the appenders", appenders), close);
    let confirmed = confirmed?.into_iter().map(|c| c.accepted("the appends"));
    let confirmed = confirmed.collect::<Result<Vec<_>, _>>()?;
    same("the final tail", &f.tail().await?, &closed?.tail)?;
    holds_confirmed(&f, &confirmed).await
}

pub(super) async fn concurrent_readers_see_prefixes_only<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let appenders = (0..4)
        .map(|appender| append_batches(Arc::clone(&f.storage), f.stream.clone(), appender, 50));
    let readers = [1, 7, u32::MAX].map(|max_records| {
        let limits = ReadLimits {
            max_records,
            ..ReadLimits::default()
        };
        read_to_end(Arc::clone(&f.storage), f.stream.clone(), limits)
    });
    let append_all = async {
        let confirmed = together("the appenders", appenders).await?;
        f.close().await?;
        Ok::<_, Stop>(confirmed)
    };
    let (confirmed, reads) = tokio::join!(append_all, together("the readers", readers));
    for confirmed in confirmed? {
        confirmed.accepted("the appends")?;
    }
    let stored = f.texts(Start::Beginning).await?;
    same(
        "how many records are stored",
        &stored.len(),
        &(4 * 50 * BATCH),
    )?;
    for read in reads? {
        same("what a concurrent reader saw, in the end", &read?, &stored)?;
    }
    Ok(())
}

/// Reads on and on until the stream is closed. On the way, each read of everything must begin with what was seen
/// before, and whatever the tail is, it lies between two batches.
async fn read_to_end<T: Storage>(
    storage: Arc<T>,
    stream: StreamName,
    limits: ReadLimits,
) -> Result<Vec<String>, Stop> {
    let mut seen: Vec<String> = Vec::new();
    loop {
        let tail = storage
            .current_offset(&stream)
            .await
            .accepted("asking for the tail")?;
        same(
            "records of a batch that is in part below the tail",
            &(tail.offset.0 % 3),
            &0,
        )?;
        let page = storage
            .read_messages(&stream, from(seen.len() as u64), limits)
            .await;
        let page = page.accepted("a read")?;
        seen.extend(page.messages.iter().map(|message| text(&message.payload)));
        same(
            "the end of a page",
            &page.next.offset.0,
            &(seen.len() as u64),
        )?;
        if page.closed {
            return Ok(seen);
        }
        let whole = messages_of(&*storage, &stream, Start::Beginning).await?;
        let again = whole.messages.iter().map(|message| text(&message.payload));
        let unchanged = seen
            .iter()
            .cloned()
            .zip(again)
            .all(|(before, now)| before == now);
        let enough = whole.messages.len() >= seen.len();
        ensure(
            "a later read",
            "what was read before, and more",
            unchanged && enough,
        )?;
        tokio::task::yield_now().await;
    }
}

pub(super) async fn one_of_racing_conditional_appends_wins<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    for round in 0..10_u64 {
        let racers = (0..6).map(|_| {
            let (storage, stream) = (Arc::clone(&f.storage), f.stream.clone());
            async move {
                storage
                    .append(&stream, block(&["x"]), with_tail(round))
                    .await
            }
        });
        let mut winners = 0;
        for answer in together("the racing appends", racers).await? {
            match answer {
                Ok(_) => winners += 1,
                refused => {
                    let actual = Offset(round.saturating_add(1));
                    refused.refused(&Refusal::TailMismatch { actual }, "an append that lost")?;
                }
            }
        }
        same("how many appends expecting the same tail won", &winners, &1)?;
    }
    same("the tail", &f.tail().await?, &at(10, 10))
}

pub(super) async fn one_of_racing_creates_creates<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let racers = (0..8).map(|_| {
        let (storage, stream) = (Arc::clone(&f.storage), f.stream.clone());
        let options = f.options(|_| ());
        async move { storage.create(&stream, options).await }
    });
    let mut created = 0;
    for answer in together("the racing creates", racers).await? {
        created += usize::from(!answer.accepted("a create")?.existed);
    }
    same("how many creates did it", &created, &1)
}

pub(super) async fn many_streams_are_used_at_once<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let users = (0..50).map(|number| {
        let (storage, options) = (Arc::clone(&f.storage), f.options(|_| ()));
        let stream = name(&format!("{}/{number}", f.stream));
        async move {
            let stream = stream?;
            storage
                .create(&stream, options)
                .await
                .accepted("a create")?;
            let confirmed = append_batches(Arc::clone(&storage), stream.clone(), number, 4).await;
            let confirmed = confirmed.accepted("the appends")?;
            let read = messages_of(&*storage, &stream, Start::Beginning).await?;
            let found: Vec<_> = read
                .messages
                .iter()
                .map(|message| text(&message.payload))
                .collect();
            let written: Vec<_> = confirmed
                .into_iter()
                .flat_map(|(payloads, _)| payloads)
                .collect();
            same("the records of one of many streams", &found, &written)
        }
    });
    together("the users of the streams", users)
        .await?
        .into_iter()
        .collect()
}

pub(super) async fn an_abandoned_append_is_whole_or_absent<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let payloads = ["a", "b", "c"];
    let append = f
        .storage
        .append(&f.stream, block(&payloads), AppendOptions::default());
    // Polled once, then dropped: the caller has gone away.
    let _answered_at_once = append.now_or_never();
    f.append(&["after"]).await?;
    let stored = f.texts(Start::Beginning).await?;
    let absent = texts(&["after"]);
    let before = texts(&["a", "b", "c", "after"]);
    let behind = texts(&["after", "a", "b", "c"]);
    let whole = [absent, before, behind].contains(&stored);
    ensure(
        &format!("{stored:?}, after an append was abandoned"),
        "all of it or nothing",
        whole,
    )
}
