//! The tokio runtime of a client command: one thread, for one connection.

use std::future::Future;

use super::Failure;

/// Runs a client command to its end.
pub(super) fn client(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::io("starting the runtime", error))?;
    let outcome = runtime.block_on(command);
    // A read of stdin may still block a thread of the runtime, and would hold up the end of the process.
    runtime.shutdown_background();
    outcome
}
