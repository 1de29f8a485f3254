//! Writers of all sorts on a real broker, and what they know of what was confirmed to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use streamkeeper_client::{AppendOptions, Client, CreateOptions};
use tokio::task::JoinHandle;

use crate::support::{http_client, payload};

/// Writers, each with streams of its own.
const WRITERS: usize = 4;

/// Records that a trimmed stream keeps.
pub(crate) const KEPT: u64 = 30;

/// What happens to one stream.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) stream: String,
    /// Records up to here are confirmed.
    pub(crate) confirmed: AtomicU64,
    /// Records up to here were sent.
    pub(crate) sent: AtomicU64,
    pub(crate) trimmed: bool,
}

/// The load, running.
pub(crate) struct Load {
    /// Pairs: what is in the second was confirmed in the first before.
    pub(crate) streams: Arc<Vec<[Written; 2]>>,
    /// Streams that were created, written, forked or closed, and those that were deleted again: up to this number.
    pub(crate) churned: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) async fn start(tcp: &str, http: &str) -> Self {
        let written = |stream: String, trimmed| Written {
            stream,
            confirmed: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            trimmed,
        };
        let pair = |writer: usize| {
            let first = written(format!("first/{writer}"), false);
            [
                first,
                written(format!("second/{writer}"), writer.is_multiple_of(2)),
            ]
        };
        let streams: Arc<Vec<_>> = Arc::new((0..WRITERS).map(pair).collect());
        let mut load = Self {
            streams: Arc::clone(&streams),
            churned: Arc::new(AtomicU64::new(0)),
            stop: Arc::new(AtomicBool::new(false)),
            tasks: Vec::new(),
        };
        for writer in 0..WRITERS {
            let client = Client::connect(tcp).await.expect("connected");
            let (streams, stop) = (Arc::clone(&streams), Arc::clone(&load.stop));
            load.tasks.push(tokio::spawn(async move {
                let pair = streams.get(writer).expect("a pair each");
                write(&client, pair, &stop).await;
            }));
        }
        let client = Client::connect(tcp).await.expect("connected");
        let http = format!("http://{http}/v1/stream");
        let (churned, stop) = (Arc::clone(&load.churned), Arc::clone(&load.stop));
        load.tasks.push(tokio::spawn(async move {
            churn(&client, &http, &churned, &stop).await;
        }));
        load
    }

    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("a writer had no error");
        }
    }
}

/// Appends to the first stream, and once that is confirmed to the second, as a producer, with numbers.
async fn write(client: &Client, pair: &[Written; 2], stop: &AtomicBool) {
    for written in pair {
        let mut options = CreateOptions::new();
        if written.trimmed {
            options = options.max_records(KEPT);
        }
        let created = client.create(written.stream.as_str(), options).await;
        created.expect("created");
    }
    for number in 0.. {
        for written in pair {
            written.sent.store(number + 1, Ordering::SeqCst);
            let options = AppendOptions::new().producer("writer", 0, number);
            let record = [payload(&written.stream, number)];
            let appended = client.append_batch(written.stream.as_str(), record, options);
            appended.await.expect("confirmed");
            written.confirmed.store(number + 1, Ordering::SeqCst);
        }
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// Creates streams, forks and closes some, deletes others.
async fn churn(client: &Client, http: &str, churned: &AtomicU64, stop: &AtomicBool) {
    let other = http_client();
    for number in 0.. {
        let stream = format!("churn/{number}");
        let options = CreateOptions::new().content_type("application/octet-stream");
        client
            .create(stream.as_str(), options)
            .await
            .expect("created");
        for offset in 0..4 {
            let record = payload(&stream, offset);
            let appended = client.append(stream.as_str(), record).await;
            appended.expect("confirmed");
        }
        let fork = other
            .put(format!("{http}/fork/{number}"))
            .header("stream-forked-from", format!("/v1/stream/{stream}"))
            .header("content-type", "application/octet-stream");
        let status = fork.send().await.expect("answered").status();
        assert!(status.is_success(), "{status}");
        match number % 3 {
            0 => drop(client.close_stream(stream.as_str()).await.expect("closed")),
            1 => client.delete(stream.as_str()).await.expect("deleted"),
            _ => client
                .delete(format!("fork/{number}"))
                .await
                .expect("deleted"),
        }
        churned.store(number + 1, Ordering::SeqCst);
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}
