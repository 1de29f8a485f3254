//! The lines of the README that show HTTP work as printed.
//!
//! They are taken from the README and run by `bash` against the real binary; only the port differs, and the second in which two readers
//! come is as long as it takes them. Needs `curl` 7.82 or newer, and fails without it.

#[path = "outside/broker.rs"]
mod broker;

use std::process::Command;

use broker::Broker;

/// The heading that the lines stand under.
const HEADING: &str = "\n## The same over HTTP\n";

/// Said where curl is missing or too old for `--json`.
const HOW_TO_GET_CURL: &str = "curl 7.82 or newer is needed; get it from the system's packages (`apt install curl`, \
    `dnf install curl`, `brew install curl`) or from curl.se";

/// Where the lines wait until two readers are there.
const PAUSE: &str = "\nsleep 1\n";

/// Waits until the broker at this address has two readers; fails after a minute.
fn until_two_read(http: &str) -> String {
    // `grep` reads to the end: a `curl` that is cut off would fail.
    let both = "grep '^streamkeeper_http_live_readers 2$' > /dev/null";
    let look = format!("curl -s http://{http}/metrics | {both}");
    format!("\nfor _ in $(seq 600); do {look} && break; sleep 0.1; done\n{look}\n")
}

/// The first block of shell under the heading.
fn lines() -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).expect("the README is readable");
    let (_, section) = readme.split_once(HEADING).expect("the heading is there");
    let (_, block) = section.split_once("```sh\n").expect("a block of shell");
    let (block, _) = block.split_once("```").expect("the block ends");
    block.to_owned()
}

#[test]
fn the_lines_that_show_http_work_as_printed() {
    let version = Command::new("curl").arg("--version").output();
    assert!(version.expect(HOW_TO_GET_CURL).status.success());
    let broker = Broker::start(&[]);
    let lines = lines();
    let script = lines.replace("127.0.0.1:4437", &broker.http);
    assert_ne!(lines, script, "the lines name the default port");
    assert_eq!(script.matches(PAUSE).count(), 1, "{script}");
    let script = script.replace(PAUSE, &until_two_read(&broker.http));
    let mut bash = Command::new("bash");
    let ran = bash.args(["-e", "-o", "pipefail", "-c", &script]).output();
    let ran = ran.expect("bash runs the lines");
    let said = String::from_utf8_lossy(&ran.stdout).replace('\r', "");
    let wrong = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success(),
        "{}\n{said}{wrong}\n{HOW_TO_GET_CURL}",
        ran.status
    );

    // Two of the readers write at once, and no body ends with a line end: a status may stand behind one.
    let expected = [
        ("HTTP/1.1 200 OK\n", 2),
        ("HTTP/1.1 201 Created\n", 1),
        ("HTTP/1.1 204 No Content\n", 5),
        ("HTTP/1.1 ", 8),
    ];
    for (status, times) in expected {
        let found = said.matches(status).count();
        assert_eq!(found, times, "{status}\n{said}{wrong}");
    }
    // Read, long-polled and as an event.
    for (item, times) in [("apple", 2), ("banana", 2), ("cherry", 2), ("damson", 2)] {
        let found = said.matches(item).count();
        assert_eq!(found, times, "{item}\n{said}{wrong}");
    }
    assert!(said.contains(r#""streamClosed":true"#), "{said}{wrong}");
}
