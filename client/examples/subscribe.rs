//! Follows a stream while another task appends to it, until the stream is closed.
//!
//! `cargo run -p streamkeeper-client --example subscribe [SERVER]`
//!
//! SERVER is `HOST:PORT` or `unix:PATH`; without it the environment's `STREAMKEEPER_SERVER`, or 127.0.0.1:4438.
//! Cut the connection while it runs, if you like: the subscription goes on at its next offset.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use streamkeeper_client::{
    Client, CreateOptions, EndReason, Error, ErrorCode, Start, SubscribeOptions,
};

const STREAM: &str = "example/subscribe";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::connect(&server()).await?;
    // The stream of an earlier run is closed: begin with a new one.
    match client.delete(STREAM).await {
        Err(error) if error.code() != Some(ErrorCode::NotFound) => return Err(error),
        _ => {}
    }
    client.create(STREAM, CreateOptions::new()).await?;

    let writer = tokio::spawn(write(client.clone()));

    // A client that was stopped would go on with `Start::Offset(the offset it kept)`.
    let options = SubscribeOptions::new().from(Start::Beginning);
    let mut records = client.subscribe(STREAM, options).await?;
    while let Some(record) = records.next().await {
        let record = record?;
        println!(
            "{}: {}",
            record.offset,
            String::from_utf8_lossy(&record.payload)
        );
    }
    if records.end_reason() == Some(EndReason::Closed) {
        println!(
            "the stream was closed after offset {}",
            records.next_offset()
        );
    }

    writer.await.unwrap_or(Err(Error::Closed))?;
    client.close().await;
    Ok(())
}

/// Appends ten records, slowly, and closes the stream.
async fn write(client: Client) -> Result<(), Error> {
    for n in 1..=10 {
        client.append(STREAM, format!("record {n}")).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.close_stream(STREAM).await?;
    Ok(())
}

fn server() -> String {
    std::env::args()
        .nth(1)
        .or_else(|| std::env::var("STREAMKEEPER_SERVER").ok())
        .unwrap_or_else(|| "127.0.0.1:4438".to_owned())
}
