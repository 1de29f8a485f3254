//! Followers: cursors that start anywhere, some slow, and check every record and every end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use streamkeeper::fanout::{Bell, Cursor, EndReason, Step, Watcher};
use streamkeeper::types::{
    Clock, Error, Offset, Position, Refusal, Run as Records, Start, Timestamp,
};
use tokio::time::timeout;

use crate::model::{Mark, Sighting, Slot};
use crate::random::Random;
use crate::run::{PATIENCE, Run};

/// See the module.
pub struct Follower {
    pub run: Run,
    pub random: Random,
}

/// A cursor with what is known of it.
struct Following {
    slot: Arc<Slot>,
    mark: Mark,
    seen: Option<Sighting>,
    cursor: Cursor,
    bell: Arc<Bell>,
    next: u64,
    /// Known once a record was seen.
    next_byte: Option<u64>,
    /// No record to come may be committed before this.
    newest: Timestamp,
    bytes_max: usize,
    pause_millis: u64,
}

impl Follower {
    /// Follows one stream after the other until nothing changes any more.
    pub async fn run(mut self) {
        while !self.run.settled.is_cancelled() {
            if let Some(following) = self.open().await {
                self.follow(following).await;
            } else {
                self.run.pause(5, &mut self.random).await;
            }
        }
    }

    async fn open(&mut self) -> Option<Following> {
        let slot = self.run.slot(&mut self.random);
        let mark = slot.mark();
        let confirmed = slot.lives.lock().last().map_or(0, |life| life.confirmed);
        let from = self.start(&slot, confirmed);
        let bell = Arc::new(Bell::default());
        let watcher: Arc<dyn Watcher> = Arc::<Bell>::clone(&bell);
        let opened = self.run.broker.cursor(&slot.name, from, watcher, 7).await;
        let seen = slot.since(mark);
        let cursor = match opened {
            Ok(cursor) => cursor,
            Err(error) => {
                check_refusal(&slot, seen, from, &error);
                self.run.counts.end("not opened");
                return None;
            }
        };
        let next = cursor.next().offset.0;
        check_start(&slot, seen, from, next, confirmed);
        let not_before = match from {
            Start::Time(time) if next < confirmed && seen.is_certain() => time,
            _ => Timestamp::default(),
        };
        Some(Following {
            slot,
            mark,
            seen: None,
            cursor,
            bell,
            next,
            next_byte: None,
            newest: not_before,
            bytes_max: usize::try_from(self.random.between(1, 60_000)).unwrap_or(1),
            pause_millis: if self.random.chance(30) { 8 } else { 0 },
        })
    }

    fn start(&mut self, slot: &Slot, confirmed: u64) -> Start {
        match self.random.below(5) {
            0 => Start::Now,
            1 => Start::At(Offset(self.random.below(confirmed + 1))),
            2 => {
                let age = u64::try_from(slot.age().as_micros()).unwrap_or(0);
                Start::Time(Timestamp(
                    Clock::System.now().0 - self.random.below(age + 1),
                ))
            }
            _ => Start::Beginning,
        }
    }

    async fn follow(&mut self, mut following: Following) {
        let leaves_early = self.random.chance(30);
        loop {
            if leaves_early && !self.run.settled.is_cancelled() && self.random.chance(1) {
                self.run.counts.end("left");
                return;
            }
            match self.step(&mut following).await {
                Step::Runs(runs) => {
                    for run in &runs {
                        let records = following.take(run);
                        self.run
                            .counts
                            .followed
                            .fetch_add(records, Ordering::Relaxed);
                    }
                    if following.pause_millis > 0 {
                        self.run
                            .pause(following.pause_millis, &mut self.random)
                            .await;
                    }
                }
                Step::Idle | Step::Behind => {
                    let woken = timeout(PATIENCE, following.bell.wait()).await;
                    assert!(woken.is_ok(), "{:?} was not woken", following.cursor);
                }
                Step::End {
                    reason,
                    next,
                    earliest,
                } => {
                    self.run
                        .counts
                        .end(following.check_end(reason, next, earliest));
                    return;
                }
            }
        }
    }

    /// As the sessions do: from memory if it is there, else from the store.
    async fn step(&mut self, following: &mut Following) -> Step {
        match following.cursor.poll(following.bytes_max) {
            Step::Behind => {
                self.run.counts.from_store.fetch_add(1, Ordering::Relaxed);
                match following.cursor.load(following.bytes_max).await {
                    Ok(step) => step,
                    Err(error) => following.not_read(&error),
                }
            }
            step => step,
        }
    }
}

impl Following {
    fn not_read(&self, error: &Error) -> ! {
        let seen = self.seen.unwrap_or_else(|| self.slot.since(self.mark));
        let lives = self.slot.describe(seen);
        panic!("{}: {error:?}; {lives}", self.slot.name)
    }

    /// Checks a run and moves behind it.
    fn take(&mut self, run: &Records) -> u64 {
        let name = &self.slot.name;
        let header = &run.header;
        assert!(header.count > 0, "{name}: an empty run");
        assert_eq!(
            header.first_offset, self.next,
            "{name}: a gap or a duplicate"
        );
        let byte = self.next_byte.unwrap_or(header.first_byte);
        assert_eq!(
            header.first_byte, byte,
            "{name}: bytes out of step at {}",
            self.next
        );
        let committed = Timestamp(header.committed_at);
        assert!(committed >= self.newest, "{name}: committed too early");
        self.newest = committed;
        let mut seen = self.seen.unwrap_or_else(|| self.slot.since(self.mark));
        let mut records = 0;
        for record in run.records_verified() {
            let record = record.expect("a record that is whole");
            let position = Position {
                offset: Offset(record.offset),
                byte: record.byte,
            };
            self.slot.check(&mut seen, position, &record.payload);
            records += 1;
        }
        assert_eq!(records, u64::from(header.count), "{name}: a run cut short");
        self.seen = Some(seen);
        self.next += records;
        self.next_byte = Some(header.next_byte());
        records
    }

    /// Checks that an end is true.
    fn check_end(&self, reason: EndReason, next: Position, earliest: Offset) -> &'static str {
        let slot = &self.slot;
        let seen = self.seen.unwrap_or_else(|| slot.since(self.mark));
        let at = next.offset.0;
        assert_eq!(at, self.next, "{}: ended elsewhere", slot.name);
        let (true_end, what) = match reason {
            EndReason::Closed => (
                slot.any(seen, |life| life.closed && life.records.len() as u64 == at),
                "closed",
            ),
            EndReason::Deleted => (slot.any(seen, |life| life.deleted), "deleted"),
            EndReason::Trimmed => (
                earliest.0 > at && slot.any(seen, |life| life.may_have_trimmed_to(earliest.0)),
                "trimmed",
            ),
            EndReason::Expired => (false, "expired"),
        };
        assert!(
            true_end,
            "{}: not {what} at {at} (earliest {earliest}); {}",
            slot.name,
            slot.describe(seen)
        );
        what
    }
}

/// Checks where a cursor began.
fn check_start(slot: &Slot, seen: Sighting, from: Start, next: u64, confirmed: u64) {
    let name = &slot.name;
    if let Start::At(offset) = from {
        assert_eq!(offset.0, next, "{name}: began elsewhere");
    }
    let just = slot.any(seen, |life| match from {
        Start::Beginning => life.may_have_trimmed_to(next),
        Start::Now => life.may_be_tail(next) && (next >= confirmed || !seen.is_certain()),
        Start::At(_) | Start::Time(_) => life.may_be_tail(next),
    });
    assert!(
        just,
        "{name}: began at {next} for {from:?}, confirmed {confirmed}"
    );
}

/// Checks that a refusal is true.
pub fn check_refusal(slot: &Slot, seen: Sighting, from: Start, error: &Error) {
    let name = &slot.name;
    let asked = match from {
        Start::At(offset) => offset.0,
        _ => 0,
    };
    let just = match error {
        Error::Refused(Refusal::NotFound) => seen.absent,
        Error::Refused(Refusal::Trimmed { earliest }) => {
            earliest.0 > asked && slot.any(seen, |life| life.may_have_trimmed_to(earliest.0))
        }
        // Nobody asks for more than was confirmed: the stream must be another one by now.
        Error::Refused(Refusal::PastTail { tail }) => tail.0 < asked && seen.absent,
        _ => false,
    };
    assert!(
        just,
        "{name}: {error:?} from {from:?} while seeing {seen:?}"
    );
}
