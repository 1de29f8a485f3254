//! Notifications without records: what [`crate::storage::Storage::subscribe`] gives.

use std::sync::Arc;

use tokio::sync::Notify;

use super::Watcher;
use super::cursor::{Cursor, EndReason, Step};
use crate::storage::{Changes, Notification};
use crate::types::Position;

/// A watcher for one waiting future.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Notify,
}

impl Bell {
    /// Waits for the next wake, or returns at once if one came since the last wait. Cancel safe.
    pub async fn wait(&self) {
        self.rung.notified().await;
    }
}

impl Watcher for Bell {
    fn wake(&self, _token: u64) {
        self.rung.notify_one();
    }
}

/// The changes of one stream, coalesced: an idle cursor that is moved to the tail instead of reading.
#[derive(Debug)]
pub struct StreamChanges {
    cursor: Cursor,
    bell: Arc<Bell>,
    closed: bool,
}

impl StreamChanges {
    pub(crate) fn new(cursor: Cursor, bell: Arc<Bell>) -> Self {
        // From now on: of a stream closed before, only a delete can be news.
        let closed = cursor.is_at_end();
        Self {
            cursor,
            bell,
            closed,
        }
    }

    fn look(&mut self) -> Option<Notification> {
        let before = self.cursor.next().offset;
        match self.cursor.skip_to_tail() {
            Step::End {
                reason: EndReason::Closed,
                ..
            } if self.closed => None,
            Step::End {
                reason: EndReason::Closed,
                next,
                ..
            } => {
                self.closed = true;
                Some(Notification::Closed(next))
            }
            Step::End { .. } => Some(Notification::Deleted),
            _ => {
                let tail: Position = self.cursor.next();
                (tail.offset > before).then_some(Notification::Appended(tail))
            }
        }
    }
}

impl Changes for StreamChanges {
    async fn next(&mut self) -> Notification {
        loop {
            if let Some(change) = self.look() {
                return change;
            }
            self.bell.wait().await;
        }
    }
}
