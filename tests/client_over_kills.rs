//! The client against the real broker, killed again and again while records are on their way.
//!
//! What must hold: every record accepted by a producer is stored once, in order, and a subscription that lives through
//! every kill sees each of them once, in order. The broker gets SIGKILL: it has no chance to say goodbye.

#![expect(
    clippy::unwrap_used,
    reason = "a test helper fails its test as a test does"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use streamkeeper_client::{Client, CreateOptions, Reconnect, SubscribeOptions};
use tokio::time::{sleep, timeout};

const RECORDS: u64 = 200_000;
const KILLS: u32 = 5;

/// A broker that is killed when dropped.
struct Broker {
    process: Child,
}

impl Broker {
    /// Starts a broker on the Unix socket and waits until it listens.
    fn start(directory: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_streamkeeper"))
            .args(["serve", "--http", "off", "--data"])
            .arg(directory.join("data"))
            .arg("--listen")
            .arg(format!("unix:{}", directory.join("socket").display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap().starts_with("listening on unix:")),
            "the broker ended before it listened"
        );
        Self { process }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A directory that is removed when dropped.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_stored_and_delivered_once_over_kills() {
    let name = format!("streamkeeper-client-real-{}", std::process::id());
    let directory = Directory(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&directory.0).unwrap();
    let mut broker = Some(Broker::start(&directory.0));
    let client = Client::builder()
        .reconnect(Reconnect::default().base(Duration::from_millis(5)))
        .connect(&format!("unix:{}", directory.0.join("socket").display()))
        .await
        .unwrap();
    client.create("orders", CreateOptions::new()).await.unwrap();

    let sending = tokio::spawn({
        let client = client.clone();
        async move {
            let producer = client
                .producer("orders")
                .id("p")
                .epoch(1)
                .open()
                .await
                .unwrap();
            for n in 0..RECORDS {
                producer.send(n.to_string()).await.unwrap();
                // Slow enough to be hit by every kill.
                if n % (RECORDS / 500) == 0 {
                    sleep(Duration::from_millis(4)).await;
                }
            }
            producer.close().await.unwrap();
            client.close_stream("orders").await.unwrap();
        }
    });
    let mut records = client
        .subscribe("orders", SubscribeOptions::new())
        .await
        .unwrap();
    let following = tokio::spawn(async move {
        let mut expected = 0;
        while let Some(record) = records.next().await {
            let record = record.unwrap();
            assert_eq!(record.offset, expected);
            assert_eq!(record.payload, expected.to_string());
            expected += 1;
        }
        expected
    });
    for _ in 0..KILLS {
        sleep(Duration::from_millis(300)).await;
        drop(broker.take());
        broker = Some(Broker::start(&directory.0));
    }
    timeout(Duration::from_mins(2), sending)
        .await
        .unwrap()
        .unwrap();
    let seen = timeout(Duration::from_mins(1), following)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen, RECORDS);
    drop(broker);
}
