//! Subscriptions: records pushed by the server, as a [`Stream`].
//!
//! `core` is the connection task's half; this file is the application's: it opens runs, checks checksums, and grants
//! new credit once half of the window is consumed, so that the server neither stalls nor overruns. Consumed means
//! returned by `next`: an application that stops asking stops the server, and nothing else.

mod core;
mod cursor;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use streamkeeper_protocol::Str;
use streamkeeper_protocol::event::EndReason;
use streamkeeper_protocol::run::RUN_HEADER_BYTES;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub(crate) use self::core::Core;
use self::core::{Ending, Item};
pub(crate) use self::cursor::Cursor;
use crate::client::Handle;
use crate::error::Error;
use crate::options::SubscribeOptions;
use crate::types::Record;

/// A live sequence of records, in order, without gap or duplicate, across reconnects.
///
/// Yields each record once. Ends (`None`) when the stream is closed and everything was delivered; any other end is
/// yielded as one [`Error::Ended`] (or the error that prevented going on) before `None`.
/// Dropping it unsubscribes.
///
/// A payload is a slice of the receive buffer; an application that keeps few of many records for long should
/// copy those, or the whole buffer stays.
#[derive(Debug)]
pub struct Subscription {
    core: Arc<Core>,
    handle: Arc<Handle>,
    cursor: Option<Cursor>,
    /// Bytes consumed and not yet granted again.
    consumed: u64,
    next: u64,
    ended: Option<EndReason>,
    done: bool,
}

impl Subscription {
    /// Subscribes and waits until the server accepted.
    pub(crate) async fn open(
        handle: Arc<Handle>,
        stream: Str,
        options: SubscribeOptions,
    ) -> Result<Self, Error> {
        let (opened, accepted) = oneshot::channel();
        let id = handle.subscription_id();
        let core = Arc::new(Core::new(
            id,
            stream,
            options.from,
            options.window_bytes,
            opened,
        ));
        let link = Arc::clone(&handle.link);
        link.register_subscription(Arc::clone(&core));
        // From here on, dropping the subscription takes everything back.
        let mut subscription = Self {
            core,
            handle,
            cursor: None,
            consumed: 0,
            next: 0,
            ended: None,
            done: false,
        };
        link.check_open()?;
        subscription.core.attach(&link);
        let waited = link.config.request_timeout;
        match timeout(waited, accepted).await {
            Ok(Ok(next)) => subscription.next = next?,
            Ok(Err(_dropped)) => return Err(link.closed()),
            Err(_elapsed) => return Err(Error::TimedOut { waited }),
        }
        Ok(subscription)
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        self.core.stream()
    }

    /// The offset of the record that [`Subscription::next`] yields next: where to resume after a restart.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// Why it ended, once it has: after `next` returned `None` or [`Error::Ended`].
    pub fn end_reason(&self) -> Option<EndReason> {
        self.ended
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a damaged record, [`Error::Ended`] if the stream was deleted, expired or trimmed, and
    /// what ended the client if it was closed or lost. Each ends the subscription.
    ///
    /// # Cancel safety
    /// Safe: a record is taken only when it is returned.
    pub async fn next(&mut self) -> Option<Result<Record, Error>> {
        std::future::poll_fn(|context| self.poll_record(context)).await
    }

    fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Record, Error>>> {
        while !self.done {
            if let Some(cursor) = &mut self.cursor {
                match cursor.next() {
                    Some(Ok((record, bytes))) => {
                        self.next = record.offset + 1;
                        self.consume(bytes);
                        return Poll::Ready(Some(Ok(record)));
                    }
                    Some(Err(offset)) => {
                        let stream = self.stream().to_owned();
                        return Poll::Ready(self.finish(Some(Error::Corrupt { stream, offset })));
                    }
                    None => self.cursor = None,
                }
            }
            match ready!(self.core.poll(context)) {
                Item::Run(run) => {
                    self.consume(RUN_HEADER_BYTES as u64);
                    self.cursor = Some(Cursor::new(run));
                }
                Item::End(ending) => {
                    let error = self.ending(ending);
                    return Poll::Ready(self.finish(error));
                }
            }
        }
        Poll::Ready(None)
    }

    fn consume(&mut self, bytes: u64) {
        self.consumed += bytes;
        if self.consumed >= self.core.window() / 2 {
            let consumed = std::mem::take(&mut self.consumed);
            self.core.consumed(&self.handle.link, consumed);
        }
    }

    /// Notes why it ended, and returns the error to yield, if any.
    fn ending(&mut self, ending: Ending) -> Option<Error> {
        match ending {
            Ending::Failed(error) => Some(error),
            Ending::End {
                reason,
                next,
                earliest,
            } => {
                self.ended = Some(reason);
                match reason {
                    EndReason::Closed | EndReason::Unsubscribed => None,
                    reason => {
                        let stream = self.stream().to_owned();
                        Some(Error::Ended {
                            stream,
                            reason,
                            next,
                            earliest,
                        })
                    }
                }
            }
        }
    }

    fn finish(&mut self, error: Option<Error>) -> Option<Result<Record, Error>> {
        self.done = true;
        self.cursor = None;
        error.map(Err)
    }
}

impl Stream for Subscription {
    type Item = Result<Record, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_record(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.handle.link.forget_subscription(self.core.id());
        self.core.unsubscribe(&self.handle.link);
    }
}
