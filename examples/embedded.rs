//! The broker inside a Rust program: no socket, the same streams.
//!
//! Run with `cargo run --example embedded`. It keeps its files in a temporary directory and ends by itself.

#![expect(clippy::print_stdout, reason = "an example shows what it read")]

use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::storage::{Changes, ReadLimits, Storage};
use streamkeeper::types::{
    AppendOptions, CreateOptions, Expiry, ProducerStamp, RecordBlock, Retention, Start, Str,
    StreamName,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let broker = Broker::open(BrokerOptions::in_directory(directory.path())).await?;

    // A stream that keeps its last 1,000 records and goes away a day after its last use.
    let orders = StreamName::new("shop/orders")?;
    let options = CreateOptions {
        content_type: Str::from("application/json"),
        expiry: Expiry::Ttl(24 * 60 * 60),
        retention: Retention {
            max_records: Some(1_000),
            ..Retention::default()
        },
        ..CreateOptions::default()
    };
    broker.create(&orders, options).await?;

    // When `append` returns, the records are on disk. A producer stamp makes a retry harmless.
    let batch = RecordBlock::from_payloads([r#"{"id":1}"#, r#"[{"id":2},{"id":3}]"#]);
    let producer = ProducerStamp {
        id: Str::from("checkout"),
        epoch: 0,
        seq: 0,
    };
    let stamped = AppendOptions {
        producer: Some(producer),
        ..AppendOptions::default()
    };
    let first = broker
        .append(&orders, batch.clone(), stamped.clone())
        .await?;
    let again = broker.append(&orders, batch, stamped).await?;
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(first.tail, again.tail, "the retry stored nothing");

    // Read them one by one.
    let read = broker
        .read_messages(&orders, Start::Beginning, ReadLimits::default())
        .await?;
    for message in &read.messages {
        println!(
            "{} {}",
            message.position,
            String::from_utf8_lossy(&message.payload)
        );
    }

    // Wait for what comes next while another task appends and closes.
    let mut changes = broker.subscribe(&orders).await?;
    let writer = {
        let (broker, orders) = (broker.clone(), orders.clone());
        tokio::spawn(async move {
            let last = RecordBlock::from_payloads([r#"{"id":4}"#]);
            broker
                .append(
                    &orders,
                    last,
                    AppendOptions {
                        close: true,
                        ..AppendOptions::default()
                    },
                )
                .await
        })
    };
    println!("{:?}", changes.next().await);
    let news = broker
        .read(&orders, Start::At(read.next.offset), ReadLimits::live())
        .await?;
    println!(
        "{} (closed: {})",
        String::from_utf8_lossy(&news.bytes),
        news.closed
    );
    writer.await??;

    let about = broker.get_metadata(&orders).await?;
    println!("{} records, {} bytes", about.records(), about.bytes());
    broker.close_all().await;
    Ok(())
}
