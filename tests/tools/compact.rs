//! `streamkeeper compact` gives back what is dead, and loses nothing that is alive.

use std::path::Path;

use streamkeeper::broker::Broker;
use streamkeeper::storage::Storage;

use crate::support::{Killed, append, create, files, name, on, options, read};

const STREAMS: [&str; 6] = ["plain", "trimmed", "closed", "fork", "orphan", "late"];

fn bytes(directory: &Path) -> usize {
    let files = files(directory).into_iter();
    files.map(|(_, bytes)| bytes.len()).sum()
}

async fn all(directory: &Path) -> Vec<(u64, Vec<Vec<u8>>)> {
    let broker = Broker::open(options(directory)).await.expect("opens");
    let mut found = Vec::new();
    for stream in STREAMS {
        found.push(read(&broker, stream).await);
    }
    broker.close_all().await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_directory_is_smaller_and_holds_the_same() {
    let killed = Killed::new().await;
    let broker = Broker::open(options(killed.path())).await.expect("opens");
    create(&broker, "large", None).await;
    for offset in 0..1500 {
        append(&broker, "large", offset).await;
        if offset % 10 == 0 {
            // So that no segment dies as a whole.
            append(&broker, "plain", 81 + offset / 10).await;
        }
    }
    broker.close_all().await;
    let before = all(killed.path()).await;
    let mut lazy = options(killed.path());
    lazy.removals_per_fold = 1;
    let broker = Broker::open(lazy).await.expect("opens");
    broker.delete(&name("large")).await.expect("deleted");
    broker.close_all().await;

    let large = bytes(killed.path());
    let ran = on(killed.path(), &["compact", "--json"]).ends_with(0);
    let small = bytes(killed.path());
    assert!(small * 2 < large, "{small} of {large} bytes: {ran:?}");
    // What is alive, at most as much dead, and an empty journal and store.
    let kept: usize = before.iter().map(|(_, records)| records.len()).sum();
    assert!(small < 2 * kept * (4 << 10) + (1 << 20), "{small} bytes");
    on(killed.path(), &["check"]).ends_with(0);
    assert!(
        all(killed.path()).await == before,
        "what was alive is there"
    );
    on(killed.path(), &["check"]).ends_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_journal_held_is_there_after_a_compaction() {
    let killed = Killed::new().await;
    on(killed.path(), &["compact"]).ends_with(0);
    on(killed.path(), &["check"]).ends_with(0);
    let broker = Broker::open(options(killed.path())).await.expect("opens");
    assert_eq!(read(&broker, "plain").await.1.len(), 81);
    assert_eq!(read(&broker, "late").await.1.len(), 1);
    append(&broker, "plain", 81).await;
    broker.close_all().await;
    on(killed.path(), &["compact"]).ends_with(0);
    assert_eq!(all(killed.path()).await.first().expect("plain").1.len(), 82);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_not_compacted() {
    let killed = Killed::new().await;
    let broker = Broker::open(options(killed.path())).await.expect("opens");
    let ran = on(killed.path(), &["compact"]).ends_with(2);
    assert!(ran.stderr.contains("in use"), "{}", ran.stderr);
    broker.close_all().await;
}
