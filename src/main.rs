//! The `streamkeeper` binary: everything is in [`streamkeeper::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    streamkeeper::cli::main()
}
