//! The contract suite: every rule of the nine operations as a named case that any [`Storage`] can be held to.
//!
//! Whoever writes a backend implements [`Subject`] (how to open an empty store) and either calls [`run_all`], which
//! answers a [`Report`] with one line a case, or puts [`contract_tests!`](crate::contract_tests) into a test file to
//! get one test per case. `examples/custom_storage.rs` shows both the backend and the call.
//!
//! - Time is a manual clock that only the suite moves. A backend must take the time from the [`Clock`] it is
//!   opened with; the length of a long-poll may follow that clock or real time.
//! - Stream names are the names of the cases: `open` may hand out one shared store, as long as it has not been
//!   through the suite before.
//! - Where the contract lets a backend be late (retention, notice of an expiry), a case polls with a deadline.
//! - Not covered, since only a backend knows its settings: limits on record size and on producers, faults, and
//!   power loss. A backend that keeps data over a restart says so with [`Subject::reopen`].

mod append;
mod close;
mod concurrency;
mod create;
mod delete;
mod durability;
mod expectation;
mod expiry;
mod fixture;
mod json;
mod live;
mod metadata;
mod notifications;
mod producers;
mod read;
mod report;
mod retention;
mod table;
mod value;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;

use self::expectation::{Ran, Stop};
use self::fixture::Fixture;
pub use self::report::{Failure, Outcome, Report, Verdict};
use super::Storage;
use crate::types::{Clock, CreateOptions};

/// The longest a case may take. Cases end in milliseconds; this only ends one whose backend hangs.
const CASE_DEADLINE: Duration = Duration::from_secs(60);

/// A backend under test: how to open it.
pub trait Subject: Sync {
    /// The backend.
    type Storage: Storage;

    /// Opens an empty store that takes the time from `clock`. Called once per case.
    ///
    /// What goes wrong here is no case's business: panic with what failed.
    fn open(&self, clock: Clock) -> impl Future<Output = Self::Storage> + Send;

    /// Opens again what `storage` held, as after a restart; `None` if the backend keeps nothing over one, and
    /// the cases that need it are skipped.
    fn reopen(
        &self,
        storage: Self::Storage,
        clock: Clock,
    ) -> impl Future<Output = Option<Self::Storage>> + Send {
        drop((storage, clock));
        std::future::ready(None)
    }

    /// The options that every stream of the suite is created with, before a case sets its own: to choose the
    /// storage kind.
    fn options(&self) -> CreateOptions {
        CreateOptions::default()
    }
}

/// One rule of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The name, unique, an identifier.
    pub name: &'static str,
    /// Which part of the contract it belongs to.
    pub area: &'static str,
    /// The rule, as a sentence.
    pub rule: &'static str,
}

/// Runs every case in the order of [`CASES`].
///
/// Must run on a tokio runtime with time; on a multi-threaded one the concurrent cases are worth more.
pub async fn run_all<S: Subject>(subject: &S) -> Report {
    let mut outcomes = Vec::with_capacity(CASES.len());
    for case in CASES {
        outcomes.push(run_case(case, subject).await);
    }
    Report { outcomes }
}

/// Runs the case called `name`; `None` if there is none.
pub async fn run<S: Subject>(name: &str, subject: &S) -> Option<Outcome> {
    let case = CASES.iter().find(|case| case.name == name)?;
    Some(run_case(case, subject).await)
}

async fn run_case<S: Subject>(case: &'static Case, subject: &S) -> Outcome {
    let steps = async {
        let fixture = Fixture::open(subject, case).await?;
        steps_of(case.name, fixture).await
    };
    let ended = AssertUnwindSafe(tokio::time::timeout(CASE_DEADLINE, steps))
        .catch_unwind()
        .await;
    let verdict = match ended {
        Ok(Ok(Ok(()))) => Verdict::Passed,
        Ok(Ok(Err(Stop::Skipped(reason)))) => Verdict::Skipped(reason),
        Ok(Ok(Err(Stop::Failed(failure)))) => Verdict::Failed(failure),
        Ok(Err(_)) => Verdict::Failed(Failure::late("the case", CASE_DEADLINE)),
        Err(panic) => Verdict::Failed(Failure::panicked(message_of(panic.as_ref()))),
    };
    Outcome { case, verdict }
}

/// What a panic said.
fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)")
}

/// The steps of one case, sent anywhere: checks on the way that the futures of a backend are `Send`.
type Steps<'a> = Pin<Box<dyn Future<Output = Ran> + Send + 'a>>;

macro_rules! dispatch {
    (() $($area:ident { $($name:ident: $rule:literal,)* })*) => {
        /// Every case, in the order [`run_all`] takes them.
        pub const CASES: &[Case] = &[$($(
            Case { name: stringify!($name), area: stringify!($area), rule: $rule },
        )*)*];

        fn steps_of<'a, S: Subject>(name: &str, fixture: Fixture<'a, S>) -> Steps<'a> {
            match name {
                $($(stringify!($name) => Box::pin($area::$name(fixture)),)*)*
                _ => unreachable!("steps are only asked for by a name of `CASES`"),
            }
        }
    };
}

crate::__contract_cases!([dispatch]());

/// Expands to one `#[tokio::test]` per case of the [contract suite](crate::storage::contract).
///
/// Takes an expression for the [`Subject`], evaluated in each test. Put it into a module of its own; the crate needs
/// `tokio` with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! contract_tests {
    ($subject:expr) => {
        $crate::__contract_cases!([$crate::__contract_tests]($subject));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __contract_tests {
    (($subject:expr) $($area:ident { $($name:ident: $rule:literal,)* })*) => {
        $($(
            #[doc = $rule]
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let outcome = $crate::storage::contract::run(stringify!($name), &$subject).await;
                outcome.expect("the name comes from the table of cases").assert_passed();
            }
        )*)*
    };
}
