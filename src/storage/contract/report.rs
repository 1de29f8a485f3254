//! What the suite found: verdicts as values, and one line of text a case.

use std::fmt;
use std::time::Duration;

use super::Case;

/// Why a backend failed a case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, found {found}")]
pub struct Failure {
    /// What was looked at.
    pub what: String,
    /// What the contract asks for.
    pub expected: String,
    /// What the backend did.
    pub found: String,
}

impl Failure {
    pub(super) fn new(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(super) fn late(what: impl Into<String>, deadline: Duration) -> Self {
        Self::new(what, format!("an end within {deadline:?}"), "none")
    }

    pub(super) fn panicked(panic: &str) -> Self {
        Self::new("the backend", "no panic", format!("a panic: {panic}"))
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The backend obeys the rule.
    Passed,
    /// The rule does not apply to the backend, and why.
    Skipped(&'static str),
    /// The backend breaks the rule.
    Failed(Failure),
}

/// One case and how it ended. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The case.
    pub case: &'static Case,
    /// How it ended.
    pub verdict: Verdict,
}

impl Outcome {
    /// True unless the case failed.
    pub fn is_success(&self) -> bool {
        !matches!(self.verdict, Verdict::Failed(_))
    }

    /// For test harnesses.
    ///
    /// # Panics
    /// If the case failed; the message names the case, its rule, what was expected and what was found.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.is_success(), "{self}\n  the rule: {}", self.case.rule);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { name, area, .. } = self.case;
        match &self.verdict {
            Verdict::Passed => write!(f, "ok      {area}: {name}"),
            Verdict::Skipped(reason) => write!(f, "skipped {area}: {name} ({reason})"),
            Verdict::Failed(failure) => write!(f, "FAILED  {area}: {name}: {failure}"),
        }
    }
}

/// How the whole suite ended. Displays as one line a case and a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The outcomes, in the order of [`CASES`](super::CASES).
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// True if no case failed.
    pub fn is_success(&self) -> bool {
        self.outcomes.iter().all(Outcome::is_success)
    }

    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| !outcome.is_success())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.outcomes {
            writeln!(f, "{outcome}")?;
        }
        write!(
            f,
            "{} cases, {} failed",
            self.outcomes.len(),
            self.failures().count()
        )
    }
}
