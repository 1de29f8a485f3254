//! SIGTERM and SIGINT as events.

use std::fmt;
use std::io;

use tokio::signal::unix::{self, SignalKind};

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Interrupt = 2,
    Terminate = 15,
}

impl Signal {
    /// Ends the process now, with the exit code that shells give for this signal.
    pub(super) fn exit_now(self) -> ! {
        tracing::warn!(signal = %self, "ended at once, without draining");
        std::process::exit(128 + self as i32)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// Both signals.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Takes both signals over from their default, which would kill the process.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// The next signal. Cancel safe.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}
