//! A volume of 16 MiB of its own: a real file system that is really full.
//!
//! It is mounted in a namespace that `unshare` makes, which takes no privileges where the system lets users have namespaces of their own.
//! A process that sleeps keeps it; `nsenter` runs the broker within.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::server::{PATIENCE, Server};

const VOLUME_BYTES: usize = 16 << 20;

/// How soon a removal is to make room.
const SOON: Duration = Duration::from_secs(10);

/// A broker that has been full for so long has moved what it could.
const FOR_GOOD: Duration = Duration::from_millis(1500);

/// All stays in the journal until the volume is full.
const LATE: [&str; 4] = ["--fold-bytes", "16MiB", "--hot-tail-bytes-max", "64MiB"];

const BROKER: &str = env!("CARGO_BIN_EXE_streamkeeper");

struct Volume {
    keeper: Child,
    /// Where it is mounted.
    place: tempfile::TempDir,
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

impl Volume {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let script = format!(
            "mount -t tmpfs -o size={VOLUME_BYTES} none \"$0\" && echo mounted && exec sleep 1000"
        );
        let mut keeper = Command::new("unshare")
            .args(["-Urm", "sh", "-c", &script])
            .arg(place.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is not installed: apt install util-linux");
        let mut said = [0; 8];
        let stdout = keeper.stdout.as_mut().expect("stdout is piped");
        let mounted = std::io::Read::read_exact(stdout, &mut said);
        assert!(
            mounted.is_ok() && &said == b"mounted\n",
            "no volume can be mounted: this test needs user namespaces (sysctl kernel.unprivileged_userns_clone=1, or \
             kernel.apparmor_restrict_unprivileged_userns=0), or root with CAP_SYS_ADMIN"
        );
        Self { keeper, place }
    }

    /// Runs the broker's binary on the volume.
    fn broker(&self) -> Command {
        let mut enter = Command::new("nsenter");
        enter.args(["--preserve-credentials", "-U", "-m", "-t"]);
        enter.arg(self.keeper.id().to_string());
        enter.arg(BROKER);
        enter
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn serve(&self) -> Server {
        Server::start(self.broker(), &self.data())
    }

    fn tool(&self, verb: &str) -> Output {
        let mut tool = self.broker();
        tool.arg(verb).arg("--data").arg(self.data());
        tool.output().expect("the tool runs")
    }

    /// The volume as it is seen from outside.
    fn seen(&self) -> PathBuf {
        let within = self
            .place
            .path()
            .strip_prefix("/")
            .expect("an absolute path");
        let root = format!("/proc/{}/root", self.keeper.id());
        Path::new(&root).join(within)
    }
}

/// The broker says that it is full, and why.
fn is_full(server: &Server) {
    let why = server.until("/readyz", 503);
    assert!(why.starts_with("full"), "it says why: {why}");
}

/// Fills the volume with `streams` until the broker finds no more room by itself. Answers how many records each has got.
fn fill<const N: usize>(server: &Server, streams: [&str; N]) -> [usize; N] {
    let mut confirmed = [0; N];
    loop {
        for (sum, more) in confirmed.iter_mut().zip(server.fill(streams)) {
            *sum += more;
        }
        let refused = Instant::now();
        while server.ask("GET", "/readyz", b"").0 == 503 {
            if refused.elapsed() > FOR_GOOD {
                is_full(server);
                return confirmed;
            }
        }
    }
}

/// The broker takes writes again, soon.
fn has_room(server: &Server) -> Duration {
    let begun = Instant::now();
    server.until("/readyz", 200);
    let took = begun.elapsed();
    assert!(took < SOON, "room after {took:?}");
    took
}

#[test]
fn filled_by_a_stranger_it_refuses_serves_and_resumes_when_there_is_room() {
    let volume = Volume::new();
    let strange = volume.seen().join("strange");
    fs::write(&strange, vec![b's'; VOLUME_BYTES / 2]).expect("there is room");
    let server = volume.serve();
    let stream = "/v1/stream/s";
    server.create(stream);
    let [confirmed] = server.fill([stream]);
    assert!(confirmed > 10, "{confirmed} records fill it");
    is_full(&server);
    server.read_all(stream, confirmed);

    fs::remove_file(&strange).expect("it is there");
    has_room(&server);
    server.append(stream, 20);
    drop(server);
    let server = volume.serve();
    server.until("/readyz", 200);
    server.read_all(stream, confirmed + 20);
}

#[test]
fn filled_by_its_own_streams_it_is_freed_by_deleting_one() {
    let volume = Volume::new();
    let server = volume.serve();
    let [gone, stays] = ["/v1/stream/gone", "/v1/stream/stays"];
    server.create(stays);
    server.create(gone);
    let [mut brought, mut kept] = fill(&server, [gone, stays]);
    let first = brought;
    assert!(first > 50, "only {first} records");
    // More than once: each time the room must come back, but for blocks that a dead chunk shares with its neighbours.
    for round in 0..2 {
        server.read_all(stays, kept);
        server.read_all(gone, brought);
        let deleted = server.ask("DELETE", gone, b"");
        assert_eq!(deleted.0, 204, "round {round}: {}", deleted.1);
        has_room(&server);
        assert_eq!(server.ask("GET", gone, b"").0, 404);
        server.append(stays, 1);
        kept += 1;
        server.create(gone);
        [brought] = fill(&server, [gone]);
        assert!(
            brought > first * 3 / 4,
            "round {round}: {brought} of {first} records"
        );
    }
    drop(server);
    let checked = volume.tool("check");
    assert!(checked.status.success(), "{checked:?}");
    let server = volume.serve();
    server.read_all(stays, kept);
    server.read_all(gone, brought);
}

#[test]
fn filled_before_anything_was_folded_it_is_freed_all_the_same() {
    let volume = Volume::new();
    let server = Server::start_with(volume.broker(), &volume.data(), &LATE);
    let [gone, stays] = ["/v1/stream/gone", "/v1/stream/stays"];
    server.create(gone);
    server.create(stays);
    let [brought, kept] = fill(&server, [gone, stays]);
    assert_eq!(server.ask("DELETE", gone, b"").0, 204);
    has_room(&server);
    server.append(stays, brought / 2);
    drop(server);
    let server = volume.serve();
    server.read_all(stays, kept + brought / 2);
}

#[test]
fn filled_by_its_own_streams_it_is_freed_by_the_clock() {
    let volume = Volume::new();
    let server = volume.serve();
    let [passes, stays] = ["/v1/stream/passes", "/v1/stream/stays"];
    server.create(stays);
    let created = server.ask_with("PUT", passes, "stream-ttl: 10\r\n", b"");
    assert_eq!(created.0, 201, "{}", created.1);
    let [brought, kept] = fill(&server, [passes, stays]);
    let full = Instant::now();
    server.until("/readyz", 200);
    assert!(full.elapsed() < PATIENCE);
    assert_eq!(server.ask("GET", passes, b"").0, 404, "its time is over");
    server.append(stays, brought / 2);
    server.read_all(stays, kept + brought / 2);
}

#[test]
fn killed_while_it_is_full_it_starts_and_is_freed_by_deleting() {
    let volume = Volume::new();
    let server = volume.serve();
    let [gone, stays] = ["/v1/stream/gone", "/v1/stream/stays"];
    server.create(gone);
    server.create(stays);
    let [brought, kept] = fill(&server, [gone, stays]);
    drop(server);
    let server = volume.serve();
    server.read_all(stays, kept);
    server.read_all(gone, brought);
    assert_eq!(server.ask("DELETE", gone, b"").0, 204);
    has_room(&server);
    server.append(stays, brought / 2);
    server.read_all(stays, kept + brought / 2);
}

#[test]
fn tools_on_a_full_volume_say_so_and_harm_nothing() {
    let volume = Volume::new();
    let server = Server::start_with(volume.broker(), &volume.data(), &LATE);
    let [first, second] = ["/v1/stream/first", "/v1/stream/second"];
    server.create(first);
    server.create(second);
    let [one, two] = server.fill([first, second]);
    // At once: what fills the journal is not folded yet, and compacting has to.
    drop(server);
    // To the last byte: not even the tools' own writes find room.
    let filled = fs::write(volume.seen().join("strange"), vec![b's'; VOLUME_BYTES]);
    assert!(filled.is_err(), "it was full");

    let checked = volume.tool("check");
    assert!(checked.status.success(), "{checked:?}");
    let compacted = volume.tool("compact");
    let said = String::from_utf8_lossy(&compacted.stderr).into_owned();
    assert!(!compacted.status.success(), "{compacted:?}");
    assert!(said.contains("no room"), "{said}");
    let checked = volume.tool("check");
    assert!(checked.status.success(), "{checked:?}");

    fs::remove_file(volume.seen().join("strange")).expect("it is there");
    let server = volume.serve();
    server.read_all(first, one);
    server.read_all(second, two);
    assert_eq!(server.ask("DELETE", first, b"").0, 204);
    has_room(&server);
    server.append(second, 20);
    server.read_all(second, two + 20);
}
