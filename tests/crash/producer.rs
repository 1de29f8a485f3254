//! The client's own producer and a subscription, both living through every crash.
//!
//! The producer's client reconnects by itself, to wherever the broker listens now. What must hold at any time: the stream is
//! a prefix of what was sent, nothing twice and nothing left out; what was confirmed is in it. At the end it is all of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use streamkeeper_client::{
    Client, CreateOptions, Dial, Dialing, Reconnect, SubscribeOptions, Transport,
};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::found::{PATIENCE, find};
use crate::history::Written;
use crate::payload::Tag;
use crate::random::Random;

const NAME: &str = "Producer";

/// Dials wherever the broker listens at the time.
#[derive(Debug)]
struct Wherever(watch::Receiver<Option<String>>);

impl Dial for Wherever {
    fn name(&self) -> String {
        "the broker".to_owned()
    }

    fn dial(&self) -> Dialing<'_> {
        let place = self.0.borrow().clone();
        Box::pin(async move {
            let address = place.ok_or(io::ErrorKind::ConnectionRefused)?;
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            Ok(Box::new(socket) as Box<dyn Transport>)
        })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Persistent {
    stop: CancellationToken,
    sent: Arc<AtomicU64>,
    confirmed: Arc<AtomicU64>,
    sending: JoinHandle<()>,
    following: JoinHandle<u64>,
}

impl Persistent {
    /// Begins to send and to follow.
    pub async fn start(place: watch::Receiver<Option<String>>, seed: Random) -> Self {
        let reconnect = Reconnect::default()
            .base(Duration::from_millis(5))
            .max(Duration::from_millis(50));
        let client = Client::builder().reconnect(reconnect);
        let client = client
            .connect_with(Wherever(place))
            .await
            .expect("the broker listens");
        client
            .create(NAME, CreateOptions::new())
            .await
            .expect("created");
        let stop = CancellationToken::new();
        let (sent, confirmed) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let following = tokio::spawn(follow(client.clone(), seed.clone()));
        let sending = tokio::spawn(send(
            client,
            seed,
            stop.clone(),
            Arc::clone(&sent),
            Arc::clone(&confirmed),
        ));
        Self {
            stop,
            sent,
            confirmed,
            sending,
            following,
        }
    }

    /// Compares what is stored with what was sent, while sending goes on. Answers how many records there are.
    pub async fn check(&self, client: &Client, seed: &Random) -> u64 {
        let confirmed = self.confirmed.load(Ordering::SeqCst);
        // Its tail moves while it is read: only this stream is written to during a check.
        let page = client.stat(NAME).await.expect("the stream is there");
        assert!(
            page.tail >= confirmed,
            "{NAME}: {confirmed} confirmed, {} there",
            page.tail
        );
        assert!(!self.sending.is_finished(), "the producer gave up");
        assert!(!self.following.is_finished(), "the subscription gave up");
        let mut random = seed.clone();
        let mut next = 0;
        while next < page.tail {
            let from = streamkeeper_client::Start::Offset(next);
            let options = streamkeeper_client::ReadOptions::new().from(from);
            let read = client
                .read(NAME, options)
                .await
                .expect("the stream can be read");
            for record in read.records {
                check_record(record.offset, &record.payload, next, &mut random);
                next += 1;
            }
        }
        assert!(
            next <= self.sent.load(Ordering::SeqCst),
            "{NAME}: more than was sent"
        );
        next
    }

    /// Ends the producer, and answers how many records it sent: they are all there, and the subscription got them all.
    pub async fn finish(self, client: &Client) -> u64 {
        self.stop.cancel();
        let sent = tokio::time::timeout(PATIENCE, self.sending).await;
        sent.expect("the producer ends in time")
            .expect("the producer does not fail");
        let sent = self.sent.load(Ordering::SeqCst);
        let found = find(client, NAME).await.expect("the stream is there");
        assert_eq!(found.tail(), sent, "{NAME}: records were lost or doubled");
        client.close_stream(NAME).await.expect("closed");
        let followed = tokio::time::timeout(PATIENCE, self.following).await;
        let followed = followed.expect("the subscription ends in time");
        assert_eq!(followed.expect("the subscription does not fail"), sent);
        sent
    }
}

/// The record number `counter`: its length comes from the seed, so that two readers agree on it.
fn record(counter: u64, random: &mut Random) -> Written {
    let tag = Tag {
        slot: u16::MAX,
        life: 1,
        writer: 0,
        counter: u32::try_from(counter).unwrap_or(u32::MAX),
    };
    let length = random.size().clamp(12, 20_000);
    Written { tag, length }
}

fn check_record(offset: u64, payload: &[u8], expected: u64, random: &mut Random) {
    assert_eq!(offset, expected, "{NAME}: a gap or a duplicate");
    let written = Written::of(payload);
    assert_eq!(
        written,
        Some(record(expected, random)),
        "{NAME}@{offset}: another record"
    );
}

async fn send(
    client: Client,
    mut random: Random,
    stop: CancellationToken,
    sent: Arc<AtomicU64>,
    confirmed: Arc<AtomicU64>,
) {
    let producer = client
        .producer(NAME)
        .id("persistent")
        .batch_bytes_max(8 << 10);
    let producer = producer.open().await.expect("the producer opens");
    let (receipts, mut taken) = tokio::sync::mpsc::channel(10_000);
    let taking = tokio::spawn(async move {
        while let Some(receipt) = taken.recv().await {
            let receipt: streamkeeper_client::Receipt = receipt;
            receipt.await.expect("every record is stored");
            confirmed.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut pace = random.fork(1);
    let mut counter = 0;
    while !stop.is_cancelled() {
        let payload = record(counter, &mut random).payload();
        counter += 1;
        sent.store(counter, Ordering::SeqCst);
        let receipt = producer.send(payload).await.expect("accepted");
        receipts.send(receipt).await.expect("receipts are taken");
        if pace.chance(15) {
            tokio::time::sleep(Duration::from_millis(pace.between(1, 5))).await;
        }
    }
    drop(receipts);
    producer.close().await.expect("everything is stored");
    taking.await.expect("everything is confirmed");
}

async fn follow(client: Client, mut random: Random) -> u64 {
    let mut records = client
        .subscribe(NAME, SubscribeOptions::new())
        .await
        .expect("subscribed");
    let mut next = 0;
    while let Some(record) = records.next().await {
        let record = record.expect("the subscription goes on");
        check_record(record.offset, &record.payload, next, &mut random);
        next += 1;
    }
    next
}
