//! The published clients of the Durable Streams protocol work against Streamkeeper, unchanged.
//!
//! npm's `@durable-streams/client` runs `javascript.mjs`, the Python package `durable-streams` runs `python.py`, each against a real
//! binary of its own; both are installed once, in the versions named beside them. Needs Node.js with npm, and Python
//! 3.10 or newer with venv, and fails without them.

#[path = "../outside/broker.rs"]
mod broker;
#[path = "../outside/npm.rs"]
mod npm;
mod python;

use std::process::Command;

use broker::Broker;
use npm::Packages;

#[test]
fn the_published_javascript_client_works_unchanged() {
    let packages = Packages::install("clients");
    every_step_is_taken(packages.node().arg("javascript.mjs"), 9);
}

#[test]
fn the_published_python_client_works_unchanged() {
    let python = python::installed();
    every_step_is_taken(
        Command::new(python).args(["-B", "tests/clients/python.py"]),
        10,
    );
}

/// Runs a client's script against a broker of its own: it says a line for each step that went as it should.
#[track_caller]
fn every_step_is_taken(script: &mut Command, steps: usize) {
    let broker = Broker::start(&["--long-poll-timeout", "2s"]);
    let ran = script
        .env("STREAMKEEPER_URL", format!("http://{}", broker.http))
        .output();
    let ran = ran.expect("the script runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    let wrong = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{}\n{said}{wrong}", ran.status);
    let taken = said.lines().filter(|line| line.starts_with("ok: "));
    assert_eq!(taken.count(), steps, "{said}{wrong}");
}
