//! How a command fails: what is said, and the exit code.
//!
//! The codes are part of the interface (`--help` lists them): scripts tell "no such stream" from "no broker" by
//! them. One match maps the client's errors to codes; messages end in what to do, where there is something.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use streamkeeper_client::{EndReason, Error, ErrorCode};

/// A command did not do what it was asked to.
#[derive(Debug)]
pub(super) enum Failure {
    /// Whoever read our output has gone: nothing is wrong, there is only nobody to write for.
    OutputGone,
    /// An error of the client or an answer of the broker; `what` was being done.
    Client { what: String, error: Error },
    /// Anything else, with its exit code.
    Other { message: String, code: Code },
}

/// Exit codes; see the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Refused = 1,
    Usage = 2,
    NoConnection = 3,
    NotFound = 4,
    Unavailable = 5,
    Broken = 6,
}

impl Failure {
    /// Names what was being done when the client failed: for `map_err`.
    pub(super) fn during(what: impl Into<String>) -> impl FnOnce(Error) -> Self {
        let what = what.into();
        move |error| Self::Client { what, error }
    }

    /// The arguments contradict each other or the input.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Other {
            message: message.into(),
            code: Code::Usage,
        }
    }

    /// Something of this machine failed.
    pub(super) fn io(what: &str, error: impl fmt::Display) -> Self {
        Self::Other {
            message: format!("{what} failed: {error}"),
            code: Code::Broken,
        }
    }

    /// Writing to stdout failed.
    pub(super) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputGone,
            _ => Self::io("writing to stdout", error),
        }
    }

    /// Says what went wrong on stderr and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        let Some((message, code)) = self.message() else {
            return ExitCode::SUCCESS;
        };
        // If stderr is gone too, the exit code still tells.
        writeln!(io::stderr().lock(), "streamkeeper: {message}").ok();
        ExitCode::from(code as u8)
    }

    fn message(&self) -> Option<(String, Code)> {
        match self {
            Self::OutputGone => None,
            Self::Client { what, error } => {
                let hint = hint(error)
                    .map(|hint| format!("\n  {hint}"))
                    .unwrap_or_default();
                Some((format!("{what}: {error}{hint}"), code(error)))
            }
            Self::Other { message, code } => Some((message.clone(), *code)),
        }
    }
}

/// The exit code of a client error.
fn code(error: &Error) -> Code {
    match error {
        Error::Refused(refusal) => refusal.code.map_or(Code::Refused, code_of_refusal),
        Error::Address { .. } | Error::Invalid { .. } => Code::Usage,
        Error::Connect { .. } => Code::NoConnection,
        Error::TokenMissing | Error::TooLarge { .. } | Error::EpochReused { .. } => Code::Refused,
        Error::Unconfirmed { .. }
        | Error::Broken { .. }
        | Error::Silent { .. }
        | Error::Disconnected { .. }
        | Error::TimedOut { .. }
        | Error::Closed
        | Error::Lost { .. } => Code::Unavailable,
        Error::Ended { reason, .. } => match reason {
            EndReason::Deleted | EndReason::Expired => Code::NotFound,
            EndReason::Corrupt => Code::Broken,
            EndReason::Unavailable => Code::Unavailable,
            _ => Code::Refused,
        },
        // Version, Protocol, Corrupt, and what a later client may add.
        _ => Code::Broken,
    }
}

fn code_of_refusal(code: ErrorCode) -> Code {
    match code {
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::Unavailable
        | ErrorCode::Draining
        | ErrorCode::StoreFaulted
        | ErrorCode::StoreFull
        | ErrorCode::TooManyConnections => Code::Unavailable,
        ErrorCode::Corrupt | ErrorCode::Internal => Code::Broken,
        _ => Code::Refused,
    }
}

/// What to do, where the error itself does not say.
fn hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::Connect { .. } => Some(
            "is the broker running? start it with `streamkeeper serve`, or name it with --server ADDR",
        ),
        Error::TokenMissing => Some("give it with --token or STREAMKEEPER_TOKEN"),
        Error::Unconfirmed { .. } => Some("look with `streamkeeper stat` before you repeat it"),
        Error::Refused(refusal) => match refusal.code? {
            ErrorCode::NotFound => {
                Some("`streamkeeper ls` lists the streams, `streamkeeper create` makes one")
            }
            ErrorCode::OffsetTrimmed => Some("use --from -1 to begin at the earliest record kept"),
            ErrorCode::Unauthorized => Some("check --token or STREAMKEEPER_TOKEN"),
            ErrorCode::Draining | ErrorCode::Unavailable => Some("try again in a moment"),
            ErrorCode::StoreFaulted => {
                Some("the broker's log says what broke; it must be restarted")
            }
            _ => None,
        },
        _ => None,
    }
}
