//! A volume of 16 MiB of its own: a real file system that is really full.
//!
//! It is mounted in a namespace that `unshare` makes, which takes no privileges where the system lets users have namespaces of their own.
//! A process that sleeps keeps it; `nsenter` runs the broker within.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::server::{PATIENCE, RECORD, Server};

const VOLUME_BYTES: usize = 16 << 20;

/// A broker that is found full by so many looks, with as much to fold by each, has moved what it could: they take longer than it rests
/// before it compacts again.
const LOOKS: u32 = 350;

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What is appended within this time is still in the journal: a broker folds what is older.
const UNFOLDED: Duration = Duration::from_secs(4);

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

/// How much is not folded yet, as the metrics tell.
fn unfolded(server: &Server) -> String {
    let (_, metrics) = server.ask("GET", "/metrics", b"");
    let told = |line: &str| {
        line.strip_prefix("streamkeeper_hot_tail_bytes ")
            .map(str::to_owned)
    };
    metrics.lines().find_map(told).expect("a metric")
}

/// Waits until there is room again, or has been none for so long that there will be none. Answers whether that is so.
fn is_full_for_good(server: &Server) -> bool {
    let (mut before, mut looks) = (unfolded(server), 0);
    while looks < LOOKS {
        let (status, why) = server.ask("GET", "/readyz", b"");
        if status == 200 {
            return false;
        }
        assert!(why.starts_with("full"), "it says why: {why}");
        std::thread::sleep(BETWEEN_LOOKS);
        let now = unfolded(server);
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
    }
    true
}

/// Fills the volume with `streams` until the broker finds no more room by itself. Answers how many records each has got.
pub fn fill<const N: usize>(server: &Server, streams: [&str; N]) -> [usize; N] {
    let mut confirmed = [0; N];
    loop {
        for (sum, more) in confirmed.iter_mut().zip(server.fill(streams)) {
            *sum += more;
        }
        if is_full_for_good(server) {
            return confirmed;
        }
    }
}

/// The broker takes writes again.
fn has_room(server: &Server) {
    server.until("/readyz", 200);
}

/// Writes as soon as there is room for it: more of it may come after the first.
fn once_there_is_room(server: &Server, write: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !write() {
        assert!(Instant::now() < deadline, "there is no room");
        has_room(server);
    }
}

/// Appends `count` records as there is room for them.
fn append(server: &Server, stream: &str, count: usize) {
    for _ in 0..count {
        once_there_is_room(server, || server.takes("POST", stream, &RECORD));
    }
}

#[test]
fn filled_by_a_stranger_it_refuses_serves_and_resumes_when_there_is_room() {
    let volume = Volume::new();
    let strange = volume.seen().join("strange");
    fs::write(&strange, vec![b's'; VOLUME_BYTES / 2]).expect("there is room");
    let server = volume.serve();
    let stream = "/v1/stream/s";
    server.create(stream);
    let [confirmed] = fill(&server, [stream]);
    assert!(confirmed > 10, "{confirmed} records fill it");
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
        append(&server, stays, 1);
        kept += 1;
        once_there_is_room(&server, || server.takes("PUT", gone, b""));
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
    append(&server, stays, brought / 2);
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
    let created = server.ask_with("PUT", passes, "stream-ttl: 30\r\n", b"");
    assert_eq!(created.0, 201, "{}", created.1);
    let [brought, kept] = fill(&server, [passes, stays]);
    has_room(&server);
    assert_eq!(server.ask("GET", passes, b"").0, 404, "its time is over");
    append(&server, stays, brought / 2);
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
    append(&server, stays, brought / 2);
    server.read_all(stays, kept + brought / 2);
}

/// A volume that a killed broker leaves with so many records in each of `streams`, all of them in its journal.
fn killed(streams: [&str; 2], records: usize) -> Volume {
    let attempt = |_| {
        let volume = Volume::new();
        let server = Server::start_with(volume.broker(), &volume.data(), &LATE);
        let begun = Instant::now();
        for stream in streams {
            server.create(stream);
            server.append(stream, records);
        }
        drop(server);
        (begun.elapsed() < UNFOLDED).then_some(volume)
    };
    let killed = (0..10).find_map(attempt);
    killed.expect("so few appends take no time")
}

#[test]
fn tools_on_a_full_volume_say_so_and_harm_nothing() {
    const RECORDS: usize = 30;
    let [first, second] = ["/v1/stream/first", "/v1/stream/second"];
    // What is in the journal is not folded yet, and compacting has to.
    let volume = killed([first, second], RECORDS);
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
    server.read_all(first, RECORDS);
    server.read_all(second, RECORDS);
    assert_eq!(server.ask("DELETE", first, b"").0, 204);
    has_room(&server);
    append(&server, second, 20);
    server.read_all(second, RECORDS + 20);
}
