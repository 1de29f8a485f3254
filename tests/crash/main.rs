//! `kill -9` at random moments, twenty times: what was confirmed is there, once and in order, and nothing else.
//!
//! The real binary on real files, with real clients over TCP and writers over HTTP beside them: streams with one writer (plain, with seq, idempotent, deleted and
//! created again, closed, trimmed, with a ttl), streams with many writers, a producer and a subscription that live through
//! all crashes, subscribers that remember what they were given. After each kill the broker starts again and everything
//! it has is read and compared with what the clients know: `history` says what may be left of a stream with one writer,
//! `shared` of one with many, `producer` of the one that never stops.
//!
//! Random but seeded: `STREAMKEEPER_SEED=n` runs one seed again, though never at the same instants.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test helper fails as a test does, and says which seed it ran"
)]

#[path = "../outside/http.rs"]
mod http;
#[path = "../hammer/payload.rs"]
mod payload;
#[path = "../hammer/random.rs"]
mod random;

mod door;
mod found;
mod history;
mod load;
mod owned;
mod producer;
mod server;
mod shared;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use found::{PATIENCE, find, same_over_http};
use history::Delivered;
use load::{Load, connect, connect_http};
use owned::{KINDS, Kind, Owned};
use producer::Persistent;
use random::{Random, seeds};
use server::{Place, Server};
use shared::Shared;
use tokio::time::{sleep, timeout};

/// Kills.
const ROUNDS: u32 = 20;

/// Connections over TCP under load.
const CLIENTS: u16 = 3;

/// Streams with many writers.
const SHARED: u16 = 2;

#[test]
fn what_was_confirmed_or_delivered_survives_kill_9_once_and_in_order() {
    for seed in seeds(&[]) {
        println!("STREAMKEEPER_SEED={seed}");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(crash(Random::new(seed)));
    }
}

async fn crash(mut random: Random) {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let place = Place::default();
    let mut server = Server::start(&data, &place);
    let seed = random.fork(0);
    let persistent = Persistent::start(place.subscribe(), seed.clone()).await;
    let mut owned: Vec<Owned> = (0..CLIENTS * 8)
        .zip(KINDS.iter().cycle())
        .map(|(number, kind)| Owned::new(number, *kind))
        .collect();
    let shared: Vec<Arc<Shared>> = (1000..1000 + SHARED)
        .map(Shared::new)
        .map(Arc::new)
        .collect();
    for round in 1..=ROUNDS {
        let address = place.borrow().clone().expect("the broker listens");
        let load = Load::start(
            &address,
            &server.http,
            CLIENTS,
            owned,
            &shared,
            &random.fork(round.into()),
        )
        .await;
        sleep(Duration::from_millis(random.between(30, 900))).await;
        server.kill(&place);
        let ended = timeout(PATIENCE, load.end()).await;
        let (streams, delivered) = ended.expect("every client sees the end of the broker");
        owned = streams;
        kill_while_starting(&data, &mut random).await;

        let begun = Instant::now();
        server = Server::start(&data, &place);
        let started = begun.elapsed();
        let records = check(&place, &mut owned, &shared, &delivered).await;
        let client = connect(&place.borrow().clone().expect("the broker listens")).await;
        let produced = persistent.check(&client, &seed).await;
        let confirmed: u64 = owned.iter().map(|stream| stream.history.confirmed).sum();
        let batches: usize = shared.iter().map(|stream| stream.confirmed(|_| true)).sum();
        println!(
            "round {round}: up in {started:?}; {records} records, {confirmed} operations and {batches} shared batches \
             confirmed, {produced} produced; checked in {:?}",
            begun.elapsed().saturating_sub(started)
        );
        replace_retired(&mut owned);
    }
    let client = connect(&place.borrow().clone().expect("the broker listens")).await;
    let produced = persistent.finish(&client).await;
    println!("{produced} records by the producer that lived through it all");
    let names = owned.iter().map(|stream| &stream.name);
    let http = connect_http(&server.http).await;
    for name in names.chain(shared.iter().map(|stream| &stream.name)) {
        if let Some(found) = find(&client, name).await {
            same_over_http(&http, name, &found).await;
        }
    }
    for stream in &shared {
        let by_http = stream.confirmed(|writer| writer >= CLIENTS);
        assert!(
            by_http > 0,
            "{}: nothing was written over HTTP",
            stream.name
        );
    }
    server.kill(&place);
}

/// Sometimes: starts the broker only to kill it while it opens its files and replays.
async fn kill_while_starting(data: &Path, random: &mut Random) {
    if random.chance(30) {
        let server = Server::spawn(data);
        sleep(Duration::from_millis(random.below(60))).await;
        drop(server);
    }
}

/// Compares everything. Answers how many records there are.
async fn check(
    place: &Place,
    owned: &mut [Owned],
    shared: &[Arc<Shared>],
    delivered: &HashMap<String, Vec<Delivered>>,
) -> u64 {
    let client = connect(&place.borrow().clone().expect("the broker listens")).await;
    let given = |name: &str| delivered.get(name).map_or(&[][..], Vec::as_slice);
    let mut records = 0;
    for stream in owned {
        let delivered = given(&stream.name);
        stream.check(&client, delivered).await;
        records += stream.history.state.tail;
    }
    for stream in shared {
        stream.check(&client, given(&stream.name)).await;
    }
    records
}

/// Streams that are closed stay, and are checked for ever; others of their kind begin.
fn replace_retired(owned: &mut Vec<Owned>) {
    let open = owned
        .iter()
        .filter(|stream| stream.kind == Kind::Closing && !stream.is_retired());
    let missing = usize::from(CLIENTS).saturating_sub(open.count());
    for _ in 0..missing {
        let number = u16::try_from(owned.len()).unwrap_or(u16::MAX);
        owned.push(Owned::new(number, Kind::Closing));
    }
}
