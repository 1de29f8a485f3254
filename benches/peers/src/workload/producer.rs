//! The client library's own producer, which batches by itself: what a program gets that does nothing but `send`.
//!
//! It is a whole client, with tasks and reconnection, not the lean loop of the other loads, so it runs on the threads
//! that a program has by default. The others have no counterpart in their protocols.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use streamkeeper_client::{Client, CreateOptions};

use crate::dialect::name;
use crate::error::Error;
use crate::load::{Extent, Load, Outcome, histogram, together};
use crate::record;
use crate::server::Server;

/// Connections.
const CONNECTIONS: usize = 4;

/// Streams of one connection, and the records in each.
type Sent = Vec<(u32, u64)>;

pub(super) async fn run(
    server: &Server,
    first: u32,
    streams: u32,
    extent: Extent,
) -> Result<Outcome, Error> {
    let load = Load {
        connections: CONNECTIONS,
        window: 0,
        first,
        streams,
        extent,
    };
    let address = server.address().to_string();
    let shares = (0..CONNECTIONS)
        .map(|connection| load.share(connection))
        .collect();
    let running = std::thread::spawn(move || on_threads(shares, &address, extent));
    // The thread has no panics of its own, and ends by the extent.
    let (sent, elapsed) = tokio::task::spawn_blocking(move || running.join())
        .await?
        .map_err(|_panic| Error::said(b"the producer's thread ended in a panic"))??;
    Ok(Outcome {
        streams: sent,
        elapsed,
        latencies: histogram(),
    })
}

fn on_threads(
    shares: Vec<Vec<u32>>,
    address: &str,
    extent: Extent,
) -> Result<(Sent, Duration), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(Error::io("starting a runtime"))?;
    runtime.block_on(async {
        let mut lanes = Vec::new();
        for share in shares {
            let client = Client::connect(address).await?;
            for stream in &share {
                client.create(name(*stream), CreateOptions::new()).await?;
            }
            lanes.push((client, share));
        }
        let over = Arc::new(AtomicBool::new(false));
        let records = extent.records / CONNECTIONS as u64;
        let begun = Instant::now();
        let end = begun + extent.time;
        let sent = together(lanes, |(client, share)| {
            produce(client, share, records, end, Arc::clone(&over))
        });
        let sent = sent.await?.into_iter().flatten().collect();
        Ok((sent, begun.elapsed()))
    })
}

async fn produce(
    client: Client,
    share: Vec<u32>,
    records: u64,
    end: Instant,
    over: Arc<AtomicBool>,
) -> Result<Sent, Error> {
    let mut producers = Vec::new();
    for stream in &share {
        producers.push(client.producer(name(*stream)).open().await?);
    }
    let mut sent: Sent = share.into_iter().map(|stream| (stream, 0)).collect();
    let mut left = records;
    while left > 0 && !over.load(Ordering::Relaxed) {
        for (producer, (stream, sequence)) in producers.iter().zip(&mut sent) {
            if left == 0 {
                break;
            }
            // Closing the producer reports what a receipt would.
            drop(producer.send(record::make(*stream, *sequence, 0)).await?);
            *sequence += 1;
            left -= 1;
        }
        if Instant::now() >= end {
            over.store(true, Ordering::Relaxed);
        }
    }
    for producer in producers {
        producer.close().await?;
    }
    client.close().await;
    Ok(sent)
}
