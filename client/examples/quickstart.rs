//! Creates a stream, appends to it, and reads it back.
//!
//! `cargo run -p streamkeeper-client --example quickstart [SERVER]`
//!
//! SERVER is `HOST:PORT` or `unix:PATH`; without it the environment's `STREAMKEEPER_SERVER`, or 127.0.0.1:4438.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use streamkeeper_client::{AppendOptions, Client, CreateOptions, Error, ReadOptions, Start};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::connect(&server()).await?;
    let info = client.server().await?;
    println!("connected to {} {}", info.id, info.version);

    // Creating a stream that is there already, with the same options, is success: safe at every start.
    let created = client
        .create("example/quickstart", CreateOptions::new())
        .await?;
    println!(
        "the stream {}",
        if created.existed { "existed" } else { "is new" }
    );

    // Each append returns once its records are durable.
    let appended = client.append("example/quickstart", "one record").await?;
    println!("appended up to offset {}", appended.tail);
    let batch = ["two records,", "all or none"];
    let appended = client
        .append_batch("example/quickstart", batch, AppendOptions::new())
        .await?;
    println!("appended up to offset {}", appended.tail);

    let mut from = Start::Beginning;
    loop {
        let page = client
            .read("example/quickstart", ReadOptions::new().from(from))
            .await?;
        for record in &page.records {
            println!(
                "{}: {}",
                record.offset,
                String::from_utf8_lossy(&record.payload)
            );
        }
        if !page.more {
            break;
        }
        from = Start::Offset(page.next);
    }

    client.close().await;
    Ok(())
}

fn server() -> String {
    std::env::args()
        .nth(1)
        .or_else(|| std::env::var("STREAMKEEPER_SERVER").ok())
        .unwrap_or_else(|| "127.0.0.1:4438".to_owned())
}
