//! Overload and bad neighbours: the broker's memory stays under its ceiling, and others are served.
//!
//! The real binary with `--memory-max`, and peers that take no regard: subscribers, readers over HTTP and READs whose peers take
//! nothing, large frames that are not finished, thousands of idle connections, a producer faster than the disk, 100,000 streams, records of 1 MiB beside small ones. Meanwhile a peer like any other appends
//! and follows, and must get every confirm and every record. Memory is what the system says the process ever had (Linux).
//! How long the neighbour's confirms take is not asserted.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test helper fails as a test does, and says how much memory was used"
)]

mod broker;
#[path = "../broker/fixture.rs"]
#[expect(dead_code, reason = "shared with tests that start a broker in process")]
mod fixture;
#[path = "../outside/narrow.rs"]
mod narrow;
mod untaken;

use std::collections::HashMap;
use std::time::Duration;

use broker::Broker;
use bytes::BytesMut;
use fixture::{Client, append, create, encoded, records, subscribe};
use streamkeeper_protocol::command::Start;
use streamkeeper_protocol::{Command, Event};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The ceiling of most tests here.
const CEILING: u64 = 128 << 20;

/// Only a bug takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a broker under a ceiling. No peer here answers a PING while others take their time, so none is sent.
fn start(ceiling: u64) -> Broker {
    let ceiling = ceiling.to_string();
    Broker::start(&["--memory-max", &ceiling, "--heartbeat", "10m"])
}

fn within(ceiling: u64, broker: &Broker, what: &str) {
    let peak = broker.memory_peak();
    println!("{what}: {} MiB at most, of {}", peak >> 20, ceiling >> 20);
    assert!(peak <= ceiling, "{what}: {peak} bytes, over the ceiling");
}

async fn connect(broker: &Broker) -> Client<TcpStream> {
    let socket = TcpStream::connect(&broker.tcp).await.expect("it listens");
    socket.set_nodelay(true).expect("a socket option");
    let mut client = Client::new(socket);
    client.shake_hands().await;
    client
}

/// Appends one record after the other and follows them, until told to stop: every one is confirmed in its place and
/// delivered once. Answers how many.
async fn neighbour(mut client: Client<TcpStream>, stream: String, stop: CancellationToken) -> u64 {
    client.create(&stream).await;
    client
        .subscribe(1, &stream, Start::Beginning, u64::MAX)
        .await;
    let (mut sent, mut confirmed, mut delivered) = (0, 0, 0);
    while !stop.is_cancelled() || delivered < sent || confirmed < sent {
        if !stop.is_cancelled() && confirmed == sent {
            let record = format!("record {sent}");
            client.send(7, &append(&stream, &[record.as_bytes()])).await;
            sent += 1;
        }
        match client.next().await {
            (0, Event::Confirm(confirm)) => {
                for entry in confirm.entries {
                    confirmed += 1;
                    assert_eq!(entry.tail, confirmed, "another place");
                }
            }
            (0, Event::Deliver(deliver)) => {
                for (offset, payload) in records(&deliver) {
                    assert_eq!(offset, delivered, "a gap or a duplicate");
                    assert_eq!(payload, format!("record {delivered}"));
                    delivered += 1;
                }
            }
            (correlation, Event::Ping) => client.send(correlation, &Command::Pong).await,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(confirmed, sent);
    sent
}

/// Runs `bad` while a neighbour works; it must have got on.
async fn beside<F: Future>(broker: &Broker, bad: F) -> F::Output {
    let stop = CancellationToken::new();
    let client = connect(broker).await;
    let working = tokio::spawn(neighbour(client, "neighbour".to_owned(), stop.clone()));
    let done = timeout(PATIENCE, bad).await.expect("it comes to an end");
    stop.cancel();
    let worked = timeout(PATIENCE, working)
        .await
        .expect("the neighbour ends");
    let appends = worked.expect("the neighbour is served");
    assert!(appends > 0, "the neighbour got nowhere");
    println!("the neighbour appended {appends} times");
    done
}

/// Fills a stream with `count` batches of `bytes` bytes.
async fn fill(broker: &Broker, stream: &str, count: u32, bytes: usize) {
    let mut client = connect(broker).await;
    client.create(stream).await;
    let payload = vec![b'x'; bytes];
    for _ in 0..count {
        client.append(stream, &[&payload]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_subscribers_that_stop_reading_cost_little_and_hold_nobody_up() {
    let broker = start(CEILING);
    fill(&broker, "s", 400, 200 << 10).await;
    let deaf = beside(&broker, async {
        let mut deaf = Vec::new();
        for number in 0..1_000_u64 {
            let mut client = connect(&broker).await;
            // Each at another place: what one has been sent is of no use to the others.
            let start = Start::Offset(number % 390);
            client.send(91, &subscribe(1, "s", start, u64::MAX)).await;
            assert!(matches!(client.next().await, (91, Event::Subscribed(_))));
            deaf.push(client);
        }
        deaf
    });
    let deaf = deaf.await;
    within(CEILING, &broker, "1,000 deaf subscribers");
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_faster_than_the_disk_are_held_back() {
    let broker = start(CEILING);
    beside(&broker, async {
        let mut producers = JoinSet::new();
        for number in 0..8 {
            let mut client = connect(&broker).await;
            producers.spawn(async move {
                let stream = format!("fast-{number}");
                client.create(&stream).await;
                let bytes = encoded(5, &append(&stream, &[&vec![b'x'; 60_000]]));
                let (mut incoming, mut outgoing) = client.stream.into_split();
                // Sends without waiting for anything but the socket.
                let sending = async {
                    for _ in 0..700 {
                        outgoing.write_all(&bytes).await.expect("taken in the end");
                    }
                };
                let receiving = async {
                    let mut received = BytesMut::new();
                    let mut confirmed = 0;
                    while confirmed < 700 {
                        let read = tokio::io::AsyncReadExt::read_buf(&mut incoming, &mut received);
                        assert!(read.await.expect("it goes on") > 0, "closed");
                        while let Some(frame) =
                            streamkeeper_protocol::frame::split(&mut received, u32::MAX)
                                .expect("frames")
                        {
                            match Event::decode(&frame).expect("an event") {
                                Event::Confirm(confirm) => confirmed += confirm.entries.len(),
                                Event::Ping => {}
                                other => panic!("unexpected {other:?}"),
                            }
                        }
                    }
                };
                tokio::join!(sending, receiving);
            });
        }
        while let Some(ended) = producers.join_next().await {
            ended.expect("every append is confirmed");
        }
    })
    .await;
    within(CEILING, &broker, "8 producers of 40 MB each");
}

/// Most connections that this process may hold, up to 10,000.
fn connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("on Linux");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    soft.unwrap_or(1_024).saturating_sub(300).min(9_900)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_fit() {
    let broker = start(CEILING);
    let count = connections();
    let idle = beside(&broker, async {
        let mut idle = Vec::new();
        for _ in 0..count {
            idle.push(connect(&broker).await);
        }
        idle
    });
    let mut idle = idle.await;
    for client in idle.iter_mut().step_by(100) {
        client.expect_alive().await;
    }
    within(CEILING, &broker, &format!("{count} idle connections"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_streams_fit() {
    let broker = start(CEILING);
    beside(&broker, async {
        let mut makers = JoinSet::new();
        for maker in 0..4_u32 {
            let mut client = connect(&broker).await;
            makers.spawn(async move {
                for hundred in 0..250_u32 {
                    let mut bytes = BytesMut::new();
                    for number in 0..100_u32 {
                        let stream = format!("many-{maker}-{hundred}-{number}");
                        create(&stream).encode(2 * number, &mut bytes);
                        append(&stream, &[b"only"]).encode(2 * number + 1, &mut bytes);
                    }
                    client.send_bytes(&bytes).await;
                    let mut answered = 0;
                    while answered < 200 {
                        match client.next().await {
                            (_, Event::Created(_)) => answered += 1,
                            (_, Event::Confirm(confirm)) => answered += confirm.entries.len(),
                            (_, Event::Ping) => {}
                            other => panic!("unexpected {other:?}"),
                        }
                    }
                }
            });
        }
        while let Some(ended) = makers.join_next().await {
            ended.expect("every stream is created");
        }
    })
    .await;
    within(CEILING, &broker, "100,000 streams");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_mebibyte_beside_small_ones_hold_nobody_up() {
    let broker = start(CEILING);
    let large = async {
        let mut client = connect(&broker).await;
        client.create("large").await;
        let mut follower = connect(&broker).await;
        follower
            .subscribe(1, "large", Start::Beginning, u64::MAX)
            .await;
        let payload = vec![b'L'; 1 << 20];
        let writing = async {
            for _ in 0..60 {
                client.append("large", &[&payload]).await;
            }
        };
        let following = async {
            let mut seen = 0;
            while seen < 60 {
                match follower.next().await {
                    (0, Event::Deliver(deliver)) => seen += records(&deliver).len(),
                    (_, Event::Ping) => {}
                    other => panic!("unexpected {other:?}"),
                }
            }
        };
        tokio::join!(writing, following);
    };
    let small = async {
        let mut client = connect(&broker).await;
        let mut tails = HashMap::<String, u64>::new();
        for number in 0..1_000_u32 {
            let stream = format!("small-{number}");
            client.create(&stream).await;
            for _ in 0..2 {
                let tail = client.append(&stream, &[b"small"]).await;
                let before = tails.insert(stream.clone(), tail).unwrap_or(0);
                assert_eq!(tail, before + 1);
            }
        }
    };
    beside(&broker, async { tokio::join!(large, small) }).await;
    within(CEILING, &broker, "records of 1 MiB");
}
