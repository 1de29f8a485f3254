//! Receipts: learning, record by record, that a batch is durable.
//!
//! All records of a batch share one outcome, so a receipt is a reference and an index: no channel and no allocation per
//! record. Dropping receipts is free; [`crate::Producer::flush`] reports the same errors.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::error::Error;
use crate::sync::lock;

/// What a receipt resolves to: the record is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Stored {
    /// The record's offset. Unknown after a reconnect, if the batch is confirmed as a duplicate (the server then only
    /// knows that it is there), and in JSON mode, where a record that is an array is stored as several.
    pub offset: Option<u64>,
    /// Whether the batch was confirmed as a duplicate of itself, after a reconnect.
    pub duplicate: bool,
}

/// Resolves when the record it was given for is durable. Made by [`crate::Producer::send`].
///
/// An error means that the producer stopped; whether this record was stored is then unknown.
#[derive(Debug)]
pub struct Receipt {
    batch: Arc<Outcome>,
    index: u32,
    /// Where in the batch's list this receipt's waker is.
    waiting: Option<usize>,
}

/// The shared outcome of one batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    result: Option<Result<Confirmation, Error>>,
    wakers: Vec<Waker>,
}

/// A confirmed batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confirmation {
    /// The offset of its first record, if known.
    pub(super) first: Option<u64>,
    pub(super) duplicate: bool,
}

impl Outcome {
    /// The receipt of record number `index`.
    pub(super) fn receipt(self: &Arc<Self>, index: u32) -> Receipt {
        Receipt {
            batch: Arc::clone(self),
            index,
            waiting: None,
        }
    }

    /// Sets the outcome; the first one stays.
    pub(super) fn resolve(&self, result: Result<Confirmation, Error>) {
        let mut state = lock(&self.state);
        if state.result.is_some() {
            return;
        }
        state.result = Some(result);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        for waker in wakers {
            waker.wake();
        }
    }
}

impl Future for Receipt {
    type Output = Result<Stored, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = lock(&this.batch.state);
        if let Some(result) = &state.result {
            return Poll::Ready(match result {
                Ok(batch) => Ok(Stored {
                    offset: batch
                        .first
                        .map(|first| first.saturating_add(this.index.into())),
                    duplicate: batch.duplicate,
                }),
                Err(error) => Err(error.clone()),
            });
        }
        if let Some(waker) = this.waiting.and_then(|place| state.wakers.get_mut(place)) {
            waker.clone_from(context.waker());
        } else {
            this.waiting = Some(state.wakers.len());
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}
