//! Histories of many clients over crashes and broken connections, judged by a checker.
//!
//! The real binary is killed with SIGKILL and started again while clients append (plainly, on conditions, with seq, as
//! producers that retry), read and follow the same few streams, through a proxy that breaks their connections in the middle of
//! frames, before answers and after. Every operation is recorded with the instants between which it happened, and what came of it
//! (`history`). At the end the streams are read, and `checker` decides whether all of it could have come from logs
//! that do each thing once, at one instant. `rejects` shows that it can tell.
//!
//! Random but seeded: `STREAMKEEPER_SEED=n` runs one seed again, though never at the same instants.
//! `STREAMKEEPER_SOAK=seconds` goes on with the next seeds for that long (`make soak`).

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test helper fails as a test does, and says which seed it ran"
)]

#[path = "../outside/http.rs"]
#[expect(dead_code, reason = "shared with tests that also send bodies")]
mod http;
#[path = "../hammer/random.rs"]
#[expect(dead_code, reason = "shared with tests that also need sizes")]
mod random;
#[path = "../crash/server.rs"]
mod server;

mod checker;
mod clients;
mod history;
mod proxy;
mod recorder;
mod rejects;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamkeeper_client::{Client, CreateOptions, ReadOptions, Start};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use checker::Checked;
use clients::Peer;
use history::{History, RecordId};
use proxy::Proxy;
use random::{Random, seeds};
use recorder::{Clock, Recorder, id_of};
use server::{Place, Server};

/// Streams; the last one is closed on the way.
const STREAMS: u64 = 3;

/// Kills of one run.
const KILLS: u64 = 4;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn every_history_is_one_of_logs_that_do_each_thing_once() {
    let mut all = Checked::default();
    let Ok(seconds) = std::env::var("STREAMKEEPER_SOAK") else {
        let seeds = seeds(&[1, 2]);
        for seed in &seeds {
            all.add(&judged(*seed));
        }
        // What comes of one seed depends on when its connections break.
        if seeds.len() > 1 {
            goes_wrong(&all);
        }
        return;
    };
    let seconds = seconds
        .parse()
        .expect("STREAMKEEPER_SOAK is a number of seconds");
    let until = Instant::now() + Duration::from_secs(seconds);
    for mut seed in seeds(&[]) {
        while Instant::now() < until {
            all.add(&judged(seed));
            seed = seed.wrapping_add(1);
        }
    }
    goes_wrong(&all);
}

/// Runs in which nothing went wrong would show nothing.
fn goes_wrong(all: &Checked) {
    assert!(all.unknown > 0, "no answer was lost");
    assert!(all.duplicates > 0, "no retry found its first attempt");
    assert!(all.fenced > 0, "no producer was overtaken");
}

fn judged(seed: u64) -> Checked {
    println!("STREAMKEEPER_SEED={seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(seed))
}

/// The broker that is killed, and those who must know where it is and when it died.
struct Broker {
    data: tempfile::TempDir,
    server: Option<Server>,
    place: Place,
    http: Place,
}

impl Broker {
    fn start(&mut self) {
        let server = Server::start(self.data.path(), &self.place);
        self.http.send_replace(Some(server.http.clone()));
        self.server = Some(server);
    }

    fn kill(&mut self, recorders: &[Arc<Recorder>]) {
        self.http.send_replace(None);
        if let Some(server) = self.server.take() {
            server.kill(&self.place);
        }
        for recorder in recorders {
            recorder.died(recorder.clock.now());
        }
    }

    async fn client(&self) -> Client {
        let address = self.place.borrow().clone().expect("the broker listens");
        Client::connect(&address).await.expect("the broker accepts")
    }
}

async fn run(seed: u64) -> Checked {
    let mut random = Random::new(seed);
    let mut broker = Broker {
        data: tempfile::tempdir().expect("a directory"),
        server: None,
        place: Place::default(),
        http: Place::default(),
    };
    broker.start();
    let proxy = Proxy::start(broker.place.subscribe(), random.fork(1)).await;
    let clock = Arc::new(Clock::default());
    let streams =
        (0..STREAMS).map(|number| Recorder::new(format!("s{number}"), Arc::clone(&clock)));
    let streams: Vec<_> = streams.map(Arc::new).collect();
    let client = broker.client().await;
    for recorder in &streams {
        let created = client.create(recorder.stream.as_str(), CreateOptions::new());
        created.await.expect("created");
    }
    let (stop, close) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    for (number, recorder) in streams.iter().enumerate() {
        let peer = Peer {
            recorder: Arc::clone(recorder),
            address: proxy.address.clone(),
            random: random.fork(100 + number as u64),
            stop: stop.clone(),
            seqs: Arc::new(AtomicU64::new(1)),
        };
        let closes = (number + 1 == streams.len()).then(|| close.clone());
        clients::start(&peer, &broker.http.subscribe(), closes, &mut tasks);
    }
    for kill in 1..=KILLS {
        sleep(Duration::from_millis(random.between(100, 600))).await;
        broker.kill(&streams);
        broker.start();
        if kill == KILLS {
            close.cancel();
        }
    }
    sleep(Duration::from_millis(200)).await;
    stop.cancel();
    let ended = timeout(PATIENCE, async {
        while let Some(task) = tasks.join_next().await {
            if let Err(error) = task {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    });
    ended.await.expect("the clients end in time");
    broker.kill(&streams);
    broker.start();
    let checked = judge(&broker, &streams, seed).await;
    let breaks = proxy.broken.load(Ordering::Relaxed);
    println!("{checked:?}; {breaks} connections broken");
    assert!(breaks > 0, "no connection broke");
    assert!(checked.seen > 0 && checked.tails > 0, "nobody saw anything");
    broker.kill(&streams);
    checked
}

/// Reads every stream, and lets the checker decide.
async fn judge(broker: &Broker, streams: &[Arc<Recorder>], seed: u64) -> Checked {
    let client = broker.client().await;
    let mut all = Checked::default();
    for recorder in streams {
        let (log, closed) = read_whole(&client, &recorder.stream).await;
        let history = recorder.finish(log, closed);
        match checker::check(&history) {
            Ok(checked) => all.add(&checked),
            Err(violation) => {
                let kept = keep(&history, &recorder.stream, seed);
                panic!("{}: {violation}; the history is in {kept}", recorder.stream);
            }
        }
    }
    all
}

async fn read_whole(client: &Client, stream: &str) -> (Vec<RecordId>, bool) {
    let mut log = Vec::new();
    loop {
        let options = ReadOptions::new().from(Start::Offset(log.len() as u64));
        let page = client.read(stream, options).await.expect("it is read");
        log.extend(page.records.iter().map(|record| id_of(&record.payload)));
        if log.len() as u64 == page.tail {
            return (log, page.closed);
        }
    }
}

/// Writes a history down that was found wrong.
fn keep(history: &History, stream: &str, seed: u64) -> String {
    let name = format!("streamkeeper-history-{seed}-{stream}.txt");
    let path = std::env::temp_dir().join(name);
    let written = std::fs::write(&path, format!("{history:#?}"));
    written.expect("the history is kept");
    path.display().to_string()
}
