//! A command on its way through a write queue, and the way its answer takes back.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::rules::{Answer, Command};
use crate::types::Error;

/// What became of a command.
pub type Reply = Result<Answer, Error>;

/// A command and who waits for its answer.
#[derive(Debug)]
pub struct Submission {
    /// What to do.
    pub command: Command,
    /// Who is told.
    pub completion: Completion,
    /// From a client that has next to nothing on its way, as many times before: it appends little, and waits for each.
    pub light: bool,
}

impl Submission {
    /// What it weighs in a write queue.
    pub fn weight(&self) -> Weight {
        Weight {
            bytes: self.command.queued_bytes(),
            light: self.light,
        }
    }
}

/// What a command weighs in a write queue.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// As [`Command::queued_bytes`] says.
    pub bytes: usize,
    /// See [`Submission::light`].
    pub light: bool,
}

/// Who is told what became of a command. Told exactly once, after the commit that made it durable.
pub enum Completion {
    /// Nobody.
    Discard,
    /// One waiting future.
    Once(oneshot::Sender<Reply>),
    /// A collector of many answers, such as a session's outbox.
    Sink {
        /// The collector.
        sink: Arc<dyn Sink>,
        /// Says which command, to the collector.
        token: u64,
    },
}

impl Completion {
    /// Tells the waiter at once, outside any commit.
    pub(crate) fn tell(self, reply: Reply) {
        let mut completions = Completions::default();
        completions.complete(self, reply);
        completions.flush();
    }
}

/// A collector of answers. Both methods run on the committer thread: they must not block.
pub trait Sink: Send + Sync {
    /// The answer to the command that was submitted with `token`. Per stream, in the order of submission.
    fn complete(&self, token: u64, reply: Reply);

    /// Called once after the completions of one commit.
    fn flush(&self);
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discard => f.write_str("Discard"),
            Self::Once(_) => f.write_str("Once"),
            Self::Sink { token, .. } => write!(f, "Sink({token})"),
        }
    }
}

/// Gives out the answers of one commit, and flushes each sink once.
#[derive(Default)]
pub(crate) struct Completions {
    sinks: Vec<Arc<dyn Sink>>,
}

impl Completions {
    pub(crate) fn complete(&mut self, completion: Completion, reply: Reply) {
        match completion {
            Completion::Discard => {}
            Completion::Once(sender) => drop(sender.send(reply)),
            Completion::Sink { sink, token } => {
                sink.complete(token, reply);
                self.note(sink);
            }
        }
    }

    /// Answers of one connection mostly come in a row: comparing with the last sink finds nearly all repeats, and a sink
    /// flushed twice is only a wasted wake.
    fn note(&mut self, sink: Arc<dyn Sink>) {
        let same = |other: &Arc<dyn Sink>| Arc::ptr_eq(other, &sink);
        if !self.sinks.iter().rev().take(4).any(same) {
            self.sinks.push(sink);
        }
    }

    pub(crate) fn flush(&mut self) {
        for sink in self.sinks.drain(..) {
            sink.flush();
        }
    }
}
