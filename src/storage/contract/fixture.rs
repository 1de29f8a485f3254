//! What every case stands on: an open store, a stream name and a clock.
//!
//! A case reads as the rule it checks: what it does goes through [`Fixture`], what must hold through the
//! [expectations](super::expectation), with [values](super::value) written short. All fail as values, none panics.

use std::sync::Arc;
use std::time::Duration;

pub(super) use super::expectation::{
    Expect, POLL, Ran, Stop, ensure, eventually, follow_to, pending, same, soon, together,
};
pub(super) use super::value::{
    and_close, at, block, from, name, text, texts, with_producer, with_seq, with_tail,
};
use super::{Case, Failure, Subject};
use crate::storage::{ReadLimits, Storage};
use crate::types::{
    AppendOptions, Appended, Clock, CreateOptions, Created, Data, Error, ManualClock, Messages,
    Metadata, Position, Refusal, Start, StreamName, Timestamp,
};

/// When every case begins.
pub(super) const BEGINNING: Timestamp = Timestamp(1_800_000_000_000_000);

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

    /// The payloads from `from` to the tail, joined; not for JSON mode.
    pub(super) async fn data(&self, from: Start) -> Result<Data, Stop> {
        let what = format!("reading joined from {from:?}");
        let (mut start, mut joined) = (from, Vec::new());
        loop {
            let data = self
                .storage
                .read(&self.stream, start, ReadLimits::default())
                .await;
            let data = data.accepted(&what)?;
            ensure(&what, "progress", !(data.has_more && data.bytes.is_empty()))?;
            joined.extend_from_slice(&data.bytes);
            if !data.has_more {
                return Ok(Data {
                    bytes: joined.into(),
                    ..data
                });
            }
            start = Start::At(data.next.offset);
        }
    }

    /// The records from `from` to the tail.
    pub(super) async fn messages(&self, from: Start) -> Result<Messages, Stop> {
        messages_of(&*self.storage, &self.stream, from).await
    }

    /// One read with default limits.
    pub(super) async fn try_messages(&self, from: Start) -> Result<Messages, Error> {
        self.storage
            .read_messages(&self.stream, from, ReadLimits::default())
            .await
    }

    /// The payloads from `from` to the tail, as text.
    pub(super) async fn texts(&self, from: Start) -> Result<Vec<String>, Stop> {
        let read = self.messages(from).await?;
        Ok(read
            .messages
            .iter()
            .map(|message| text(&message.payload))
            .collect())
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

/// The records of `stream` from `from` to the tail. One read may answer less than its limits allow, so this takes as
/// many as there are pages.
pub(super) async fn messages_of<T: Storage>(
    storage: &T,
    stream: &StreamName,
    from: Start,
) -> Result<Messages, Stop> {
    let what = format!("reading from {from:?}");
    let (mut start, mut messages) = (from, Vec::new());
    loop {
        let page = storage
            .read_messages(stream, start, ReadLimits::default())
            .await;
        let page = page.accepted(&what)?;
        ensure(
            &what,
            "progress",
            !(page.has_more && page.messages.is_empty()),
        )?;
        messages.extend(page.messages);
        if !page.has_more {
            return Ok(Messages { messages, ..page });
        }
        start = Start::At(page.next.offset);
    }
}

/// Lets a little real time and a second of the store's clock pass, for what may wait on either.
pub(super) async fn tick<S: Subject>(fixture: &Fixture<'_, S>) {
    tokio::time::sleep(POLL).await;
    fixture.advance(1);
}
