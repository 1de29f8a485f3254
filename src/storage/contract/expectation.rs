//! What must hold, as values: an expectation that does not hold ends the case with a [`Failure`] that says so.
//!
//! Waiting is always bounded: [`soon`], [`eventually`].

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use super::Failure;
use crate::storage::{Changes, Notification};
use crate::types::{Error, Position, Refusal};

/// How long a case waits for what must come soon.
const SOON: Duration = Duration::from_secs(10);
/// How often a case looks again for what may come shortly after.
pub(super) const POLL: Duration = Duration::from_millis(5);
/// How long a future that must stay pending is watched: long enough for a wrong answer to show, and no rule
/// rests on it being long.
const WATCHED: Duration = Duration::from_millis(20);
/// Why a case ended before its last line.
#[derive(Debug)]
pub(super) enum Stop {
    Skipped(&'static str),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a case answers.
pub(super) type Ran = Result<(), Stop>;

/// What an answer of the store must be.
pub(super) trait Expect<T> {
    /// The operation must be accepted.
    fn accepted(self, what: &str) -> Result<T, Stop>;
    /// The operation must be refused in exactly this way.
    fn refused(self, refusal: &Refusal, what: &str) -> Ran;
}

impl<T> Expect<T> for Result<T, Error> {
    fn accepted(self, what: &str) -> Result<T, Stop> {
        self.map_err(|error| Failure::new(what, "acceptance", format!("{error:?}")).into())
    }

    fn refused(self, refusal: &Refusal, what: &str) -> Ran {
        let found = match self {
            Ok(_) => "acceptance".to_owned(),
            Err(Error::Refused(found)) if found == *refusal => return Ok(()),
            Err(found) => format!("{found:?}"),
        };
        Err(Failure::new(what, format!("{refusal:?}"), found).into())
    }
}

/// `found` must equal `expected`.
pub(super) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Ran {
    if found == expected {
        return Ok(());
    }
    Err(Failure::new(what, format!("{expected:?}"), format!("{found:?}")).into())
}

/// `holds` must be true, else `what` is not as `expected`.
pub(super) fn ensure(what: &str, expected: &str, holds: bool) -> Ran {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(what, expected, "otherwise").into())
    }
}

/// Waits for what must come without further help.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Stop> {
    tokio::time::timeout(SOON, future)
        .await
        .map_err(|_late| Failure::late(what, SOON).into())
}

/// Looks at `look` again and again until it answers `expected`.
pub(super) async fn eventually<T, F>(what: &str, expected: &T, mut look: impl FnMut() -> F) -> Ran
where
    T: PartialEq + Debug,
    F: Future<Output = Result<T, Stop>>,
{
    let started = tokio::time::Instant::now();
    loop {
        let found = look().await?;
        if found == *expected || started.elapsed() > SOON {
            return same(what, &found, expected);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Runs `futures` in tasks of their own and gives back what they answer, in their order.
pub(super) async fn together<F>(
    what: &str,
    futures: impl IntoIterator<Item = F>,
) -> Result<Vec<F::Output>, Stop>
where
    F: Future<Output: Send> + Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        let ended = soon(what, task).await?;
        answers.push(ended.map_err(|error| Failure::panicked(&error.to_string()))?);
    }
    Ok(answers)
}

/// `future` must not end by itself. It is polled on the way, so that it waits for real.
pub(super) async fn pending<T: Debug>(what: &str, future: impl Future<Output = T> + Unpin) -> Ran {
    match tokio::time::timeout(WATCHED, future).await {
        Ok(found) => Err(Failure::new(what, "waiting", format!("{found:?}")).into()),
        Err(_still_waiting) => Ok(()),
    }
}

/// Follows `changes` to one that is `last`, and checks that positions never go back and nothing follows an end.
pub(super) async fn follow_to(changes: &mut impl Changes, last: Notification) -> Ran {
    let mut newest = Position::START;
    let mut closed = false;
    loop {
        let change = soon(&format!("the notification {last:?}"), changes.next()).await?;
        if change == last {
            return Ok(());
        }
        let tail = match change {
            Notification::Appended(tail) if !closed => tail,
            Notification::Closed(tail) if !closed => {
                closed = true;
                tail
            }
            other => {
                return Err(Failure::new(
                    "the notifications",
                    format!("{last:?}"),
                    format!("{other:?} after the end"),
                )
                .into());
            }
        };
        ensure(
            "the tails of notifications",
            "never to go back",
            tail >= newest,
        )?;
        newest = tail;
    }
}
