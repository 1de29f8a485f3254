//! The link as the connection task sees it: connections come and go, bytes go out, outcomes come in.
//!
//! Called by that task alone. On the way up, producers and subscriptions are attached before callers are told, so they
//! go on where they stopped before anything new; on the way down, whatever was in flight learns that it is lost, and
//! the room it held is free again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use streamkeeper_protocol::Command;

use super::{Link, Outbox, Outcome, Pending, Phase, Status};
use crate::Error;
use crate::sync::lock;
use crate::types::{Appended, ServerInfo};

impl Link {
    /// A connection is up: producers resend and subscriptions resume before anyone else is let in.
    pub(crate) fn up(self: &Arc<Self>, info: Arc<ServerInfo>) {
        self.record_bytes_max
            .store(info.record_bytes_max, Ordering::Relaxed);
        self.frame_bytes_max
            .store(info.frame_bytes_max, Ordering::Relaxed);
        self.batch_records_max
            .store(info.batch_records_max, Ordering::Relaxed);
        lock(&self.state).phase = Phase::Up;
        for core in self.producers() {
            core.attach(self, &info);
        }
        for core in self.subscriptions() {
            core.attach(self);
        }
        self.status.send_replace(Status::Up(info));
    }

    /// The server drains: what is in flight is still answered, new requests wait for the next connection.
    pub(crate) fn drain(&self) {
        lock(&self.state).phase = Phase::Draining;
        self.status.send_replace(Status::Down);
    }

    /// The connection ended: nothing in flight will be answered.
    pub(crate) fn down(self: &Arc<Self>) {
        self.status.send_replace(Status::Down);
        let waiting = {
            let mut state = lock(&self.state);
            state.phase = Phase::Down;
            state.outbox.clear();
            state.pong_due = None;
            state.table.drain()
        };
        for core in self.producers() {
            core.detach();
        }
        for core in self.subscriptions() {
            core.detach();
        }
        let mut freed = 0;
        for (pending, cost) in waiting {
            freed += cost as usize;
            pending
                .complete(self, Outcome::Lost)
                .expect("every request can be lost");
        }
        self.room.add_permits(freed);
    }

    /// No connection will come again, because of `error`. Only the first reason counts.
    pub(crate) fn close(self: &Arc<Self>, error: &Error) {
        if self.check_open().is_err() {
            return;
        }
        self.down();
        self.status.send_replace(Status::Closed(error.clone()));
        self.room.close();
        for core in self.producers() {
            core.fail(self, error);
        }
        for core in self.subscriptions() {
            core.fail(error.clone());
        }
        lock(&self.state).ready.clear();
        lock(&self.producers).clear();
        lock(&self.subscriptions).clear();
    }

    /// A PING arrived. If several came before the writer did, the last one is answered: what is owed stays one frame.
    pub(crate) fn pong(&self, correlation: u32) {
        lock(&self.state).pong_due = Some(correlation);
        self.written.notify_one();
    }

    /// Moves all that is to be written into `empty`; batches are closed here, as late as possible.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken until the wait is over.
    pub(crate) async fn take(self: &Arc<Self>, empty: &mut Outbox) {
        loop {
            let ready = std::mem::take(&mut lock(&self.state).ready);
            for core in ready {
                core.collect(self);
            }
            {
                let mut state = lock(&self.state);
                if let Some(correlation) = state.pong_due.take() {
                    state.outbox.command(&Command::Pong, correlation);
                }
                if !state.outbox.is_empty() {
                    state.outbox.swap(empty);
                    return;
                }
            }
            self.written.notified().await;
        }
    }

    /// Reports one reply.
    pub(crate) fn complete(
        self: &Arc<Self>,
        correlation: u32,
        outcome: Outcome,
    ) -> Result<(), Error> {
        let (pending, cost) = lock(&self.state)
            .table
            .take(correlation)
            .ok_or_else(|| unknown(correlation))?;
        self.room.add_permits(cost as usize);
        pending.complete(self, outcome)
    }

    /// Reports many confirms, with the locks taken once; `taken` is scratch space.
    pub(crate) fn confirm(
        self: &Arc<Self>,
        entries: impl Iterator<Item = (u32, Appended)>,
        taken: &mut Vec<(Pending, Appended)>,
    ) -> Result<(), Error> {
        let mut freed = 0;
        let mut outcome = Ok(());
        {
            let mut state = lock(&self.state);
            for (correlation, appended) in entries {
                let Some((pending, cost)) = state.table.take(correlation) else {
                    outcome = Err(unknown(correlation));
                    break;
                };
                freed += cost as usize;
                taken.push((pending, appended));
            }
        }
        self.room.add_permits(freed);
        // What was taken is told its outcome whatever came behind it: it is in no table any more.
        for (pending, appended) in taken.drain(..) {
            let completed = pending.complete(self, Outcome::Confirmed(appended));
            outcome = outcome.and(completed);
        }
        outcome
    }

    /// Runs `attempt` after `pause`, apart from the connection task.
    pub(crate) fn later(
        self: &Arc<Self>,
        pause: Duration,
        attempt: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) {
        let link = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(link) = link.upgrade() {
                attempt(&link);
            }
        });
    }
}

fn unknown(correlation: u32) -> Error {
    Error::Protocol {
        detail: format!("an answer to request {correlation}, which does not wait"),
    }
}
