//! One stream under test, with a clock in its hand.

use std::time::Duration;

use streamkeeper::rules::{self, Answer, Command, Context, Effect, RuleLimits, StreamState};
use streamkeeper::types::{
    AppendOptions, Appended, CreateOptions, ProducerStamp, RecordBlock, Refusal, Str, StreamId,
    Timestamp,
};

/// Runs commands against one stream: decides, then applies.
pub(crate) struct Subject {
    pub(crate) state: Option<StreamState>,
    pub(crate) now: Timestamp,
    pub(crate) limits: RuleLimits,
    /// The effects of the last command.
    pub(crate) effects: Vec<Effect>,
    created: u64,
}

impl Subject {
    /// No stream yet.
    pub(crate) fn absent() -> Self {
        Self {
            state: None,
            now: Timestamp(1_000_000_000),
            limits: RuleLimits::default(),
            effects: Vec::new(),
            created: 0,
        }
    }

    /// A stream just created with these options.
    pub(crate) fn with(options: CreateOptions) -> Self {
        let mut subject = Self::absent();
        subject
            .run(Command::create(options))
            .expect("the options are possible");
        subject
    }

    /// A stream just created with default options.
    pub(crate) fn plain() -> Self {
        Self::with(CreateOptions::default())
    }

    /// A stream in JSON mode.
    pub(crate) fn json() -> Self {
        Self::with(of_type("application/json"))
    }

    pub(crate) fn run(&mut self, command: Command) -> Result<Answer, Refusal> {
        let next_id = StreamId(self.created + 1);
        let context = Context {
            now: self.now,
            next_id,
            limits: self.limits,
        };
        let decision = rules::decide(self.state.as_ref(), command, &context)?;
        self.effects = decision.effects.to_vec();
        for effect in &self.effects {
            if let Effect::Created { id, .. } = effect {
                self.created = id.0;
            }
            rules::apply(&mut self.state, effect);
        }
        Ok(decision.answer)
    }

    /// Appends records under these options.
    pub(crate) fn append_with(
        &mut self,
        payloads: &[&str],
        options: AppendOptions,
    ) -> Result<Appended, Refusal> {
        let batch = RecordBlock::from_payloads(payloads.iter().map(|payload| payload.as_bytes()));
        let answer = self.run(Command::Append { batch, options })?;
        let Answer::Appended(appended) = answer else {
            unreachable!("an append was answered with {answer:?}");
        };
        Ok(appended)
    }

    /// Appends records without conditions.
    pub(crate) fn append(&mut self, payloads: &[&str]) -> Result<Appended, Refusal> {
        self.append_with(payloads, AppendOptions::default())
    }

    /// Appends one record as this producer.
    pub(crate) fn produce(&mut self, id: &str, epoch: u64, seq: u64) -> Result<Appended, Refusal> {
        self.append_with(&["x"], stamped(id, epoch, seq))
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }

    pub(crate) fn stream(&self) -> &StreamState {
        self.state.as_ref().expect("the stream exists")
    }

    pub(crate) fn tail(&self) -> u64 {
        self.stream().tail.offset.0
    }

    /// The payloads that the last command stored.
    pub(crate) fn stored(&self) -> Vec<String> {
        let batches = self.effects.iter().filter_map(|effect| match effect {
            Effect::Appended { batch, .. } => Some(batch),
            _ => None,
        });
        batches
            .flat_map(RecordBlock::payloads)
            .map(|payload| String::from_utf8_lossy(&payload).into_owned())
            .collect()
    }
}

/// Default options but for the content type.
pub(crate) fn of_type(content_type: &str) -> CreateOptions {
    CreateOptions {
        content_type: Str::from(content_type),
        ..CreateOptions::default()
    }
}

/// Append options that carry a producer's stamp.
pub(crate) fn stamped(id: &str, epoch: u64, seq: u64) -> AppendOptions {
    let stamp = ProducerStamp {
        id: Str::from(id),
        epoch,
        seq,
    };
    AppendOptions {
        producer: Some(stamp),
        ..AppendOptions::default()
    }
}

/// Append options that also close the stream.
pub(crate) fn closing() -> AppendOptions {
    AppendOptions {
        close: true,
        ..AppendOptions::default()
    }
}
