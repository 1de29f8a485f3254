//! Peers that ask for much and take nothing, and peers that send a part of something large: what is held for them is bounded, all
//! together.

use std::time::Duration;

use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt as _, TryStreamExt as _};
use streamkeeper_protocol::Command;
use streamkeeper_protocol::command::{Read, Start};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::broker::Broker;
use super::fixture::{Client, append, encoded};
use super::narrow::narrow;
use super::{CEILING, PATIENCE, beside, connect, fill, start, within};

/// What a socket does not take for this long is not taken.
const STUCK: Duration = Duration::from_secs(2);

/// So many readers of events of stream `s`, each from another of `records` records of `bytes` bytes, that read nothing.
async fn deaf_readers(
    broker: &Broker,
    readers: usize,
    records: usize,
    bytes: usize,
) -> Vec<TcpStream> {
    let mut deaf = Vec::new();
    for number in 0..readers {
        let mut socket = narrow(&broker.http).await;
        let from = number % records;
        let at = format!("{from:016}_{:016}", from * bytes);
        let request = format!("GET /v1/stream/s?offset={at}&live=sse HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        deaf.push(socket);
    }
    for socket in &deaf {
        socket.readable().await.expect("it is answered");
        let mut status = [0; 12];
        socket.peek(&mut status).await.expect("it is answered");
        let said = |code: &[u8]| status == *[b"HTTP/1.1 ", code].concat();
        assert!(said(b"200") || said(b"429"), "{status:?}");
    }
    deaf
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_of_events_that_stop_reading() {
    let broker = start(CEILING);
    fill(&broker, "s", 400, 60_000).await;
    beside(&broker, deaf_readers(&broker, 1_000, 390, 60_000)).await;
    within(CEILING, &broker, "1,000 deaf readers of events");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_large_events_that_stop_reading() {
    let broker = start(CEILING);
    fill(&broker, "s", 60, 1 << 20).await;
    beside(&broker, deaf_readers(&broker, 300, 50, 1 << 20)).await;
    within(CEILING, &broker, "300 deaf readers of events of 1 MiB");
}

/// What the system has taken from the broker for each of its peers at `address` and not sent: the first figure of a socket's queues.
fn taken_by_the_system(address: &str) -> Vec<u64> {
    let port = address.rsplit(':').next().expect("a port");
    let local = format!(":{:04X}", port.parse::<u16>().expect("a port"));
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let queued = sockets.lines().skip(1).filter_map(|socket| {
        let fields: Vec<&str> = socket.split_whitespace().collect();
        let (at, queues) = (fields.get(1)?, fields.get(4)?);
        let unsent = queues.split(':').next()?;
        at.ends_with(&local)
            .then(|| u64::from_str_radix(unsent, 16).expect("a number"))
    });
    queued.collect()
}

/// Waits until the system has taken something and takes no more, and says what it took for the peer that it took most for.
async fn most_taken(address: &str) -> u64 {
    let stuck = async {
        let mut before = Vec::new();
        loop {
            let taken = taken_by_the_system(address);
            let most = taken.iter().copied().max().expect("peers");
            if most > 0 && taken == before {
                return most;
            }
            before = taken;
            tokio::time::sleep(STUCK / 4).await;
        }
    };
    timeout(PATIENCE, stuck).await.expect("it comes to an end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_system_holds_little_for_those_that_read_nothing() {
    let broker = start(CEILING);
    fill(&broker, "s", 100, 60_000).await;
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut client = Client::new(narrow(&broker.tcp).await);
        client.shake_hands().await;
        client.subscribe(1, "s", Start::Beginning, u64::MAX).await;
        deaf.push(client);
    }
    let subscribers = most_taken(&broker.tcp).await;
    let _deaf = deaf_readers(&broker, 20, 1, 60_000).await;
    let readers = most_taken(&broker.http).await;
    println!("{subscribers} bytes for a subscriber, {readers} for a reader of events");
    assert!(subscribers > 0 && readers > 0, "nobody was sent anything");
    assert!(subscribers.max(readers) < 256 << 10, "the system holds it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_whose_answers_are_not_taken() {
    let broker = start(CEILING);
    fill(&broker, "s", 60, 1 << 20).await;
    let asked = async {
        let mut deaf = Vec::new();
        for _ in 0..20 {
            let mut client = connect(&broker).await;
            let mut reads = BytesMut::new();
            for number in 0..16_u32 {
                let read = Read {
                    stream: "s".into(),
                    start: Start::Offset(u64::from(number) * 3),
                    max_bytes: 4 << 20,
                    max_records: 0,
                    wait_ms: 0,
                };
                reads.extend_from_slice(&encoded(number + 1, &Command::Read(read)));
            }
            client.send_bytes(&reads).await;
            deaf.push(client);
        }
        // Some are answered, whichever; of the others nobody knows when, since what is read for peers is bounded.
        let answered: FuturesUnordered<_> =
            deaf.iter().map(|client| client.stream.readable()).collect();
        let answered: Vec<_> = answered
            .take(4)
            .try_collect()
            .await
            .expect("it is answered");
        assert_eq!(answered.len(), 4);
        deaf
    };
    let deaf = beside(&broker, asked).await;
    within(CEILING, &broker, "20 x 16 READs of 1 MiB");
    drop(deaf);
}

/// Many connections that each send an append of 3 MiB, but for its last `withheld` bytes.
async fn large_appends(broker: &Broker, withheld: usize) {
    let record = vec![b'x'; 1 << 20];
    let frame = encoded(9, &append("large", &[&record[..]; 3])).freeze();
    let patience = if withheld == 0 { PATIENCE } else { STUCK };
    let mut sending = JoinSet::new();
    for _ in 0..60 {
        let mut client = connect(broker).await;
        client.create("large").await;
        let part = frame.slice(..frame.len() - withheld);
        sending.spawn(async move {
            let sent = timeout(patience, client.stream.write_all(&part)).await;
            (sent.is_ok(), client)
        });
    }
    for (sent, mut client) in sending.join_all().await {
        if withheld == 0 {
            assert!(sent, "the socket takes no more");
            assert_eq!(client.confirms(1).await.len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_that_are_not_finished() {
    let broker = start(CEILING);
    beside(&broker, large_appends(&broker, 1)).await;
    within(CEILING, &broker, "60 frames of 3 MiB that are not whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_faster_than_the_disk() {
    let broker = start(CEILING);
    beside(&broker, large_appends(&broker, 0)).await;
    within(CEILING, &broker, "60 appends of 3 MiB");
}
