//! Requests that change a stream: through its write queue, pipelined, never awaited.
//!
//! An accepted request is answered through the outbox after the commit that makes it durable. One that finds its queue
//! full is held back, and nothing more is received until it is in: that keeps the order of requests and pushes back on
//! this peer alone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use streamkeeper_protocol::RecordBlock;
use streamkeeper_protocol::command::{Append, Create, Str};

use super::failure::Failure;
use super::outbox::{self, Outbox};
use super::{SessionContext, convert};
use crate::broker::Broker;
use crate::rules::Command;
use crate::stream::{Completion, LIGHT_QUEUE_BYTES, Stream, Submission};
use crate::types::StreamName;

/// Requests on their way of a client that is called light: fewer than this.
const LIGHT_IN_FLIGHT: u64 = 4;

/// A pipeline may be caught nearly empty for a few requests, not for that many in a row.
const LIGHT_IN_A_ROW: u8 = 8;

/// Resolves when a full write queue may have room again.
pub type Space = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The requests of one session that are in write queues, or on their way there.
pub(super) struct Submissions {
    outbox: Arc<Outbox>,
    /// Accepted by a write queue, or held back.
    submitted: u64,
    completed: u64,
    /// Requests in a row, up to [`LIGHT_IN_A_ROW`], that were small and found next to nothing on its way.
    light_in_a_row: u8,
    kick_due: bool,
    held_back: Option<(Arc<Stream>, Box<Submission>)>,
    /// The stream of the last request in this series. Not kept longer: a handle keeps its stream in memory.
    recent: Option<Arc<Stream>>,
}

impl Submissions {
    pub(super) fn new(outbox: Arc<Outbox>) -> Self {
        Self {
            outbox,
            submitted: 0,
            completed: 0,
            light_in_a_row: 0,
            kick_due: false,
            held_back: None,
            recent: None,
        }
    }

    /// Requests submitted so far.
    pub(super) fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Requests answered so far.
    pub(super) fn completed(&self) -> u64 {
        self.completed
    }

    /// `count` more requests were answered.
    pub(super) fn complete(&mut self, count: u64) {
        self.completed += count;
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.held_back.is_some()
    }

    /// Verifies the records and submits them. No allocation for a plain append: its parts are slices of the read buffer.
    pub(super) fn append(
        &mut self,
        context: &SessionContext,
        correlation: u32,
        append: Append,
    ) -> Result<(), Failure> {
        let options = convert::append_options(&append);
        let batch = RecordBlock::parse(append.records, append.count, &context.options.limits)?;
        let token = outbox::token(correlation, append.no_confirm);
        self.submit_to(
            context,
            token,
            &append.stream,
            Command::Append { batch, options },
        )
    }

    pub(super) fn create(
        &mut self,
        context: &SessionContext,
        correlation: u32,
        create: &Create,
    ) -> Result<(), Failure> {
        let options = convert::create_options(create, context.broker.default_storage())?;
        StreamName::check_client(&create.stream)?;
        let stream = context
            .broker
            .stream_to_create(&create.stream, options.storage)?;
        let token = outbox::token(correlation, false);
        self.submit(&context.broker, stream, token, Command::create(options));
        Ok(())
    }

    pub(super) fn close(
        &mut self,
        context: &SessionContext,
        correlation: u32,
        stream: &Str,
    ) -> Result<(), Failure> {
        self.submit_to(
            context,
            outbox::token(correlation, false),
            stream,
            Command::Close,
        )
    }

    pub(super) fn delete(
        &mut self,
        context: &SessionContext,
        correlation: u32,
        stream: &Str,
    ) -> Result<(), Failure> {
        self.submit_to(
            context,
            outbox::token(correlation, false),
            stream,
            Command::Delete,
        )
    }

    fn submit_to(
        &mut self,
        context: &SessionContext,
        token: u64,
        name: &Str,
        command: Command,
    ) -> Result<(), Failure> {
        let recent = self.recent.take();
        let stream = match recent {
            Some(recent) if recent.name().as_str().as_bytes() == name.as_bytes() => recent,
            _ => {
                StreamName::check_client(name)?;
                context.broker.stream(name)?
            }
        };
        self.submit(&context.broker, stream, token, command);
        Ok(())
    }

    fn submit(&mut self, broker: &Broker, stream: Arc<Stream>, token: u64, command: Command) {
        let sink = Arc::clone(&self.outbox);
        let completion = Completion::Sink { sink, token };
        let light = self.is_light(&command);
        self.submitted += 1;
        self.offer(
            broker,
            stream,
            Submission {
                command,
                completion,
                light,
            },
        );
    }

    /// Whether this client, which sends `command`, appends little, and waits for each.
    fn is_light(&mut self, command: &Command) -> bool {
        let in_flight = self.submitted - self.completed;
        if in_flight >= LIGHT_IN_FLIGHT || command.queued_bytes() > LIGHT_QUEUE_BYTES {
            self.light_in_a_row = 0;
            return false;
        }
        let often = self.light_in_a_row >= LIGHT_IN_A_ROW;
        self.light_in_a_row = LIGHT_IN_A_ROW.min(self.light_in_a_row + 1);
        often
    }

    fn offer(&mut self, broker: &Broker, stream: Arc<Stream>, submission: Submission) {
        match broker.try_submit(&stream, submission) {
            Ok(()) => {
                self.kick_due = true;
                self.recent = Some(stream);
            }
            Err(back) => self.held_back = Some((stream, back)),
        }
    }

    /// Wakes the committer if something was submitted since the last call.
    pub(super) fn kick(&mut self, broker: &Broker) {
        self.recent = None;
        if std::mem::take(&mut self.kick_due) {
            broker.kick();
        }
    }

    /// Resolves when the request that is held back may be tried again; `None` if there is none.
    pub(super) fn space(&self, broker: &Broker) -> Option<Space> {
        let (stream, submission) = self.held_back.as_ref()?;
        let weight = submission.weight();
        let (broker, stream) = (broker.clone(), Arc::clone(stream));
        Some(Box::pin(async move { broker.space(&stream, weight).await }))
    }

    /// Tries the request again that is held back.
    pub(super) fn retry(&mut self, broker: &Broker) {
        if let Some((stream, submission)) = self.held_back.take() {
            self.offer(broker, stream, *submission);
        }
    }
}
