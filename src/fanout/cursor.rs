//! A reader's position in one stream.
//!
//! ```text
//!            poll: records in memory ────▶ Runs
//!            poll: before the hot tail ──▶ Behind ──load: from the store──▶ Runs
//!            poll: at the durable tail ──▶ Idle, woken at the next change
//!            poll: closed and read, deleted, expired, trimmed past ──▶ End
//! ```
//!
//! Invariants: offsets handed out are consecutive; nothing is handed out that is not durable; a cursor that got `Idle` is
//! woken by the first change after it, since looking and registering are one step under the stream's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::Watcher;
use super::lineage::{Lineage, offset_at};
use crate::rules::Command;
use crate::store::LocalStore;
use crate::store::touch_interval;
use crate::stream::{Live, Stream, View, Waiter};
use crate::types::{
    CreateOptions, DeleteReason, Error, Fault, Offset, Position, Refusal, Run, Start, StreamId,
    Timestamp,
};

/// Cursors are told apart by number among a stream's waiters.
static NEXT_CURSOR: AtomicU64 = AtomicU64::new(0);

/// Why a cursor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The stream is closed and everything was handed out.
    Closed,
    /// The stream was deleted.
    Deleted,
    /// The stream's ttl or expiry passed.
    Expired,
    /// Retention trimmed what was to come next.
    Trimmed,
}

/// What a cursor has next.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack of one delivery; boxing the runs would cost an allocation each"
)]
pub enum Step {
    /// Records, in order; the cursor has moved behind them.
    Runs(SmallVec<[Run; 4]>),
    /// At the durable tail: the watcher is woken at the next change.
    Idle,
    /// The records are in the store: call [`Cursor::load`].
    Behind,
    /// Nothing will ever come.
    End {
        /// Why.
        reason: EndReason,
        /// Where the cursor stood.
        next: Position,
        /// Earliest record kept, where there still are records.
        earliest: Offset,
    },
}

/// See the module.
pub struct Cursor {
    store: Arc<LocalStore>,
    stream: Arc<Stream>,
    incarnation: StreamId,
    options: Arc<CreateOptions>,
    created_at: Timestamp,
    lineage: Lineage,
    number: u64,
    next: Position,
    watcher: Arc<dyn Watcher>,
    token: u64,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor")
            .field("stream", self.stream.name())
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// Loads `stream` if need be, off the async threads.
pub(crate) async fn loaded(store: &Arc<LocalStore>, stream: &Arc<Stream>) -> Result<(), Error> {
    if stream.is_loaded() {
        return Ok(());
    }
    let (store, stream) = (Arc::clone(store), Arc::clone(stream));
    blocking(move || {
        store
            .shared
            .ensure_loaded(&stream)
            .map_err(|error| read_fault(&error))
    })
    .await
}

/// Runs a read of the store on tokio's blocking threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let failed = |error| {
        Error::Fault(Fault::Read {
            reason: format!("{error}"),
        })
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// Runs of stream `id` in the store from `from` on; none of a store without files.
pub(super) async fn read_store(
    store: &Arc<LocalStore>,
    id: StreamId,
    from: Offset,
    max_bytes: usize,
) -> Result<Vec<Run>, Error> {
    let store = Arc::clone(store);
    blocking(move || {
        let chunks = store.shared.chunks.as_ref();
        let read = chunks.map(|chunks| chunks.read(id, from, max_bytes));
        read.unwrap_or_else(|| Ok(Vec::new()))
            .map_err(|error| read_fault(&error))
    })
    .await
}

pub(crate) fn read_fault(error: &crate::store::StoreError) -> Error {
    use crate::store::StoreError;
    Error::Fault(match error {
        StoreError::CorruptChunk { offset, reason, .. } => Fault::Corrupt {
            offset: Offset(*offset),
            reason: reason.clone(),
        },
        other => Fault::Read {
            reason: other.to_string(),
        },
    })
}

/// The view of a stream that exists and has not expired. Looking is no read: a ttl is not put off.
pub(crate) fn readable<'a>(
    store: &LocalStore,
    stream: &Arc<Stream>,
    live: &'a Live,
) -> Result<&'a View, Refusal> {
    let view = live.view.as_ref().ok_or(Refusal::NotFound)?;
    if view.deleted {
        return Err(Refusal::Gone);
    }
    let now = store.shared.clock.now();
    if view
        .expires_at(stream.last_read())
        .is_some_and(|at| at <= now)
    {
        store.shared.submit_own(stream, Command::Expire);
        return Err(Refusal::NotFound);
    }
    Ok(view)
}

/// A read restarts a sliding ttl: in memory at once, on disk once it has moved far enough.
pub(crate) fn slide_ttl(store: &LocalStore, stream: &Arc<Stream>, view: &View, now: Timestamp) {
    let Some(interval) = touch_interval(&view.options.expiry) else {
        return;
    };
    let expired = view
        .expires_at(stream.last_read())
        .is_some_and(|at| at <= now);
    if expired {
        // It counts as absent already, though its removal is still to come.
        return;
    }
    stream.note_read(now);
    if now.since(view.touched_at) >= interval && stream.ask_touch(view.touched_at) {
        store.shared.submit_own(stream, Command::Touch);
    }
}

impl Cursor {
    /// A cursor at `from`, which tells `watcher` with `token` of changes while idle.
    pub(crate) async fn open(
        store: Arc<LocalStore>,
        stream: Arc<Stream>,
        from: Start,
        watcher: Arc<dyn Watcher>,
        token: u64,
    ) -> Result<Self, Error> {
        loaded(&store, &stream).await?;
        let (view, lineage, next) = match start(&store, &stream, from).await {
            Ok(found) => found,
            Err(error) => {
                store.shared.discard(&stream);
                return Err(error);
            }
        };
        let number = NEXT_CURSOR.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            store,
            stream,
            incarnation: view.id,
            options: view.options,
            created_at: view.created_at,
            lineage,
            number,
            next,
            watcher,
            token,
        })
    }

    /// Where the next record will come from. The byte part is known once records were handed out, and at the tail.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Which incarnation of the stream it follows.
    pub fn incarnation(&self) -> StreamId {
        self.incarnation
    }

    /// The stream's configuration.
    pub fn options(&self) -> &Arc<CreateOptions> {
        &self.options
    }

    /// When the stream was created.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The durable tail.
    pub fn tail(&self) -> Position {
        self.stream
            .live()
            .view
            .as_ref()
            .filter(|view| view.id == self.incarnation)
            .map_or(self.next, |view| view.tail)
    }

    /// True if the stream is closed and nothing is left to hand out.
    pub fn is_at_end(&self) -> bool {
        let live = self.stream.live();
        let view = live.view.as_ref();
        view.filter(|view| view.id == self.incarnation)
            .is_some_and(|view| view.closed && view.tail.offset == self.next.offset)
    }

    /// What comes next, from memory: runs of about `max_bytes`, at least one record.
    pub fn poll(&mut self, max_bytes: usize) -> Step {
        let mut live = self.stream.live();
        if let Some(end) = self.ended(&live) {
            return end;
        }
        let Some(view) = live.view.as_ref() else {
            return self.end(EndReason::Deleted, Offset(0));
        };
        if self.next.offset >= view.tail.offset {
            if view.closed {
                return self.end(EndReason::Closed, view.earliest.offset);
            }
            self.next = view.tail;
            live.wait(self.number, self.waiter());
            return Step::Idle;
        }
        slide_ttl(
            &self.store,
            &self.stream,
            view,
            self.store.shared.clock.now(),
        );
        if live
            .hot_start()
            .is_none_or(|start| start > self.next.offset)
        {
            return Step::Behind;
        }
        let runs = live.collect(self.next.offset, max_bytes);
        if runs.is_empty() {
            // The hot tail is gapless up to the tail, so this cannot be; were it, the next change looks again.
            live.wait(self.number, self.waiter());
            return Step::Idle;
        }
        drop(live);
        self.advance(&runs);
        Step::Runs(runs)
    }

    /// The end, if there is nothing but an end to hand out. Else the watcher is woken when there may be one: by a close, a
    /// trim, a delete or an expiry, but not by appends. For a reader that cannot take records now.
    pub fn poll_end(&mut self) -> Option<Step> {
        let mut live = self.stream.live();
        if let Some(end) = self.ended(&live) {
            return Some(end);
        }
        let done = |view: &&View| view.closed && view.tail.offset == self.next.offset;
        if let Some(view) = live.view.as_ref().filter(done) {
            return Some(self.end(EndReason::Closed, view.earliest.offset));
        }
        live.wait_for_end(self.number, self.waiter());
        None
    }

    /// Moves to the durable tail without reading; registers for the next change, also on a closed stream (which may
    /// still be deleted). Answers `Idle`, or the end.
    pub(super) fn skip_to_tail(&mut self) -> Step {
        let mut live = self.stream.live();
        let Some(view) = live
            .view
            .as_ref()
            .filter(|view| view.id == self.incarnation && !view.deleted)
        else {
            return self
                .ended(&live)
                .unwrap_or_else(|| self.end(EndReason::Deleted, Offset(0)));
        };
        let (tail, earliest, closed) = (view.tail, view.earliest.offset, view.closed);
        live.wait(self.number, self.waiter());
        drop(live);
        self.next = tail;
        if closed {
            self.end(EndReason::Closed, earliest)
        } else {
            Step::Idle
        }
    }

    /// As [`Cursor::poll`], also from the store.
    ///
    /// Cancel safe: the cursor moves only when runs are handed out.
    ///
    /// # Errors
    ///
    /// [`Fault::Read`] or [`Fault::Corrupt`] if the store cannot be read.
    pub async fn load(&mut self, max_bytes: usize) -> Result<Step, Error> {
        match self.poll(max_bytes) {
            Step::Behind => {}
            other => return Ok(other),
        }
        let from = self.next.offset;
        let inherited = self.lineage.owner(from);
        let runs = match inherited {
            Some(ancestor) => ancestor.read(&self.store, from, max_bytes).await,
            None => read_store(&self.store, self.incarnation, from, max_bytes).await,
        };
        let runs = runs.map_err(|error| self.failed(error))?;
        if inherited.is_some()
            && let Some(end) = self.ended(&self.stream.live())
        {
            // Deleted while it was read: what was read may be gone, or another stream's.
            return Ok(end);
        }
        let runs = cut(runs, max_bytes);
        let Some(first) = runs.first() else {
            // Trimmed or deleted meanwhile: looking again says which, unless the store lost it.
            let step = self.poll(max_bytes);
            if matches!(step, Step::Behind) {
                let reason = "the store holds no record here".to_owned();
                let offset = from;
                return Err(self.failed(Fault::Corrupt { offset, reason }.into()));
            }
            return Ok(step);
        };
        if first.header.first_offset != from.0 {
            if let Some(end) = self.ended(&self.stream.live()) {
                return Ok(end);
            }
            let reason = format!("the store goes on at offset {}", first.header.first_offset);
            let offset = from;
            return Err(self.failed(Fault::Corrupt { offset, reason }.into()));
        }
        self.advance(&runs);
        Ok(Step::Runs(runs))
    }

    /// Tells the operator that reading on failed with `error`.
    #[cold]
    fn failed(&self, error: Error) -> Error {
        if let Error::Fault(fault) = &error {
            let shared = &self.store.shared;
            shared.failed_read(self.stream.name(), self.next.offset, fault);
        }
        error
    }

    fn ended(&self, live: &Live) -> Option<Step> {
        match &live.view {
            Some(view) if view.id == self.incarnation && !view.deleted => {
                let trimmed = self.next.offset < view.earliest.offset;
                trimmed.then(|| self.end(EndReason::Trimmed, view.earliest.offset))
            }
            _ => {
                let expired = live.gone.is_some_and(|gone| {
                    gone.id == self.incarnation && gone.reason == DeleteReason::Expired
                });
                let reason = if expired {
                    EndReason::Expired
                } else {
                    EndReason::Deleted
                };
                Some(self.end(reason, Offset(0)))
            }
        }
    }

    fn waiter(&self) -> Waiter {
        Waiter {
            watcher: Arc::clone(&self.watcher),
            token: self.token,
        }
    }

    fn end(&self, reason: EndReason, earliest: Offset) -> Step {
        Step::End {
            reason,
            next: self.next,
            earliest,
        }
    }

    fn advance(&mut self, runs: &[Run]) {
        if let Some(last) = runs.last() {
            self.next = Position {
                offset: Offset(last.header.next_offset()),
                byte: last.header.next_byte(),
            };
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.stream.live().forget(self.number);
    }
}

/// The first runs worth up to `max_bytes`, at least one record.
fn cut(runs: Vec<Run>, max_bytes: usize) -> SmallVec<[Run; 4]> {
    let mut kept = SmallVec::new();
    let mut left = max_bytes;
    for run in runs {
        let bytes = run.encoded_bytes();
        if bytes <= left {
            left -= bytes;
            kept.push(run);
            continue;
        }
        if kept.is_empty() {
            kept.push(run.take(max_bytes, u32::MAX));
        }
        break;
    }
    kept
}

/// The incarnation, what it inherits, and the position that `from` means now.
async fn start(
    store: &Arc<LocalStore>,
    stream: &Arc<Stream>,
    from: Start,
) -> Result<(View, Lineage, Position), Error> {
    let view = {
        let live = stream.live();
        let view = readable(store, stream, &live)?;
        slide_ttl(store, stream, view, store.shared.clock.now());
        view.clone()
    };
    let lineage = match Lineage::of(store, view.fork.as_ref()).await {
        Ok(lineage) => lineage,
        Err(error) => {
            // A fork that was deleted meanwhile has let go of what it shared.
            let live = stream.live();
            let now = readable(store, stream, &live)?;
            let gone = now.id != view.id;
            return Err(if gone {
                Refusal::NotFound.into()
            } else {
                error
            });
        }
    };
    let at = match from {
        Start::Beginning => view.earliest,
        Start::Now => view.tail,
        Start::At(offset) if offset < view.earliest.offset => {
            return Err(Refusal::Trimmed {
                earliest: view.earliest.offset,
            }
            .into());
        }
        Start::At(offset) if offset > view.tail.offset => {
            return Err(Refusal::PastTail {
                tail: view.tail.offset,
            }
            .into());
        }
        Start::At(offset) if offset == view.tail.offset => view.tail,
        Start::At(offset) if offset == view.earliest.offset => view.earliest,
        Start::At(offset) => Position { offset, byte: 0 },
        Start::Time(time) => {
            let shared = lineage.offset_at(store, time).await?;
            let found = match shared {
                Some(shared) => Some(shared),
                None => offset_at(store, stream, view.id, time).await?,
            };
            // What was found may be newer than the view.
            match found.filter(|found| *found < view.tail.offset) {
                Some(found) if found <= view.earliest.offset => view.earliest,
                Some(offset) => Position { offset, byte: 0 },
                None => view.tail,
            }
        }
    };
    Ok((view, lineage, at))
}
