//! What waits in the correlation table, and how each kind is told its outcome.
//!
//! Called by the connection task with no lock of the link held, so an outcome may take any lock below it
//! (a subscription's, a producer's). A waiter that went away is not an error: its reply is dropped.

use std::sync::Arc;

use streamkeeper_protocol::Event;
use tokio::sync::oneshot;

use super::Link;
use crate::error::{Doubt, Refusal};
use crate::{Appended, Error, pipeline, producer, subscription};

/// The end of a request's wait.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// An entry of a CONFIRM.
    Confirmed(Appended),
    /// Any other reply.
    Reply(Event),
    /// The server's ERR.
    Refused(Refusal),
    /// The connection ended first.
    Lost,
}

/// The end of a plain request's wait: its reply or refusal, or `Lost`.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The reply.
    Reply(Event),
    /// The server's ERR.
    Refused(Refusal),
    /// The connection ended first.
    Lost,
}

/// One request that waits for its reply.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A request answered by one reply of its own.
    Request(oneshot::Sender<Answer>),
    /// A single append with its own waiter.
    Append(oneshot::Sender<Result<Appended, Error>>),
    /// One append of a pipeline, under the caller's tag.
    Pipeline(Arc<pipeline::Core>, u64),
    /// A producer's batch, under its sequence number.
    Producer(Arc<producer::Core>, u64),
    /// A SUBSCRIBE.
    Subscribe(Arc<subscription::Core>),
}

impl Pending {
    /// Hands `outcome` to whoever waits.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the reply is of a kind that does not answer this request.
    pub(crate) fn complete(self, link: &Arc<Link>, outcome: Outcome) -> Result<(), Error> {
        match self {
            Self::Request(waiter) => {
                let answer = match outcome {
                    Outcome::Reply(event) => Answer::Reply(event),
                    Outcome::Refused(refusal) => Answer::Refused(refusal),
                    Outcome::Lost => Answer::Lost,
                    Outcome::Confirmed(_) => return Err(mismatch("a CONFIRM", "another request")),
                };
                drop(waiter.send(answer));
            }
            Self::Append(waiter) => drop(waiter.send(append_result(outcome)?)),
            Self::Pipeline(core, tag) => core.complete(tag, append_result(outcome)?),
            Self::Producer(core, seq) => match outcome {
                Outcome::Confirmed(appended) => core.confirmed(link, seq, appended),
                Outcome::Refused(refusal) => core.refused(link, seq, refusal),
                // The producer keeps the batch and is told of the lost connection as a whole.
                Outcome::Lost => {}
                Outcome::Reply(event) => return Err(mismatch(kind(&event), "an APPEND")),
            },
            Self::Subscribe(core) => match outcome {
                Outcome::Reply(Event::Subscribed(reply)) => core.subscribed(reply.next),
                Outcome::Reply(event) => return Err(mismatch(kind(&event), "a SUBSCRIBE")),
                Outcome::Refused(refusal) => core.refused(link, refusal),
                Outcome::Lost => {}
                Outcome::Confirmed(_) => return Err(mismatch("a CONFIRM", "a SUBSCRIBE")),
            },
        }
        Ok(())
    }
}

/// What an append's waiter is told.
fn append_result(outcome: Outcome) -> Result<Result<Appended, Error>, Error> {
    match outcome {
        Outcome::Confirmed(appended) => Ok(Ok(appended)),
        Outcome::Refused(refusal) => Ok(Err(refusal.into())),
        Outcome::Lost => Ok(Err(Error::Unconfirmed {
            request: "append",
            doubt: Doubt::ConnectionLost,
        })),
        Outcome::Reply(event) => Err(mismatch(kind(&event), "an APPEND")),
    }
}

fn mismatch(reply: &str, request: &str) -> Error {
    Error::Protocol {
        detail: format!("{reply} in answer to {request}"),
    }
}

/// A name for a reply in an error message.
pub(crate) fn kind(event: &Event) -> &'static str {
    event.kind().as_str()
}
