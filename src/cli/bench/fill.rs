//! Filling streams before what is measured, as fast as the client's producer does it.

use streamkeeper_client::Client;

use super::measure::{Latencies, payload};
use crate::cli::failure::Failure;

/// Appends records to a stream and waits until all are confirmed; `filled` counts them.
pub(super) async fn fill(
    client: &Client,
    name: &str,
    records: u64,
    record_bytes: usize,
    filled: &Latencies,
) -> Result<(), Failure> {
    let during = || Failure::during("filling the store");
    let record = payload(record_bytes);
    let producer = client.producer(name).open().await.map_err(during())?;
    for _ in 0..records {
        // Closing below reports the same failures as the receipt would.
        drop(producer.send(&record).await.map_err(during())?);
        filled.saw(1);
    }
    producer.close().await.map_err(during())
}
