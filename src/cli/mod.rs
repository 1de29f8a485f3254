//! The command line: one subcommand per file, and what they share.
//!
//! `serve` runs the broker; the verbs (`append`, `tail`, ...) and `bench` are clients and see the broker only through
//! `streamkeeper-client`, as any other program does. `target` connects, `output` prints, `failure` maps every
//! error to an exit code. Records go to stdout as they are; everything else a person reads goes to stderr.

mod bench;
mod failure;
mod output;
mod position;
mod runtime;
mod serve;
mod target;
mod tools;
mod verbs;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use failure::Failure;

/// What the exit codes mean, shown after the help of every command.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the broker refused the request
  2  wrong usage or configuration
  3  no connection to the broker
  4  no such stream
  5  the broker cannot serve now, or the outcome is unknown
  6  reading, writing or the data itself failed";

/// Keeps durable, append-only streams next to an application.
#[derive(Debug, Parser)]
#[command(name = "streamkeeper", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Create(verbs::create::Create),
    Append(verbs::append::Append),
    Read(verbs::read::Read),
    Tail(verbs::tail::Tail),
    Close(verbs::close::Close),
    Rm(verbs::rm::Rm),
    Ls(verbs::ls::Ls),
    Stat(verbs::stat::Stat),
    Bench(Box<bench::Bench>),
    Check(tools::check::Check),
    Backup(tools::backup::Backup),
    Restore(tools::restore::Restore),
    Compact(tools::compact::Compact),
    Healthcheck(verbs::healthcheck::Healthcheck),
    Completions(Completions),
}

/// Write a completion script for a shell to stdout
#[derive(Debug, clap::Args)]
struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "streamkeeper", &mut script);
        io::stdout()
            .lock()
            .write_all(&script)
            .map_err(Failure::output)
    }
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Serve(command) => command.run(),
            Self::Create(command) => runtime::client(command.run()),
            Self::Append(command) => runtime::client(command.run()),
            Self::Read(command) => runtime::client(command.run()),
            Self::Tail(command) => runtime::client(command.run()),
            Self::Close(command) => runtime::client(command.run()),
            Self::Rm(command) => runtime::client(command.run()),
            Self::Ls(command) => runtime::client(command.run()),
            Self::Stat(command) => runtime::client(command.run()),
            Self::Bench(command) if command.is_lean() => runtime::client(command.run()),
            Self::Bench(command) => runtime::load(command.run()),
            Self::Check(command) => command.run(),
            Self::Backup(command) => command.run(),
            Self::Restore(command) => command.run(),
            Self::Compact(command) => command.run(),
            Self::Healthcheck(command) => runtime::client(command.run()),
            Self::Completions(command) => command.run(),
        }
    }
}

/// Parses the arguments of this process, runs what they ask for, and says how it ended.
pub fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
