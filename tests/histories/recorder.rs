//! Where clients write down what they do: one recorder for each stream, one clock for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use streamkeeper_client::{Appended, Error, ErrorCode, Record};

use crate::history::{AttemptId, Batch, BatchId, History, Instant, Outcome, RecordId, Seen};

/// Instants and record ids of one run.
#[derive(Debug)]
pub struct Clock {
    began: std::time::Instant,
    records: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        let began = std::time::Instant::now();
        let records = AtomicU64::new(1);
        Self { began, records }
    }
}

impl Clock {
    pub fn now(&self) -> Instant {
        let nanos = self.began.elapsed().as_nanos();
        Instant::try_from(nanos).expect("a run takes less than centuries")
    }

    /// A record that was not before.
    pub fn record(&self) -> RecordId {
        self.records.fetch_add(1, Ordering::Relaxed)
    }
}

/// The recorder of one stream.
#[derive(Debug)]
pub struct Recorder {
    pub stream: String,
    pub clock: Arc<Clock>,
    history: Mutex<History>,
}

impl Recorder {
    pub fn new(stream: String, clock: Arc<Clock>) -> Self {
        let history = Mutex::default();
        Self {
            stream,
            clock,
            history,
        }
    }

    pub fn batch(&self, batch: Batch) -> BatchId {
        self.history.lock().batch(batch)
    }

    /// To be called before anything is sent.
    pub fn begin(&self, batch: BatchId) -> AttemptId {
        let mut history = self.history.lock();
        history.begin(batch, self.clock.now())
    }

    /// To be called when the answer is there.
    pub fn end(&self, attempt: AttemptId, outcome: Outcome) {
        let now = self.clock.now();
        self.history.lock().end(attempt, now, outcome);
    }

    pub fn saw_tail(&self, invoked: Instant, tail: u64) {
        let now = self.clock.now();
        self.history.lock().see(invoked, now, Seen::Tail(tail));
    }

    pub fn saw(&self, invoked: Instant, records: &[Record]) {
        let now = self.clock.now();
        if let Some(first) = records.first() {
            let first = first.offset;
            let records = records
                .iter()
                .map(|record| id_of(&record.payload))
                .collect();
            let seen = Seen::Records { first, records };
            self.history.lock().see(invoked, now, seen);
        }
    }

    pub fn died(&self, at: Instant) {
        self.history.lock().deaths.push(at);
    }

    /// What was recorded, with what the stream holds at the end.
    pub fn finish(&self, log: Vec<RecordId>, closed: bool) -> History {
        let mut history = self.history.lock().clone();
        history.log = log;
        history.closed = closed;
        history
    }
}

/// The bytes of a record: its id, and then some that follow from it.
pub fn payload(id: RecordId) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Mostly small; one in 64 is long enough to be cut by the proxy in many places.
    let more = if id.is_multiple_of(64) {
        9_000
    } else {
        id % 90
    };
    bytes.extend((0..more).map(|n| (n.wrapping_mul(id) & 0xFF) as u8));
    bytes
}

/// The id of a record. A payload that none has is a failure of its own.
pub fn id_of(bytes: &[u8]) -> RecordId {
    let id = bytes.first_chunk().map(|id| RecordId::from_be_bytes(*id));
    let id = id.expect("a record holds its id");
    assert_eq!(payload(id), bytes, "record {id} was changed");
    id
}

/// What an answer means, or its absence.
pub fn outcome(answer: Result<Appended, Error>) -> Outcome {
    let refusal = match answer {
        Ok(appended) => {
            return Outcome::Confirmed {
                tail: Some(appended.tail),
                duplicate: appended.duplicate,
            };
        }
        Err(Error::Refused(refusal)) => refusal,
        Err(_) => return Outcome::Unknown,
    };
    let odd = Outcome::Odd {
        code: refusal.number,
    };
    let named = match refusal.code {
        Some(ErrorCode::TailMismatch) => refusal.tail.map(|tail| Outcome::TailMismatch { tail }),
        Some(ErrorCode::StreamClosed) => refusal.tail.map(|tail| Outcome::Closed { tail }),
        Some(ErrorCode::SeqConflict) => {
            let last = refusal
                .last_seq
                .as_deref()
                .and_then(|seq| seq.try_into().ok());
            last.map(|seq| Outcome::SeqConflict {
                last: u64::from_be_bytes(seq),
            })
        }
        Some(ErrorCode::ProducerGap) => {
            let expected = refusal.expected_seq;
            expected.map(|expected| Outcome::ProducerGap { expected })
        }
        Some(ErrorCode::ProducerFenced) => {
            let current = refusal.current_epoch;
            current.map(|current| Outcome::Fenced { current })
        }
        _ => None,
    };
    named.unwrap_or(odd)
}
