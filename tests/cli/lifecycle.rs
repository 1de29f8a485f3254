//! Start and end of the broker process.

use std::time::{Duration, Instant};

use super::support::{Broker, DEADLINE, Following, serve};

#[test]
fn sigterm_drains_and_exits_0_and_the_data_is_there_again() {
    let broker = Broker::start();
    broker
        .feed(&["append", "a", "--create", "--lines"], "1\n2\n")
        .ok();
    let tail = Following::start(&mut broker.command(&["tail", "a", "--from", "start"]));
    assert_eq!(tail.line().as_deref(), Some("1"));
    let (code, stderr, directory) = broker.terminate();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("draining") && stderr.contains("drained"),
        "{stderr}"
    );
    drop(tail);

    let again = Broker::start_in(directory, &[]);
    assert_eq!(again.run(&["read", "a"]).ok(), "1\n2\n");
}

#[test]
fn sigint_drains_too() {
    let broker = Broker::start();
    broker.process.signal("INT");
    let (code, stderr) = broker.process.end();
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn what_was_confirmed_survives_sigkill() {
    let broker = Broker::start();
    broker
        .feed(&["append", "a", "--create", "--lines"], "1\n2\n")
        .ok();
    broker.process.signal("KILL");
    let Broker {
        process, directory, ..
    } = broker;
    assert_eq!(process.end().0, None);
    let again = Broker::start_in(directory, &[]);
    assert_eq!(again.run(&["read", "a"]).ok(), "1\n2\n");
}

#[test]
fn tail_goes_on_where_it_was_after_a_restart_of_the_broker() {
    let sockets = tempfile::tempdir().expect("a temporary directory");
    let address = format!("unix:{}", sockets.path().join("sk.sock").display());
    let listen = ["--listen", address.as_str()];
    let broker = Broker::start_with(&listen);
    broker.feed(&["append", "a", "--create"], "before").ok();
    let mut follow = broker.command(&["tail", "a", "--from", "start", "--server", &address]);
    let tail = Following::start(&mut follow);
    assert_eq!(tail.line().as_deref(), Some("before"));
    let (code, stderr, directory) = broker.terminate();
    assert_eq!(code, Some(0), "{stderr}");

    let broker = Broker::start_in(directory, &listen);
    broker.feed(&["append", "a"], "after").ok();
    assert_eq!(tail.line().as_deref(), Some("after"));
    broker.run(&["close", "a"]).ok();
    assert_eq!(tail.end().0, Some(0));
}

#[test]
fn a_second_broker_on_the_same_data_says_who_has_it() {
    let broker = Broker::start();
    let second = Following::start(&mut serve(broker.directory.path()));
    let (code, stderr) = second.end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("is in use by another streamkeeper"),
        "{stderr}"
    );
    let pid = std::fs::read_to_string(broker.directory.path().join("streamkeeper.pid"));
    let pid = pid.expect("the broker leaves a note");
    assert!(
        stderr.contains(&format!("process {}", pid.trim())),
        "{stderr}"
    );
}

#[test]
fn an_address_that_is_taken_is_said_before_the_data_is_touched() {
    let broker = Broker::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("data");
    let mut command = super::support::program();
    command.arg("serve").arg("--data").arg(&data);
    command.args(["--listen", &broker.address, "--http", "off"]);
    let (code, stderr) = Following::start(&mut command).end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&broker.address), "{stderr}");
    assert!(!data.exists());
}

#[test]
fn a_unix_socket_is_served_and_its_file_removed_at_the_end() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let socket = directory.path().join("sk.sock");
    let address = format!("unix:{}", socket.display());
    let broker = Broker::start_with(&["--listen", &address]);
    // The lines come in the order of the flags; the first one is a TCP port.
    assert_eq!(
        broker.process.line(),
        Some(format!("listening on {address}"))
    );
    broker.run(&["ls", "--server", &address]).ok();
    broker.run(&["healthcheck", "--server", &address]).ok();
    assert_eq!(broker.terminate().0, Some(0));
    assert!(!socket.exists());
}

#[test]
fn json_logs_are_one_object_a_line() {
    let broker = Broker::start_with(&["--log-format", "json"]);
    let (_, stderr, _directory) = broker.terminate();
    for line in stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
        assert!(
            line["message"].is_string() && line["level"] == "INFO",
            "{line}"
        );
    }
    assert!(stderr.lines().count() >= 2);
}

/// A peer that does not leave keeps a drain waiting until its grace is over.
fn connect_and_stay(broker: &Broker) -> std::net::TcpStream {
    use std::io::Read as _;
    let mut peer = std::net::TcpStream::connect(&broker.address).expect("connected");
    peer.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let mut info = [0; 4];
    peer.read_exact(&mut info).expect("the server speaks first");
    peer
}

/// Waits until something is so.
#[track_caller]
fn wait(is_so: impl Fn() -> bool, otherwise: &str) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{otherwise}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_code_of_the_start_does_not_stay_in_memory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // It lets go only once it has said that it listens: until then there is time to look.
    let mut command = serve(directory.path());
    let (process, release) = Following::start_held(command.args(["--http", "off"]));
    let owned = directory.path().join("streamkeeper.pid");
    wait(|| owned.exists(), "the broker does not open its data");
    let most = process.bytes_of_files_in_memory();
    drop(release);
    let broker = Broker::serving(process, directory);
    let let_go = || broker.process.bytes_of_files_in_memory() < most / 4 * 3;
    wait(let_go, "the code stays");
    // What was let go of comes back when it is used.
    broker.feed(&["append", "a", "--create"], "1").ok();
    assert_eq!(broker.run(&["read", "a"]).ok(), "1\n");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let long = [
        "--drain-grace",
        "10m",
        "--handshake-timeout",
        "10m",
        "--write-timeout",
        "10m",
    ];
    let broker = Broker::start_with(&long);
    // One that is in the middle of a frame, which a drain lets finish.
    let mut peer = connect_and_stay(&broker);
    std::io::Write::write_all(&mut peer, &[0, 0, 0, 100, 1]).expect("written");
    broker.process.signal("TERM");
    let is_draining = || broker.get("/readyz").contains("draining");
    wait(is_draining, "the broker does not begin to drain");
    broker.process.signal("TERM");
    let (code, stderr) = broker.process.end();
    assert_eq!(code, Some(143), "{stderr}");
    drop(peer);
}
