//! The official Durable Streams suite passes: every test, none skipped, on streams on disk and on streams in memory.
//!
//! The suite is the npm package named in `package.json`, installed from the lock file beside it and run by vitest from
//! `suite.test.js` against the real binary. Needs Node.js and npm, and fails without them: a promise that was not
//! checked is not kept.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test helper fails as a test does"
)]

#[path = "../outside/broker.rs"]
mod broker;
#[path = "../outside/npm.rs"]
mod npm;

use std::fmt::Write as _;
use std::fs;

use broker::Broker;
use npm::Packages;
use serde_json::Value;

/// Tests of the suite, those of the subscriptions included.
const TESTS: usize = 338;

/// Below the time that a test of the suite waits for a long-poll to end, and loopback webhooks for its receivers.
const FOR_THE_SUITE: [&str; 4] = [
    "--long-poll-timeout",
    "2s",
    "--webhooks-allow-loopback",
    "true",
];

#[test]
fn the_official_suite_passes_on_streams_on_disk() {
    every_test_passes("durable");
}

#[test]
fn the_official_suite_passes_on_streams_in_memory() {
    every_test_passes("memory");
}

#[track_caller]
fn every_test_passes(storage: &str) {
    let packages = Packages::install("conformance");
    let arguments = [&FOR_THE_SUITE[..], &["--storage", storage]].concat();
    let broker = Broker::start(&arguments);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let results = directory.path().join("results.json");
    let ran = packages
        .node()
        .args(["node_modules/vitest/vitest.mjs", "run", "--reporter=json"])
        .arg(format!("--outputFile={}", results.display()))
        .env("STREAMKEEPER_URL", format!("http://{}", broker.http))
        .output()
        .expect("node runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    let results = fs::read(&results);
    let results =
        results.unwrap_or_else(|error| panic!("vitest wrote no results: {error}\n{said}"));
    let results = serde_json::from_slice(&results).expect("vitest writes JSON");
    let (passed, others) = outcome(&results);
    assert!(
        passed == TESTS && others.is_empty(),
        "{passed} of {TESTS} tests passed with streams {storage}; {} did not\n{}{said}",
        others.len(),
        shown(&others)
    );
}

/// A test that did not pass.
struct NotPassed<'a> {
    name: &'a str,
    status: &'a str,
    why: &'a str,
}

/// How many tests passed, and all others.
fn outcome(results: &Value) -> (usize, Vec<NotPassed<'_>>) {
    let files = results["testResults"].as_array().into_iter().flatten();
    let tests = files.flat_map(|file| file["assertionResults"].as_array().into_iter().flatten());
    let (mut passed, mut others) = (0, Vec::new());
    for test in tests {
        match test["status"].as_str().unwrap_or_default() {
            "passed" => passed += 1,
            status => others.push(NotPassed {
                name: test["fullName"].as_str().unwrap_or_default(),
                status,
                why: test["failureMessages"][0].as_str().unwrap_or_default(),
            }),
        }
    }
    (passed, others)
}

fn shown(others: &[NotPassed<'_>]) -> String {
    others.iter().fold(String::new(), |mut text, test| {
        let NotPassed { name, status, why } = test;
        let why = why.lines().next().unwrap_or_default();
        writeln!(text, "{status}: {name}\n    {why}").expect("a string takes text");
        text
    })
}
