//! What a fork inherits: the streams it descends from, and the records it shares with them.
//!
//! A fork holds only its own records. Those before its fork point are its source's, or further up, and are read there: from
//! the source's hot tail or its chunks, under the source's id, whether clients may still see that stream or not. They never
//! change and stay as long as forks need them, so they are read without regard to trims and closes of the source.

use std::sync::Arc;

use smallvec::SmallVec;

use super::cursor::{blocking, loaded, read_fault, read_store};
use crate::store::LocalStore;
use crate::stream::Stream;
use crate::types::{Error, Fault, Fork, Offset, Position, Run, StreamId, Timestamp};

/// A stream further up, and up to where its records count.
#[derive(Clone, Debug)]
pub(super) struct Ancestor {
    stream: Arc<Stream>,
    id: StreamId,
    /// Records of this stream before this position belong to the fork too.
    until: Position,
}

/// The streams further up, nearest first; empty for a stream that is no fork. At most [`Fork::DEPTH_MAX`].
#[derive(Clone, Debug, Default)]
pub(super) struct Lineage(Vec<Ancestor>);

impl Lineage {
    /// Finds the ancestors of a stream that forks off as `fork` says, loading them if need be.
    pub async fn of(store: &Arc<LocalStore>, fork: Option<&Arc<Fork>>) -> Result<Self, Error> {
        let mut ancestors: Vec<Ancestor> = Vec::new();
        let mut next = fork.cloned();
        while let Some(fork) = next.take() {
            let name = fork.request.source.as_str();
            let stream = store.shared.registry.get_or_create(name)?;
            loaded(store, &stream).await?;
            let above = {
                let live = stream.live();
                let view = live.view.as_ref().filter(|view| view.id == fork.source);
                view.map(|view| view.fork.clone())
            };
            let Some(above) = above else {
                let reason = format!("the records shared with stream {name} are not there");
                return Err(Error::Fault(Fault::Read { reason }));
            };
            let until = ancestors
                .last()
                .map_or(fork.at, |nearer| nearer.until.min(fork.at));
            ancestors.push(Ancestor {
                stream,
                id: fork.source,
                until,
            });
            next = above;
        }
        Ok(Self(ancestors))
    }

    /// The ancestor that holds the record at `offset`; `None` if the stream itself does.
    pub fn owner(&self, offset: Offset) -> Option<&Ancestor> {
        let above = |ancestor: &&Ancestor| ancestor.until.offset > offset;
        self.0.iter().rev().find(above)
    }

    /// The first shared record committed at `time` or later, if there is one.
    pub async fn offset_at(
        &self,
        store: &Arc<LocalStore>,
        time: Timestamp,
    ) -> Result<Option<Offset>, Error> {
        for ancestor in self.0.iter().rev() {
            let found = offset_at(store, &ancestor.stream, ancestor.id, time).await?;
            if let Some(found) = found.filter(|found| *found < ancestor.until.offset) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Ancestor {
    /// Runs from `from` on, which must lie before the end of what is shared; about `max_bytes` of them.
    pub async fn read(
        &self,
        store: &Arc<LocalStore>,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Run>, Error> {
        let hot: Option<SmallVec<[Run; 4]>> = {
            let live = self.stream.live();
            let same = live.view.as_ref().is_some_and(|view| view.id == self.id);
            let in_memory = same && live.hot_start().is_some_and(|start| start <= from);
            in_memory.then(|| live.collect(from, max_bytes))
        };
        let runs = if let Some(runs) = hot {
            runs.into_vec()
        } else {
            read_store(store, self.id, from, max_bytes).await?
        };
        Ok(runs
            .into_iter()
            .map_while(|run| self.shared_part(run))
            .collect())
    }

    /// What of `run` lies before the end of what is shared.
    fn shared_part(&self, run: Run) -> Option<Run> {
        let until = self.until.offset.0;
        if run.header.next_offset() <= until {
            return Some(run);
        }
        let records = until.checked_sub(run.header.first_offset)?;
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        (records > 0).then(|| run.take(usize::MAX, records))
    }
}

/// The first record of one stream's own that was committed at `time` or later, if there is one.
pub(super) async fn offset_at(
    store: &Arc<LocalStore>,
    stream: &Arc<Stream>,
    id: StreamId,
    time: Timestamp,
) -> Result<Option<Offset>, Error> {
    let in_memory = {
        let live = stream.live();
        if live.view.as_ref().is_none_or(|view| view.id != id) {
            return Ok(None);
        }
        let mut runs = live.runs_from(Offset(0));
        let first = live.runs_from(Offset(0)).next().map(|run| run.header);
        let late_enough = |run: &&Run| Timestamp(run.header.committed_at) >= time;
        let found = runs.find(late_enough);
        let found = found.map(|run| Offset(run.header.first_offset));
        // Commit times never go back: if a record in memory is too early, so is everything in the store.
        if first.is_some_and(|first| Timestamp(first.committed_at) < time) {
            return Ok(found);
        }
        found
    };
    let store = Arc::clone(store);
    let in_store = blocking(move || {
        let chunks = store.shared.chunks.as_ref();
        let found = chunks.map_or(Ok(None), |chunks| chunks.offset_at(id, time));
        found.map_err(|error| read_fault(&error))
    });
    Ok(match (in_store.await?, in_memory) {
        (Some(stored), Some(hot)) => Some(stored.min(hot)),
        (stored, hot) => stored.or(hot),
    })
}
