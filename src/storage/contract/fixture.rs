//! What every case stands on: an open store, a stream name, a clock, and expectations that fail as values.
//!
//! A case reads as the rule it checks: what it does goes through [`Fixture`], what must hold through [`same`],
//! [`ensure`] and [`Expect`]. Waiting is always bounded: [`soon`], [`eventually`].

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Case, Failure, Subject};
use crate::storage::{Changes, Notification, ReadLimits, Storage};
use crate::types::{
    AppendOptions, Appended, Clock, CreateOptions, Created, Data, Error, ManualClock, Messages,
    Metadata, Offset, Position, ProducerStamp, RecordBlock, Refusal, Start, Str, StreamName,
    Timestamp,
};

/// How long a case waits for what must come soon.
const SOON: Duration = Duration::from_secs(10);
/// How often a case looks again for what may come shortly after.
const POLL: Duration = Duration::from_millis(5);
/// How long a future that must stay pending is watched: long enough for a wrong answer to show, and no rule
/// rests on it being long.
const WATCHED: Duration = Duration::from_millis(20);
/// When every case begins.
pub(super) const BEGINNING: Timestamp = Timestamp(1_800_000_000_000_000);

/// Why a case ended before its last line.
#[derive(Debug)]
pub(super) enum Stop {
    Skipped(&'static str),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a case answers.
pub(super) type Ran = Result<(), Stop>;

/// An open store, and the stream that the case is about.
pub(super) struct Fixture<'a, S: Subject> {
    subject: &'a S,
    /// Shared so that a case can use it from several tasks.
    pub(super) storage: Arc<S::Storage>,
    pub(super) stream: StreamName,
    clock: Clock,
    hand: Arc<ManualClock>,
}

impl<'a, S: Subject> Fixture<'a, S> {
    pub(super) async fn open(subject: &'a S, case: &Case) -> Result<Self, Stop> {
        let (clock, hand) = Clock::manual(BEGINNING);
        let storage = Arc::new(subject.open(clock.clone()).await);
        Ok(Self {
            subject,
            storage,
            stream: name(case.name)?,
            clock,
            hand,
        })
    }

    /// The store after a restart; the case is skipped if the backend keeps nothing.
    pub(super) async fn reopen(self) -> Result<Self, Stop> {
        let Self {
            subject,
            storage,
            stream,
            clock,
            hand,
        } = self;
        let storage = Arc::into_inner(storage)
            .ok_or_else(|| Failure::new("the case", "no other user of the store", "one"))?;
        let storage = subject
            .reopen(storage, clock.clone())
            .await
            .ok_or(Stop::Skipped("the backend keeps nothing over a restart"))?;
        Ok(Self {
            subject,
            storage: Arc::new(storage),
            stream,
            clock,
            hand,
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.hand.advance(Duration::from_secs(seconds));
    }

    /// The options of the subject, changed by `change`.
    pub(super) fn options(&self, change: impl FnOnce(&mut CreateOptions)) -> CreateOptions {
        let mut options = self.subject.options();
        change(&mut options);
        options
    }

    pub(super) async fn create(&self, options: CreateOptions) -> Result<Created, Error> {
        self.storage.create(&self.stream, options).await
    }

    /// Creates the stream with the options of the subject.
    pub(super) async fn given(&self) -> Ran {
        self.given_with(|_| ()).await
    }

    /// Creates the stream with options set by `change`.
    pub(super) async fn given_with(&self, change: impl FnOnce(&mut CreateOptions)) -> Ran {
        self.create(self.options(change))
            .await
            .accepted("creating the stream")?;
        Ok(())
    }

    pub(super) async fn try_append(
        &self,
        payloads: &[&str],
        options: AppendOptions,
    ) -> Result<Appended, Error> {
        self.storage
            .append(&self.stream, block(payloads), options)
            .await
    }

    /// Appends one batch, which must be accepted.
    pub(super) async fn append(&self, payloads: &[&str]) -> Result<Appended, Stop> {
        self.try_append(payloads, AppendOptions::default())
            .await
            .accepted(&format!("appending {payloads:?}"))
    }

    /// Appends `payloads` one by one.
    pub(super) async fn append_each(&self, payloads: &[&str]) -> Ran {
        for payload in payloads {
            self.append(&[payload]).await?;
        }
        Ok(())
    }

    pub(super) async fn close(&self) -> Ran {
        self.storage
            .close(&self.stream)
            .await
            .accepted("closing the stream")?;
        Ok(())
    }

    pub(super) async fn delete(&self) -> Ran {
        self.storage
            .delete(&self.stream)
            .await
            .accepted("deleting the stream")
    }

    pub(super) async fn tail(&self) -> Result<Position, Stop> {
        self.storage
            .current_offset(&self.stream)
            .await
            .accepted("asking for the tail")
    }

    pub(super) async fn metadata(&self) -> Result<Metadata, Stop> {
        self.storage
            .get_metadata(&self.stream)
            .await
            .accepted("asking for the metadata")
    }

    pub(super) async fn data(&self, from: Start) -> Result<Data, Stop> {
        let data = self
            .storage
            .read(&self.stream, from, ReadLimits::default())
            .await;
        data.accepted(&format!("reading joined from {from:?}"))
    }

    pub(super) async fn messages(&self, from: Start) -> Result<Messages, Stop> {
        self.try_messages(from)
            .await
            .accepted(&format!("reading from {from:?}"))
    }

    pub(super) async fn try_messages(&self, from: Start) -> Result<Messages, Error> {
        self.storage
            .read_messages(&self.stream, from, ReadLimits::default())
            .await
    }

    /// The payloads from `from` to the tail, as text, however many reads that takes.
    pub(super) async fn texts(&self, from: Start) -> Result<Vec<String>, Stop> {
        let mut texts = Vec::new();
        let mut page = self.messages(from).await?;
        loop {
            texts.extend(page.messages.iter().map(|message| text(&message.payload)));
            if !page.has_more {
                return Ok(texts);
            }
            ensure(
                "a page of a read with more to come",
                "a record",
                !page.messages.is_empty(),
            )?;
            page = self.messages(Start::At(page.next.offset)).await?;
        }
    }

    /// The stream holds exactly `payloads`.
    pub(super) async fn holds(&self, payloads: &[&str]) -> Ran {
        same(
            "the records of the stream",
            &self.texts(Start::Beginning).await?,
            &texts(payloads),
        )
    }

    pub(super) async fn subscribe(&self) -> Result<<S::Storage as Storage>::Changes, Stop> {
        self.storage
            .subscribe(&self.stream)
            .await
            .accepted("subscribing")
    }

    /// No operation finds the stream.
    pub(super) async fn is_not_found(&self) -> Ran {
        let (storage, stream, limits) = (&self.storage, &self.stream, ReadLimits::default());
        let gone = &Refusal::NotFound;
        let append = storage
            .append(stream, block(&["x"]), AppendOptions::default())
            .await;
        append.refused(gone, "append")?;
        storage.close(stream).await.refused(gone, "close")?;
        storage.delete(stream).await.refused(gone, "delete")?;
        storage
            .current_offset(stream)
            .await
            .refused(gone, "current_offset")?;
        storage
            .get_metadata(stream)
            .await
            .refused(gone, "get_metadata")?;
        storage
            .read(stream, Start::Beginning, limits)
            .await
            .refused(gone, "read")?;
        storage
            .read_messages(stream, Start::Now, limits)
            .await
            .refused(gone, "read_messages")?;
        storage.subscribe(stream).await.refused(gone, "subscribe")
    }
}

/// What an answer of the store must be.
pub(super) trait Expect<T> {
    /// The operation must be accepted.
    fn accepted(self, what: &str) -> Result<T, Stop>;
    /// The operation must be refused in exactly this way.
    fn refused(self, refusal: &Refusal, what: &str) -> Ran;
}

impl<T> Expect<T> for Result<T, Error> {
    fn accepted(self, what: &str) -> Result<T, Stop> {
        self.map_err(|error| Failure::new(what, "acceptance", format!("{error:?}")).into())
    }

    fn refused(self, refusal: &Refusal, what: &str) -> Ran {
        let found = match self {
            Ok(_) => "acceptance".to_owned(),
            Err(Error::Refused(found)) if found == *refusal => return Ok(()),
            Err(found) => format!("{found:?}"),
        };
        Err(Failure::new(what, format!("{refusal:?}"), found).into())
    }
}

/// `found` must equal `expected`.
pub(super) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Ran {
    if found == expected {
        return Ok(());
    }
    Err(Failure::new(what, format!("{expected:?}"), format!("{found:?}")).into())
}

/// `holds` must be true, else `what` is not as `expected`.
pub(super) fn ensure(what: &str, expected: &str, holds: bool) -> Ran {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(what, expected, "otherwise").into())
    }
}

/// Waits for what must come without further help.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Stop> {
    tokio::time::timeout(SOON, future)
        .await
        .map_err(|_late| Failure::late(what, SOON).into())
}

/// Looks at `look` again and again until it answers `expected`.
pub(super) async fn eventually<T, F>(what: &str, expected: &T, mut look: impl FnMut() -> F) -> Ran
where
    T: PartialEq + Debug,
    F: Future<Output = Result<T, Stop>>,
{
    let started = tokio::time::Instant::now();
    loop {
        let found = look().await?;
        if found == *expected || started.elapsed() > SOON {
            return same(what, &found, expected);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Runs `futures` in tasks of their own and gives back what they answer, in their order.
pub(super) async fn together<F>(
    what: &str,
    futures: impl IntoIterator<Item = F>,
) -> Result<Vec<F::Output>, Stop>
where
    F: Future<Output: Send> + Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        let ended = soon(what, task).await?;
        answers.push(ended.map_err(|error| Failure::panicked(&error.to_string()))?);
    }
    Ok(answers)
}

/// `future` must not end by itself. It is polled on the way, so that it waits for real.
pub(super) async fn pending<T: Debug>(what: &str, future: impl Future<Output = T> + Unpin) -> Ran {
    match tokio::time::timeout(WATCHED, future).await {
        Ok(found) => Err(Failure::new(what, "waiting", format!("{found:?}")).into()),
        Err(_still_waiting) => Ok(()),
    }
}

/// Lets a little real time and a second of the store's clock pass, for what may wait on either.
pub(super) async fn tick<S: Subject>(fixture: &Fixture<'_, S>) {
    tokio::time::sleep(POLL).await;
    fixture.advance(1);
}

/// Follows `changes` to one that is `last`, and checks that positions never go back and nothing follows an end.
pub(super) async fn follow_to(changes: &mut impl Changes, last: Notification) -> Ran {
    let mut newest = Position::START;
    let mut closed = false;
    loop {
        let change = soon(&format!("the notification {last:?}"), changes.next()).await?;
        if change == last {
            return Ok(());
        }
        let tail = match change {
            Notification::Appended(tail) if !closed => tail,
            Notification::Closed(tail) if !closed => {
                closed = true;
                tail
            }
            other => {
                return Err(Failure::new(
                    "the notifications",
                    format!("{last:?}"),
                    format!("{other:?} after the end"),
                )
                .into());
            }
        };
        ensure(
            "the tails of notifications",
            "never to go back",
            tail >= newest,
        )?;
        newest = tail;
    }
}

pub(super) fn name(text: &str) -> Result<StreamName, Stop> {
    StreamName::new(text).map_err(|error| {
        Failure::new("a name of the suite", "a stream name", error.to_string()).into()
    })
}

pub(super) fn block(payloads: &[&str]) -> RecordBlock {
    RecordBlock::from_payloads(payloads)
}

pub(super) fn at(offset: u64, byte: u64) -> Position {
    Position {
        offset: Offset(offset),
        byte,
    }
}

pub(super) fn from(offset: u64) -> Start {
    Start::At(Offset(offset))
}

/// The payload as text; what is not UTF-8 shows as such.
pub(super) fn text(payload: &Bytes) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

pub(super) fn texts(payloads: &[&str]) -> Vec<String> {
    payloads.iter().map(|&payload| payload.to_owned()).collect()
}

pub(super) fn with_seq(seq: &str) -> AppendOptions {
    AppendOptions {
        seq: Some(Bytes::copy_from_slice(seq.as_bytes())),
        ..AppendOptions::default()
    }
}

pub(super) fn with_tail(offset: u64) -> AppendOptions {
    AppendOptions {
        expected_tail: Some(Offset(offset)),
        ..AppendOptions::default()
    }
}

pub(super) fn with_producer(id: &str, epoch: u64, seq: u64) -> AppendOptions {
    let producer = ProducerStamp {
        id: Str::from(id),
        epoch,
        seq,
    };
    AppendOptions {
        producer: Some(producer),
        ..AppendOptions::default()
    }
}

pub(super) fn and_close(options: AppendOptions) -> AppendOptions {
    AppendOptions {
        close: true,
        ..options
    }
}
