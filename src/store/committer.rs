//! The committer: the one thread that decides, commits, publishes and confirms, in that order.
//!
//! It takes what the write queues hold, fairly and up to a byte limit, runs the rules over it, writes one transaction with
//! one fsync, changes the live views, then answers. While it waits for the disk the queues fill, so the next commit is
//! larger by itself: there is no linger and no timer, but for long queues beside light ones (`pace`). With nothing it may take it parks
//! until kicked: after a push, or by the folder when there is room again, or none to wait for.
//!
//! Invariants:
//! - Nothing is published or answered before the transaction that holds it is durable; a refusal waits too, since it may
//!   rest on something not yet durable.
//! - After a failed commit every waiter gets the fault, and no later write is accepted; but for lack of room, see below.
//! - A commit that the disk has no room for is taken back whole; writes but removals are refused until there is room (`room`).
//! - What readers see changes in one place (`publish`).
//! - Commit times never go back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::commit::{Commit, Part, RUN_OVERHEAD};
use super::error::StoreError;
use super::journal::{Journal, Row};
use super::pace::{Pace, Pause};
use super::retention;
use super::room::Full;
use super::shared::Shared;
use crate::rules::{self, Command, Context, Decision, Effect, StreamState};
use crate::stream::{
    Allowance, Completion, Completions, Drained, QueueKind, Resident, Stream, Submission,
};
use crate::types::{Error, Fault, Position, Refusal, StreamId, Timestamp};

/// Cold trims (those that must read the store) in one commit; more wait for the next.
const COLD_TRIMS_PER_COMMIT: usize = 8;

/// Streams of one commit whose time to confirm is recorded, evenly picked if there are more.
const CONFIRM_SAMPLES_PER_COMMIT: usize = 64;

/// See the module.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    /// `None` for a store without files.
    pub(super) journal: Option<Journal>,
    next_stream_id: StreamId,
    newest: Timestamp,
    pub(super) completions: Completions,
    cold_trims_left: usize,
    pub(super) full: Option<Full>,
    pace: Pace,
}

impl Committer {
    pub fn new(
        shared: Arc<Shared>,
        journal: Option<Journal>,
        next_stream_id: StreamId,
        newest: Timestamp,
    ) -> Self {
        let completions = Completions::default();
        Self {
            shared,
            journal,
            next_stream_id,
            newest,
            completions,
            cold_trims_left: 0,
            full: None,
            pace: Pace::default(),
        }
    }

    /// Runs until told to stop and everything queued is answered.
    pub fn run(mut self) {
        self.shared.queues.set_committer(std::thread::current());
        loop {
            let stopping = self.shared.is_stopping();
            let now = Instant::now();
            let pause = self.pace.pause(now).filter(|_| !stopping);
            let drained = self.shared.queues.drain(self.allowance(stopping, pause));
            if drained.is_empty() {
                self.show_queue();
                if stopping {
                    self.shared.queues.close();
                    self.shared.stop_folder();
                    return;
                }
                match (&self.full, pause) {
                    (Some(_), _) => self.look_for_room(),
                    (None, Some(pause)) => std::thread::park_timeout(pause.until - now),
                    (None, None) => std::thread::park(),
                }
                continue;
            }
            match self.refusing() {
                Some(fault) => self.refuse(drained, &fault),
                None => self.commit(drained),
            }
            if self.full.is_some() {
                self.look_for_room();
            }
            self.show_queue();
        }
    }

    fn show_queue(&self) {
        let bytes = self.shared.queues.bytes() as u64;
        self.shared.metrics.queue_bytes.set(bytes);
    }

    /// What is taken from the queues. What will be refused need not fit into a commit, and before the end everything is answered.
    fn allowance(&self, stopping: bool, pause: Option<Pause>) -> Allowance {
        let shared = &self.shared;
        if self.full.is_some() || shared.faulted().is_some() {
            return Allowance::ALL;
        }
        let mut allowance = shared.unfolded.lock().allowance(&shared.options);
        if self.pace.is_beside_light(Instant::now()) {
            allowance = allowance.beside_light();
        }
        if stopping {
            allowance.heaviest = QueueKind::Long;
        }
        if let Some(Pause { over, .. }) = pause {
            allowance.heaviest = allowance.heaviest.min(over);
        }
        allowance
    }

    pub(super) fn commit(&mut self, drained: Vec<Drained>) {
        let begun = Instant::now();
        self.pace.begin(&drained, begun);
        self.newest = self.newest.max(self.shared.clock.now());
        self.cold_trims_left = COLD_TRIMS_PER_COMMIT;
        let mut commit = Commit::new(self.newest);
        let shares_rows = self.journal.is_some();
        if shares_rows {
            commit.expect(drained.iter().map(expected_bytes).sum());
        }
        for part in drained {
            if !shares_rows {
                commit.expect(expected_bytes(&part));
            }
            self.decide_stream(&mut commit, part);
        }
        match self.make_durable(&mut commit) {
            Ok(first_row) => {
                let streams = self.publish(&commit, first_row);
                self.hand_over(&mut commit, first_row, streams);
            }
            Err(error) => self.give_up(&mut commit, error),
        }
        self.measure(&commit, begun);
        let released = self.shared.released.load(Ordering::Acquire);
        for part in commit.parts {
            part.stream.answered(part.commands);
            if part.absent {
                self.shared.registry.discard(&part.stream, released);
            }
        }
        for (completion, reply) in commit.answers {
            self.completions.complete(completion, reply);
        }
        self.completions.flush();
        if self.journal.is_some() {
            self.pace.end(begun, Instant::now());
        }
    }

    /// Runs the rules over the commands of one stream.
    fn decide_stream(&mut self, commit: &mut Commit, part: Drained) {
        let Drained {
            stream,
            submissions,
            since,
            queue: _,
        } = part;
        let handle = Arc::clone(&stream);
        let commands = submissions.len();
        commit.parts.push(Part {
            stream: Arc::clone(&stream),
            commands,
            since,
            absent: false,
        });
        let mut resident = handle.state.lock();
        if let Err(error) = self.shared.load_into(&handle, &mut resident) {
            let fault = Fault::Read {
                reason: error.to_string(),
            };
            let answers = submissions
                .into_iter()
                .map(|s| (s.completion, Err(Error::Fault(fault.clone()))));
            commit.answers.extend(answers);
            return;
        }
        let Resident::Loaded(state) = &mut *resident else {
            return;
        };
        commit.begin_stream(stream);
        let mut changed = false;
        for Submission {
            command,
            completion,
            light: _,
        } in submissions
        {
            if command.only_removes() && !matches!(completion, Completion::Discard) {
                let removal = (commit.answers.len(), Arc::clone(&handle), command.clone());
                commit.removals.push(removal);
            }
            let reply = self.decide(commit, &handle, state, command, &mut changed);
            commit.answers.push((completion, reply));
        }
        changed |= self.trim(commit, &handle, state);
        commit.end_stream(state.as_ref().map(|s| s.id), changed);
        if self.journal.is_none() {
            // A stream in memory keeps its rows until trimmed: it must not pin those of others.
            commit.cut_row();
        }
        match (state, commit.parts.last_mut()) {
            (Some(state), _) => self.shared.arm_timer(&handle, state),
            (None, Some(part)) => part.absent = true,
            (None, None) => {}
        }
    }

    fn decide(
        &mut self,
        commit: &mut Commit,
        stream: &Arc<Stream>,
        state: &mut Option<StreamState>,
        command: Command,
        changed: &mut bool,
    ) -> crate::stream::Reply {
        if let Some(fault) = self.full(&command, state.is_some()) {
            return Err(Error::Fault(fault));
        }
        let replaces_fork = state.as_ref().is_some_and(|state| state.fork.is_some());
        if replaces_fork && matches!(command, Command::Create(_)) {
            // A fork whose time is over goes first, and lets go of its source; else nothing happens.
            self.decide_one(commit, stream, state, Command::Expire, changed)?;
        }
        self.decide_one(commit, stream, state, command, changed)
    }

    fn decide_one(
        &mut self,
        commit: &mut Commit,
        stream: &Arc<Stream>,
        state: &mut Option<StreamState>,
        command: Command,
        changed: &mut bool,
    ) -> crate::stream::Reply {
        let context = Context {
            now: commit.at,
            next_id: self.next_stream_id,
            limits: self.shared.options.rules,
        };
        let mut decision = decide_as_read(state, stream.last_read(), command, &context)?;
        let source = self.source_of(commit, stream, state.as_ref(), &mut decision.effects)?;
        for effect in &decision.effects {
            *changed = true;
            self.write(commit, stream.name().as_str(), state, effect);
        }
        if let Some(source) = source {
            self.follow(commit, state.as_ref().map(|state| state.id), source);
        }
        Ok(decision.answer)
    }

    pub(super) fn write(
        &mut self,
        commit: &mut Commit,
        name: &str,
        state: &mut Option<StreamState>,
        effect: &Effect,
    ) {
        if let Effect::Created { id, .. } = effect {
            self.next_stream_id = StreamId(id.0 + 1);
        }
        let (id, tail) = match (effect, &*state) {
            (Effect::Created { id, .. }, _) => (*id, Position::START),
            (_, Some(state)) => (state.id, state.tail),
            // The rules emit nothing but `Created` for a stream that is not there.
            (_, None) => return,
        };
        commit.write(id, name, tail, effect);
        rules::apply(state, effect);
    }

    /// Refuses records for a store in memory that is full.
    fn full(&self, command: &Command, exists: bool) -> Option<Fault> {
        let limit = self.shared.options.memory_bytes_max;
        let over = self.journal.is_none()
            && match command {
                Command::Append { .. } => true,
                Command::Create(creation) => !exists && !creation.batch.is_empty(),
                _ => false,
            }
            && self.shared.memory_bytes.load(Ordering::Relaxed) >= limit;
        over.then(|| Fault::StoreFull {
            reason: format!("streams in memory hold {limit} bytes together, the limit"),
        })
    }

    /// Applies retention to what is durable, in the same transaction as the appends that call for it.
    fn trim(
        &mut self,
        commit: &mut Commit,
        stream: &Arc<Stream>,
        state: &mut Option<StreamState>,
    ) -> bool {
        let Some(known) = state.as_ref() else {
            return false;
        };
        let found = retention::trim_point(
            &self.shared,
            stream,
            known,
            commit.at,
            &mut self.cold_trims_left,
        );
        let Some(to) = found else {
            return false;
        };
        let records = to.offset.0 - known.earliest.offset.0;
        self.shared.metrics.trims.increment(1);
        self.shared.metrics.trimmed_records.increment(records);
        let name = stream.name().as_str();
        self.write(commit, name, state, &Effect::Trimmed { to });
        true
    }

    /// Commits. Answers the number of the first row.
    fn make_durable(&mut self, commit: &mut Commit) -> Result<u64, StoreError> {
        let rows = commit.finish();
        let Some(journal) = &mut self.journal else {
            return Ok(0);
        };
        let first = journal.next_row();
        if rows.is_empty() {
            return Ok(first);
        }
        journal.commit(rows, self.shared.watermark.load(Ordering::Acquire))?;
        self.shared.metrics.fsyncs.increment(1);
        Ok(first)
    }

    /// Gives the rows to the folder. Only once they are published: a reader of the store must not get ahead of the durable
    /// tail it is shown. They keep so many `streams` in memory that could go if it were not for them.
    fn hand_over(&self, commit: &mut Commit, first_row: u64, mut streams: usize) {
        if self.journal.is_none() {
            return;
        }
        let mut unfolded = self.shared.unfolded.lock();
        for (number, bytes) in (first_row..).zip(commit.finish()) {
            unfolded.push(Row {
                streams: std::mem::take(&mut streams),
                ..Row::new(number, bytes.clone())
            });
        }
        unfolded.beside_light = self.pace.is_beside_light(Instant::now());
        self.shared
            .metrics
            .hot_tail_bytes
            .set((unfolded.row_bytes + unfolded.held_bytes) as u64);
        if unfolded.wants_fold(&self.shared.options) {
            self.shared.unfolded_changed.notify_all();
        }
    }

    fn measure(&self, commit: &Commit, begun: Instant) {
        let metrics = &self.shared.metrics;
        metrics.appends.increment(commit.appends);
        metrics.append_records.increment(commit.records);
        metrics.append_bytes.increment(commit.record_bytes);
        if commit.row_count() > 0 && self.journal.is_some() {
            metrics.commit_seconds.record_duration(begun.elapsed());
            metrics.commit_bytes.record_count(commit.row_bytes() as u64);
            metrics.commit_records.record_count(commit.records);
        }
        let now = Instant::now();
        // Every sample takes memory until the next upkeep of the metrics, and a commit may hold thousands of streams.
        let step = commit
            .parts
            .len()
            .div_ceil(CONFIRM_SAMPLES_PER_COMMIT)
            .max(1);
        for part in commit.parts.iter().step_by(step) {
            metrics
                .confirm_seconds
                .record_duration(now.duration_since(part.since));
        }
    }
}

/// What the commands of one stream add to a row, if nothing is refused.
fn expected_bytes(drained: &Drained) -> usize {
    let commands = drained.submissions.iter().map(|s| &s.command);
    RUN_OVERHEAD + commands.map(Command::row_bytes).sum::<usize>()
}

/// Decides with the ttl as reads slid it without a commit. The state goes on with what is written down: only so is it known
/// how far reads are ahead of that.
fn decide_as_read(
    state: &mut Option<StreamState>,
    last_read: Timestamp,
    command: Command,
    context: &Context,
) -> Result<Decision, Refusal> {
    let written = state.as_ref().map(|state| state.touched_at);
    if let Some(state) = state {
        state.touch(last_read);
    }
    let decision = rules::decide(state.as_ref(), command, context);
    if let (Some(state), Some(written)) = (state, written) {
        state.touched_at = written;
    }
    decision
}

impl Shared {
    /// Queues a command of the engine's own; nobody waits for it. Rare, so the queue's bounds do not apply.
    pub fn submit_own(&self, stream: &Arc<Stream>, command: Command) {
        self.queues.push_own(
            stream,
            Submission {
                command,
                completion: Completion::Discard,
                light: false,
            },
        );
        self.queues.kick();
    }
}
