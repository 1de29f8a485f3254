//! SIGTERM under load: every confirmed record is there, every waiter is answered, followers are told, and the process ends with 0,
//! within the grace period.
//!
//! The real binary, with appenders over TCP (many appends under way) and over HTTP, subscribers, readers that wait, long-polls and
//! server-sent events, on a stream that is written to and on one where nothing happens. Then a signal, in the middle of it.
//! What was sent before the signal must be answered; what is sent after it may also meet a closed connection. Afterwards the
//! broker starts again on the same data, which must hold what was confirmed, at its place, once, and nothing that was refused.
//!
//! Peers that read nothing are cut off; it ends in time all the same.
//!
//! Random but seeded: `STREAMKEEPER_SEED=n` runs one seed again.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test helper fails as a test does, and says which seed it ran"
)]

#[path = "outside/events.rs"]
mod events;
#[path = "broker/fixture.rs"]
#[expect(dead_code, reason = "shared with tests that start a broker in process")]
mod fixture;
#[path = "outside/http.rs"]
mod http;
#[path = "outside/narrow.rs"]
mod narrow;
#[path = "hammer/random.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod random;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use events::Events;
use fixture::{Client, append, encoded, records};
use http::{Http, Lost, Request};
use narrow::narrow;
use random::{Random, seeds};
use streamkeeper_protocol::command::{Read, Start};
use streamkeeper_protocol::{Command, ErrorCode, Event};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const JSON: &str = "application/json";
/// Written to all the time.
const BUSY: &str = "busy";
/// Holds one record.
const QUIET: &str = "quiet";
/// Connections of each kind.
const PEERS: u64 = 6;
/// Appends that one connection over TCP has under way.
const WINDOW: usize = 64;
/// What a shutdown may take, as the broker is told: from the signal to the end of its process.
const GRACE: Duration = Duration::from_secs(20);
/// Only a bug takes this long; more than the grace, so that one that is not kept is told with the log.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker process; killed when dropped.
struct Broker {
    process: Child,
    http: String,
    tcp: String,
}

impl Broker {
    fn start(data: &Path) -> Self {
        let mut process = Process::new(env!("CARGO_BIN_EXE_streamkeeper"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STREAMKEEPER_") {
                process.env_remove(name);
            }
        }
        let mut process = process
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--drain-grace", &format!("{}s", GRACE.as_secs())])
            .args(["--log-level", "info", "--fold-bytes", "256KiB", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let mut announced = |what: &str| {
            let at = lines.find_map(|line| line.strip_prefix(what).map(str::to_owned));
            at.expect("the broker says where it listens")
        };
        let http = announced("http on ");
        let tcp = announced("listening on ");
        Self { process, http, tcp }
    }

    fn terminate(&self) {
        let pid = self.process.id().to_string();
        let sent = Process::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(sent.expect("`kill` runs").success());
    }

    /// Its exit code and its log.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let stderr = self.process.stderr.as_mut().expect("stderr is piped");
        stderr.read_to_string(&mut log).expect("the log is text");
        (self.process.wait().expect("it ends").code(), log)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended, as it should.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What became of one append of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Stored, at this offset.
    Confirmed(u64),
    Refused,
    /// Sent after the signal, and met a connection that was over.
    Unanswered,
}

/// What all peers of a round share.
#[derive(Debug, Default)]
struct Round {
    signalled: AtomicBool,
    /// Numbers for records.
    next: AtomicU64,
}

impl Round {
    fn record(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn is_signalled(&self) -> bool {
        self.signalled.load(Ordering::SeqCst)
    }
}

/// What a peer brings home.
enum Home {
    Appends(Vec<(u64, Fate)>),
    /// Records of the busy stream from its beginning.
    Saw(Vec<u64>),
    Waited,
}

#[test]
fn sigterm_under_load_loses_nothing_and_leaves_nobody_waiting() {
    for seed in seeds(&[1, 2]) {
        println!("STREAMKEEPER_SEED={seed}");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(shut_down(Random::new(seed)));
    }
}

async fn shut_down(mut random: Random) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut broker = Broker::start(directory.path());
    let http = Http::connect(&broker.http).await.expect("it listens");
    for stream in [BUSY, QUIET] {
        let create = Request::new("PUT", stream).header("Content-Type", JSON);
        let created = http.ask(&create).await.expect("answered");
        assert_eq!(created.status, 201);
    }
    let one = Request::new("POST", QUIET).body(JSON, "7");
    assert_eq!(http.ask(&one).await.map(|answer| answer.status), Ok(204));

    let round = Arc::new(Round::default());
    let mut peers = JoinSet::new();
    for _ in 0..PEERS {
        peers.spawn(append_over_tcp(broker.tcp.clone(), Arc::clone(&round)));
        peers.spawn(append_over_http(broker.http.clone(), Arc::clone(&round)));
        peers.spawn(subscribe(broker.tcp.clone()));
        peers.spawn(wait_over_tcp(broker.tcp.clone()));
        peers.spawn(long_poll(broker.http.clone()));
        peers.spawn(follow_events(broker.http.clone(), BUSY));
        peers.spawn(follow_events(broker.http.clone(), QUIET));
    }
    sleep(Duration::from_millis(random.between(50, 400))).await;
    round.signalled.store(true, Ordering::SeqCst);
    broker.terminate();
    let signalled = Instant::now();
    let ended = timeout(PATIENCE, everybody(&mut peers)).await;
    let (appends, seen) = ended.expect("everybody is told");
    let (code, log) = broker.end();
    let took = signalled.elapsed();
    assert_eq!(code, Some(0), "{log}");
    assert!(took <= GRACE, "ended after {took:?}: {log}");
    assert!(log.contains("drained") && log.contains("cut=0"), "{log}");
    assert!(!log.contains("not waited for"), "{log}");

    let broker = Broker::start(directory.path());
    let stored = read_whole(&broker).await;
    check(&stored, &appends, &seen);
}

#[tokio::test]
async fn peers_that_read_nothing_do_not_keep_it_from_ending_in_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut broker = Broker::start(directory.path());
    let mut writer = connect(&broker.tcp).await;
    writer.create(BUSY).await;
    let record = vec![b'x'; 60_000];
    for _ in 0..100 {
        writer.append(BUSY, &[&record]).await;
    }
    let mut subscriber = Client::new(narrow(&broker.tcp).await);
    subscriber.shake_hands().await;
    subscriber
        .subscribe(1, BUSY, Start::Beginning, u64::MAX)
        .await;
    let mut reader = narrow(&broker.http).await;
    let request = format!("GET /v1/stream/{BUSY}?offset=-1&live=sse HTTP/1.1\r\nHost: x\r\n\r\n");
    let sent = tokio::io::AsyncWriteExt::write_all(&mut reader, request.as_bytes()).await;
    sent.expect("sent");
    reader.readable().await.expect("it is answered");

    broker.terminate();
    let signalled = Instant::now();
    let (code, log) = broker.end();
    let took = signalled.elapsed();
    println!("ended after {took:?}");
    assert_eq!(code, Some(0), "{log}");
    assert!(took <= GRACE, "ended after {took:?}: {log}");
    assert!(log.contains("cut=1"), "{log}");
    assert!(log.contains("not waited for"), "{log}");
}

async fn everybody(peers: &mut JoinSet<Home>) -> (HashMap<u64, Fate>, Vec<Vec<u64>>) {
    let (mut appends, mut seen) = (HashMap::new(), Vec::new());
    while let Some(home) = peers.join_next().await {
        match home {
            Ok(Home::Appends(fates)) => appends.extend(fates),
            Ok(Home::Saw(records)) => seen.push(records),
            Ok(Home::Waited) => {}
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    (appends, seen)
}

/// Holds what is stored against what everybody was told.
fn check(stored: &[u64], appends: &HashMap<u64, Fate>, seen: &[Vec<u64>]) {
    let distinct: HashSet<_> = stored.iter().collect();
    assert_eq!(distinct.len(), stored.len(), "a record is there twice");
    for (record, fate) in appends {
        match fate {
            Fate::Confirmed(offset) => {
                let at = usize::try_from(*offset).ok().and_then(|at| stored.get(at));
                assert_eq!(at, Some(record), "confirmed at {offset}");
            }
            Fate::Refused => assert!(!distinct.contains(record), "{record} was refused"),
            Fate::Unanswered => {}
        }
    }
    for record in stored {
        assert!(appends.contains_key(record), "{record} was never sent");
    }
    let longest = seen.iter().map(Vec::len).max().unwrap_or(0);
    for records in seen {
        assert!(stored.starts_with(records), "another order, or a gap");
    }
    let count = |is: fn(&Fate) -> bool| appends.values().filter(|fate| is(fate)).count();
    let confirmed = count(|fate| matches!(fate, Fate::Confirmed(_)));
    println!(
        "{confirmed} appends confirmed, {} refused, {} too late; followers saw {longest} of {}",
        count(|fate| *fate == Fate::Refused),
        count(|fate| *fate == Fate::Unanswered),
        stored.len()
    );
    assert!(confirmed > 0, "there was no load");
}

async fn read_whole(broker: &Broker) -> Vec<u64> {
    let http = Http::connect(&broker.http).await.expect("it listens");
    let (mut stored, mut offset) = (Vec::new(), String::from("-1"));
    loop {
        let read = Request::new("GET", &format!("{BUSY}?offset={offset}"));
        let answer = http.ask(&read).await.expect("answered");
        assert_eq!(answer.status, 200, "{answer:?}");
        let page: Vec<u64> = serde_json::from_slice(&answer.body).expect("records");
        if page.is_empty() {
            return stored;
        }
        stored.extend(page);
        let next = answer.header("stream-next-offset");
        next.expect("where to go on").clone_into(&mut offset);
    }
}

async fn connect(address: &str) -> Client<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a socket option");
    let mut client = Client::new(stream);
    client.shake_hands().await;
    client
}

/// Appends with many under way until it is told to go, and then takes every answer.
async fn append_over_tcp(address: String, round: Arc<Round>) -> Home {
    let mut client = connect(&address).await;
    let (mut fates, mut waiting, mut draining) = (Vec::new(), HashMap::new(), false);
    for correlation in 1.. {
        if !draining {
            let record = round.record();
            let bytes = encoded(correlation, &append(BUSY, &[record.to_string().as_bytes()]));
            let sent = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &bytes).await;
            waiting.insert(correlation, (record, round.is_signalled() || sent.is_err()));
        }
        while draining || waiting.len() >= WINDOW {
            let Some((correlation, event)) = client.next_or_end().await else {
                fates.extend(waiting.into_values().map(|(record, late)| {
                    assert!(
                        late,
                        "{record} was sent before the signal and is not answered"
                    );
                    (record, Fate::Unanswered)
                }));
                assert!(draining, "closed without a word");
                return Home::Appends(fates);
            };
            match event {
                Event::Confirm(confirm) => {
                    for entry in confirm.entries {
                        let (record, _) = waiting.remove(&entry.correlation).expect("asked");
                        fates.push((record, Fate::Confirmed(entry.tail - 1)));
                    }
                }
                Event::Err(refusal) => {
                    assert_eq!(refusal.error_code(), Some(ErrorCode::Draining));
                    let (record, _) = waiting.remove(&correlation).expect("asked");
                    fates.push((record, Fate::Refused));
                }
                Event::Draining(_) => draining = true,
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    Home::Appends(fates)
}

/// Posts one record after the other.
async fn append_over_http(address: String, round: Arc<Round>) -> Home {
    let http = Http::connect(&address).await.expect("it listens");
    let mut fates = Vec::new();
    loop {
        let record = round.record();
        let post = Request::new("POST", BUSY).body(JSON, record.to_string());
        let Ok(ticket) = http.send(&post).await else {
            fates.push((record, Fate::Unanswered));
            return Home::Appends(fates);
        };
        let late = round.is_signalled();
        match ticket.await.map_err(Lost::from) {
            Ok(answer) if answer.status == 204 || answer.status == 200 => {
                let next = answer.header("stream-next-offset");
                let tail: Option<u64> = next.and_then(|next| next.split('_').next()?.parse().ok());
                let tail = tail.expect("an answer names the tail");
                fates.push((record, Fate::Confirmed(tail - 1)));
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{answer:?}");
                fates.push((record, Fate::Refused));
            }
            Err(Lost) => {
                assert!(
                    late,
                    "{record} was sent before the signal and is not answered"
                );
                fates.push((record, Fate::Unanswered));
                return Home::Appends(fates);
            }
        }
    }
}

/// Follows the busy stream until it is told to go.
async fn subscribe(address: String) -> Home {
    let mut client = connect(&address).await;
    client.subscribe(1, BUSY, Start::Beginning, u64::MAX).await;
    let (mut seen, mut told) = (Vec::new(), false);
    while let Some((_, event)) = client.next_or_end().await {
        match event {
            Event::Deliver(deliver) => {
                for (offset, payload) in records(&deliver) {
                    assert_eq!(offset, seen.len() as u64, "a gap or a duplicate");
                    seen.push(number(&payload));
                }
            }
            Event::Draining(_) => told = true,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(told, "closed without a word");
    Home::Saw(seen)
}

/// Waits for a record that never comes.
async fn wait_over_tcp(address: String) -> Home {
    let mut client = connect(&address).await;
    let read = Read {
        stream: QUIET.into(),
        start: Start::Now,
        max_bytes: 0,
        max_records: 0,
        wait_ms: 600_000,
    };
    client.send(5, &Command::Read(read)).await;
    assert!(matches!(client.next().await, (0, Event::Draining(_))));
    let (correlation, refusal) = client.next_err().await;
    let answered = (correlation, refusal.error_code());
    assert_eq!(answered, (5, Some(ErrorCode::Draining)));
    client.expect_end().await;
    Home::Waited
}

/// Waits for a record that never comes, over HTTP: the wait ends early, and says where to go on.
async fn long_poll(address: String) -> Home {
    let http = Http::connect(&address).await.expect("it listens");
    let poll = Request::new("GET", &format!("{QUIET}?offset=now&live=long-poll"));
    let answer = http.ask(&poll).await.expect("whoever waits is answered");
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(answer.header("stream-next-offset").is_some(), "{answer:?}");
    Home::Waited
}

/// Follows a stream as server-sent events until the session ends, which it does after a control event.
async fn follow_events(address: String, stream: &'static str) -> Home {
    let mut events = Events::follow(&address, stream, "-1").await;
    let (mut seen, mut next) = (Vec::new(), None);
    while let Some(event) = events.next().await {
        match event.kind.as_str() {
            "data" => {
                let records: Vec<u64> = serde_json::from_str(&event.data).expect("records");
                seen.extend(records);
                next = None;
            }
            _ => next = Some(event.data),
        }
    }
    let control = next.expect("data is followed by where to go on");
    let control: serde_json::Value = serde_json::from_str(&control).expect("JSON");
    let offset = control.get("streamNextOffset").and_then(|at| at.as_str());
    let offset = offset.and_then(|at| at.split('_').next()?.parse().ok());
    assert_eq!(offset, Some(seen.len() as u64), "{control}");
    if stream == BUSY {
        Home::Saw(seen)
    } else {
        Home::Waited
    }
}

fn number(payload: &[u8]) -> u64 {
    let text = std::str::from_utf8(payload).ok();
    text.and_then(|text| text.parse().ok()).expect("a number")
}
