//! Requests that only look: STAT, LIST and READ, each a task of its own that answers through the outbox.
//!
//! Bounded per session. A READ may wait for long, so one too many is refused; a STAT or LIST is short, so one too many
//! makes the session receive nothing more until one is answered. All tasks end with the session.

use std::future::Future;
use std::sync::Arc;

use streamkeeper_protocol::Run;
use streamkeeper_protocol::command::{List, Read, Str};
use streamkeeper_protocol::limits::LIST_ENTRIES_MAX;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::options::SessionOptions;
use super::outbox::{News, Outbox};
use super::{SessionContext, convert};
use crate::storage::Storage;
use crate::types::{Error, Fault, StreamName};

/// Room of a frame that LISTED leaves for its head.
const LISTED_HEAD_BYTES: u32 = 64;

/// The queries of one session that are not answered yet.
#[derive(Default)]
pub(super) struct Queries {
    tasks: JoinSet<()>,
    /// STATs and LISTs.
    short: usize,
    reads: usize,
    stop_waiting: CancellationToken,
}

impl Queries {
    pub(super) fn in_flight(&self) -> u64 {
        u64::try_from(self.short + self.reads).unwrap_or(u64::MAX)
    }

    pub(super) fn has_room(&self, options: &SessionOptions) -> bool {
        self.short < options.queries_max
    }

    /// A STAT or LIST was answered.
    pub(super) fn queried(&mut self) {
        self.short = self.short.saturating_sub(1);
    }

    /// A READ was answered.
    pub(super) fn read_answered(&mut self) {
        self.reads = self.reads.saturating_sub(1);
    }

    /// Refuses the READs that wait: the server is shutting down.
    pub(super) fn stop_waiting(&self) {
        self.stop_waiting.cancel();
    }

    pub(super) fn stat(
        &mut self,
        context: &Arc<SessionContext>,
        outbox: &Arc<Outbox>,
        correlation: u32,
        stream: &Str,
    ) -> Result<(), Failure> {
        let stream = StreamName::of_client(stream)?;
        let (context, outbox) = (Arc::clone(context), Arc::clone(outbox));
        self.short += 1;
        self.spawn(async move {
            let answer = context
                .broker
                .get_metadata(&stream)
                .await
                .map(convert::status);
            outbox.tell(News::Queried {
                correlation,
                answer,
            });
        });
        Ok(())
    }

    pub(super) fn list(
        &mut self,
        context: &Arc<SessionContext>,
        outbox: &Arc<Outbox>,
        correlation: u32,
        list: List,
    ) {
        let (context, outbox) = (Arc::clone(context), Arc::clone(outbox));
        let limit = if list.limit == 0 {
            LIST_ENTRIES_MAX
        } else {
            list.limit.min(LIST_ENTRIES_MAX)
        };
        let frame_bytes_max = context.options.limits.frame_bytes_max;
        let bytes_max = usize::try_from(frame_bytes_max.saturating_sub(LISTED_HEAD_BYTES));
        self.short += 1;
        self.spawn(async move {
            let after = (!list.after.is_empty()).then(|| list.after.as_str());
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let listing = context.broker.list(&list.prefix, after, limit).await;
            let bytes_max = bytes_max.unwrap_or(usize::MAX);
            let answer = listing.map(|listing| convert::listed(&listing, bytes_max));
            outbox.tell(News::Queried {
                correlation,
                answer,
            });
        });
    }

    pub(super) fn read(
        &mut self,
        context: &Arc<SessionContext>,
        outbox: &Arc<Outbox>,
        correlation: u32,
        read: &Read,
    ) -> Result<(), Failure> {
        if self.reads >= context.options.reads_max {
            return Err(convert::too_many_reads(context.options.reads_max));
        }
        let stream = StreamName::of_client(&read.stream)?;
        let from = convert::start(read.start);
        let limits = convert::read_limits(read, &context.options);
        let (context, outbox) = (Arc::clone(context), Arc::clone(outbox));
        let stop = self.stop_waiting.clone();
        self.reads += 1;
        self.spawn(async move {
            let options = &context.options;
            let room = options.unsent.wait_for_room(options.load_bytes_max());
            let reading = context.broker.read_runs_with(&stream, from, limits, room);
            let read = tokio::select! {
                read = reading => read,
                () = stop.cancelled() => Err(Error::Fault(Fault::Draining)),
            };
            let (answer, mut room) = match read {
                Ok((runs, room)) => (Ok(runs), room),
                Err(error) => (Err(error), None),
            };
            if let (Some(room), Ok(runs)) = (&mut room, &answer) {
                room.set(runs.runs.iter().map(Run::encoded_bytes).sum());
            }
            outbox.tell(News::Read {
                correlation,
                answer,
                room,
            });
        });
        Ok(())
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        // Tasks that have ended are let go of here; their number is bounded, so it need not be sooner.
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(task);
    }
}
