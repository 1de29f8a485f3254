//! The order of the log against real time.
//!
//! Each append and each tail that was seen has a *level*: an append from `first` to `end` has `2 * first + 1`, the tail `t`
//! has `2 * t`, so tails lie between the appends that they are between. Whatever has a higher level took effect later.
//! That contradicts real time exactly if something came back before another of a lower level was invoked, which one
//! pass finds by keeping the latest invocation so far. Things on one level (the same tail, seen twice) go in any order.

use super::placed::Placed;
use std::fmt;

use super::Violation;
use crate::history::{History, Instant, NEVER, Outcome, Seen};

/// Something with a place in the order.
#[derive(Clone, Copy, Debug)]
struct Step {
    level: u64,
    invoked: Instant,
    returned: Instant,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Append(u64),
    Tail(u64),
    Seen(u64),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append(first) => write!(f, "the append at {first}"),
            Self::Tail(tail) => write!(f, "the tail {tail}"),
            Self::Seen(end) => write!(f, "the record before {end}"),
        }
    }
}

/// The order with its bounds in time, for what is known less exactly than to a level.
#[derive(Debug)]
pub struct Line {
    levels: Vec<u64>,
    /// The latest invocation of this step and all before it.
    invoked: Vec<Instant>,
    /// The earliest return of this step and all behind it.
    returned: Vec<Instant>,
}

impl Line {
    /// Whether something between these instants may have found the stream somewhere from level `low` to `high`, both included.
    pub fn allows(&self, low: u64, high: u64, invoked: Instant, returned: Instant) -> bool {
        let before = self.levels.partition_point(|level| *level < low);
        let behind = self.levels.partition_point(|level| *level <= high);
        let begun = before.checked_sub(1).and_then(|at| self.invoked.get(at));
        let over = self.returned.get(behind);
        begun.is_none_or(|begun| *begun <= returned) && over.is_none_or(|over| invoked <= *over)
    }
}

/// The level of a tail.
pub fn level(tail: u64) -> u64 {
    tail.saturating_mul(2)
}

pub fn check(history: &History, placed: &Placed) -> Result<Line, Violation> {
    let mut steps = steps(history, placed)?;
    steps.sort_by_key(|step| step.level);
    let mut before = 0;
    for together in steps.chunk_by(|a, b| a.level == b.level) {
        for step in together {
            if step.returned < before {
                return Err(Violation::OutOfOrder {
                    what: step.what.to_string(),
                    returned: step.returned,
                    invoked: before,
                });
            }
        }
        before = together
            .iter()
            .map(|step| step.invoked)
            .fold(before, Instant::max);
    }
    Ok(line(&steps))
}

fn line(steps: &[Step]) -> Line {
    let mut latest = 0;
    let invoked = steps.iter().map(|step| {
        latest = step.invoked.max(latest);
        latest
    });
    let invoked = invoked.collect();
    let mut earliest = NEVER;
    let returned = steps.iter().rev().map(|step| {
        earliest = step.returned.min(earliest);
        earliest
    });
    let mut returned: Vec<_> = returned.collect();
    returned.reverse();
    Line {
        levels: steps.iter().map(|step| step.level).collect(),
        invoked,
        returned,
    }
}

fn steps(history: &History, placed: &Placed) -> Result<Vec<Step>, Violation> {
    let mut steps: Vec<Step> = Vec::new();
    for place in &placed.in_order {
        steps.push(Step {
            level: level(place.first) + 1,
            invoked: place.invoked,
            returned: place.returned,
            what: What::Append(place.first),
        });
    }
    let mut tail = |tail, invoked, returned| {
        let is_end = tail == 0
            || placed
                .in_order
                .binary_search_by_key(&tail, |place| place.end)
                .is_ok();
        steps.push(Step {
            level: level(tail),
            invoked,
            returned,
            what: What::Tail(tail),
        });
        if is_end {
            Ok(())
        } else {
            Err(Violation::NoSuchTail { tail })
        }
    };
    for attempt in &history.attempts {
        match attempt.outcome {
            // Any other confirm is the append's own step.
            Outcome::Confirmed {
                tail: Some(seen),
                duplicate: true,
            }
            | Outcome::TailMismatch { tail: seen }
            | Outcome::Closed { tail: seen } => tail(seen, attempt.invoked, attempt.returned)?,
            _ => {}
        }
    }
    for observation in &history.observations {
        if let Seen::Tail(seen) = observation.seen {
            tail(seen, observation.invoked, observation.returned)?;
        }
    }
    for observation in &history.observations {
        if let Seen::Records { first, records } = &observation.seen {
            let end = first + records.len() as u64;
            // The tail was at least this before it returned; when it came to be so is not said.
            steps.push(Step {
                level: level(end),
                invoked: 0,
                returned: observation.returned,
                what: What::Seen(end),
            });
        }
    }
    Ok(steps)
}
