//! A pipeline: appends without a waiter each, answered in bulk. For load generators and bridges.
//!
//! [`Client::append_pipelined`](crate::Client::append_pipelined) costs one small allocation per append for its ticket.
//! Here the caller names each append by a number of its own (an index, a time stamp) and takes the outcomes many at
//! a time. Invariant: appends sent and outcomes not yet taken are at most the pipeline's window, so a
//! consumer that falls behind slows the sender and nothing grows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use streamkeeper_protocol::Str;
use tokio::sync::{Notify, Semaphore};

use crate::client::{Client, Handle};
use crate::error::Error;
use crate::link::Pending;
use crate::sync::lock;
use crate::types::Appended;

/// The sending half; see [`Client::pipeline`]. Dropping it ends the [`Confirms`] after the last outcome.
#[derive(Debug)]
pub struct Pipeline {
    core: Arc<Core>,
    handle: Arc<Handle>,
    stream: Str,
}

/// The receiving half; see [`Client::pipeline`]. Dropping it makes further sends fail with [`Error::Closed`].
#[derive(Debug)]
pub struct Confirms {
    core: Arc<Core>,
}

/// The outcome of one append of a pipeline.
#[derive(Debug, Clone)]
pub struct Confirmed {
    /// The number given to [`Pipeline::append`].
    pub tag: u64,
    /// What became of it.
    pub outcome: Result<Appended, Error>,
}

/// What both halves and the connection task share.
#[derive(Debug)]
pub(crate) struct Core {
    done: Mutex<Vec<Confirmed>>,
    /// An outcome arrived, or the sender went away.
    changed: Notify,
    sender_gone: AtomicBool,
    /// Appends that may still be sent before outcomes are taken.
    window: Semaphore,
    window_max: u32,
}

impl Client {
    /// A pipeline to `stream` with at most `window` appends whose outcome was not taken.
    pub fn pipeline(&self, stream: impl Into<Str>, window: u32) -> (Pipeline, Confirms) {
        let window_max = window.max(1);
        let core = Arc::new(Core {
            done: Mutex::default(),
            changed: Notify::new(),
            sender_gone: AtomicBool::new(false),
            window: Semaphore::new(window_max as usize),
            window_max,
        });
        let pipeline = Pipeline {
            core: Arc::clone(&core),
            handle: Arc::clone(&self.handle),
            stream: stream.into(),
        };
        (pipeline, Confirms { core })
    }
}

impl Pipeline {
    /// Appends one record, named `tag` in its outcome. Waits for room in the window and on the connection.
    ///
    /// # Errors
    /// [`Error::Closed`] if the [`Confirms`] are gone, [`Error::TooLarge`], or what ended the client; nothing was
    /// sent and no outcome will come.
    ///
    /// # Cancel safety
    /// Safe: dropped before it returns, nothing was sent.
    pub async fn append(&self, payload: impl AsRef<[u8]>, tag: u64) -> Result<(), Error> {
        let Ok(permit) = self.core.window.acquire().await else {
            return Err(Error::Closed);
        };
        let pending = Pending::Pipeline(Arc::clone(&self.core), tag);
        self.handle
            .link
            .append_record(self.stream.clone(), payload.as_ref(), pending)
            .await?;
        permit.forget();
        Ok(())
    }
}

impl Confirms {
    /// Waits for outcomes, moves all there are to the end of `into`, and returns how many; 0 when the [`Pipeline`]
    /// was dropped and every outcome was taken.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken before it returns.
    pub async fn take(&mut self, into: &mut Vec<Confirmed>) -> usize {
        loop {
            let taken = {
                let mut done = lock(&self.core.done);
                let taken = done.len();
                into.append(&mut done);
                taken
            };
            self.core.window.add_permits(taken);
            if taken > 0 || self.core.is_over() {
                return taken;
            }
            self.core.changed.notified().await;
        }
    }
}

impl Core {
    /// An append's outcome arrived.
    pub(crate) fn complete(&self, tag: u64, outcome: Result<Appended, Error>) {
        let mut done = lock(&self.done);
        let was_empty = done.is_empty();
        done.push(Confirmed { tag, outcome });
        drop(done);
        if was_empty {
            self.changed.notify_one();
        }
    }

    /// Whether the sender is gone and nothing is in flight.
    fn is_over(&self) -> bool {
        self.sender_gone.load(Ordering::Acquire)
            && self.window.available_permits() == self.window_max as usize
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.core.sender_gone.store(true, Ordering::Release);
        self.core.changed.notify_one();
    }
}

impl Drop for Confirms {
    fn drop(&mut self) {
        self.core.window.close();
    }
}
