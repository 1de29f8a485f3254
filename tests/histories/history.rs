//! What clients did to one stream and what they were told, with the instants between which it happened.
//!
//! Plain data: `clients` writes it while the run goes on, `checker` judges it afterwards. Instants are nanoseconds of one
//! monotonic clock that all clients share, so "returned before the other was invoked" means what it says.

/// An instant: nanoseconds since the run began.
pub type Instant = u64;

/// An instant that never comes: of an answer that was never seen.
pub const NEVER: Instant = Instant::MAX;

/// Names a record for ever: it is the record's payload, and no two records of a run share it.
pub type RecordId = u64;

/// Index of a batch in [`History::batches`].
pub type BatchId = usize;

/// Index of an attempt in [`History::attempts`].
pub type AttemptId = usize;

/// Who produced a batch and as the how-manieth of its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub producer: u32,
    pub epoch: u64,
    pub seq: u64,
}

/// Records that were to be appended together, on one condition or another.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub records: Vec<RecordId>,
    pub expected_tail: Option<u64>,
    pub seq: Option<u64>,
    pub stamp: Option<Stamp>,
    pub close: bool,
    /// Its client sends it again by itself, over the deaths of brokers, and answers once: one attempt stands for all.
    pub resent: bool,
}

/// What an attempt to append a batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody knows: the answer never came.
    Unknown,
    /// Confirmed. Of a duplicate the tail is the one of that moment; not every client learns it.
    Confirmed { tail: Option<u64>, duplicate: bool },
    /// Refused: the tail is another one.
    TailMismatch { tail: u64 },
    /// Refused: the stream's last seq is not smaller.
    SeqConflict { last: u64 },
    /// Refused: the batch before it is missing.
    ProducerGap { expected: u64 },
    /// Refused: a higher epoch has begun.
    Fenced { current: u64 },
    /// Refused: the stream is closed.
    Closed { tail: u64 },
    /// Refused in a way that no client of this test has called for.
    Odd { code: u16 },
}

/// One attempt to append a batch. Only batches with a stamp are tried more than once.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub batch: BatchId,
    pub invoked: Instant,
    /// [`NEVER`] if nothing came back.
    pub returned: Instant,
    pub outcome: Outcome,
}

/// What was seen of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The tail was exactly this at some instant within.
    Tail(u64),
    /// These records lie here.
    Records { first: u64, records: Vec<RecordId> },
}

/// Something that was seen.
#[derive(Clone, Debug)]
pub struct Observation {
    pub invoked: Instant,
    pub returned: Instant,
    pub seen: Seen,
}

/// Everything about one stream.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub batches: Vec<Batch>,
    pub attempts: Vec<Attempt>,
    pub observations: Vec<Observation>,
    /// When the broker was dead for certain, in order. What was asked before one of these and is not answered cannot
    /// take effect after it.
    pub deaths: Vec<Instant>,
    /// What the stream holds at the end.
    pub log: Vec<RecordId>,
    /// Whether it is closed at the end.
    pub closed: bool,
}

impl History {
    /// Notes a batch that will be sent.
    pub fn batch(&mut self, batch: Batch) -> BatchId {
        self.batches.push(batch);
        self.batches.len() - 1
    }

    /// Notes that a batch is about to be sent. Until [`History::end`] its outcome is unknown.
    pub fn begin(&mut self, batch: BatchId, now: Instant) -> AttemptId {
        self.attempts.push(Attempt {
            batch,
            invoked: now,
            returned: NEVER,
            outcome: Outcome::Unknown,
        });
        self.attempts.len() - 1
    }

    /// Notes what came back.
    pub fn end(&mut self, attempt: AttemptId, now: Instant, outcome: Outcome) {
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            attempt.outcome = outcome;
            if outcome != Outcome::Unknown {
                attempt.returned = now;
            }
        }
    }

    /// Notes something seen.
    pub fn see(&mut self, invoked: Instant, returned: Instant, seen: Seen) {
        self.observations.push(Observation {
            invoked,
            returned,
            seen,
        });
    }
}
