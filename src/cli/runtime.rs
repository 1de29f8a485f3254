//! The tokio runtimes of client commands: one thread for one connection, or all cores to make load.

use std::future::Future;

use super::Failure;

/// Runs a client command to its end.
pub(super) fn client(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    run(tokio::runtime::Builder::new_current_thread(), command)
}

/// Runs a load generator to its end.
pub(super) fn load(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    run(tokio::runtime::Builder::new_multi_thread(), command)
}

fn run(
    mut builder: tokio::runtime::Builder,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("starting the runtime", error))?;
    let outcome = runtime.block_on(command);
    // A read of stdin may still block a thread of the runtime, and would hold up the end of the process.
    runtime.shutdown_background();
    outcome
}
