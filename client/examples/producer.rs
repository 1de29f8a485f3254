//! Stores a hundred thousand records, each exactly once, through an idempotent producer.
//!
//! `cargo run --release -p streamkeeper-client --example producer [SERVER]`
//!
//! SERVER is `HOST:PORT` or `unix:PATH`; without it the environment's `STREAMKEEPER_SERVER`, or 127.0.0.1:4438.
//! Restart the server while it runs, if you like: what was not confirmed is sent again, and stored once.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Instant;

use streamkeeper_client::{Client, CreateOptions, Error, ErrorCode};

const STREAM: &str = "example/producer";
const RECORDS: u32 = 100_000;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::connect(&server()).await?;
    client.create(STREAM, CreateOptions::new()).await?;
    let before = client.stat(STREAM).await?.tail;

    // The epoch rises with every start of the program. A real one keeps it with its own state; this one keeps it in
    // the stream: the tail is larger after every run that stored anything.
    let producer = client
        .producer(STREAM)
        .id("example")
        .epoch(before)
        .open()
        .await?;
    let began = Instant::now();
    for n in 0..RECORDS {
        // Waits only while the window is full. The receipt, for those who need it, resolves when this record is
        // durable; most programs drop it and flush now and then.
        let _receipt = producer.send(format!("record {n}")).await?;
    }
    match producer.close().await {
        Ok(()) => {}
        Err(error) if error.code() == Some(ErrorCode::ProducerFenced) => {
            println!("another run with a higher epoch took over");
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let elapsed = began.elapsed();

    let after = client.stat(STREAM).await?.tail;
    println!(
        "{} records stored in {elapsed:?}, offsets {before} to {after}",
        after - before
    );
    client.close().await;
    Ok(())
}

fn server() -> String {
    std::env::args()
        .nth(1)
        .or_else(|| std::env::var("STREAMKEEPER_SERVER").ok())
        .unwrap_or_else(|| "127.0.0.1:4438".to_owned())
}
