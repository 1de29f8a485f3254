//! What the broker has of a stream: its status and every record, read over the wire.

use std::time::Duration;

use streamkeeper_client::{Client, ErrorCode, ReadOptions, Start, StreamStatus};
use tokio::time::{Instant, sleep};

use crate::history::Written;
use crate::http::{Http, Request};

/// How long anything may take that takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A stream as it was found.
#[derive(Debug)]
pub struct Found {
    pub status: StreamStatus,
    pub first: u64,
    pub records: Vec<Written>,
}

impl Found {
    /// The offset after the last record read.
    pub fn tail(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// The record at `offset`.
    pub fn at(&self, offset: u64) -> Option<&Written> {
        let index = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.records.get(index)
    }
}

/// Reads a stream whole; `None` if there is none. Every record must be whole, and its offset the next.
pub async fn find(client: &Client, stream: &str) -> Option<Found> {
    let status = match client.stat(stream).await {
        Ok(status) => at_rest(client, stream, status).await,
        Err(error) => {
            assert_eq!(error.code(), Some(ErrorCode::NotFound), "{stream}: {error}");
            return None;
        }
    };
    let mut records = Vec::new();
    let first = status.earliest;
    let mut from = Start::Offset(first);
    loop {
        let page = client.read(stream, ReadOptions::new().from(from)).await;
        let page = page.unwrap_or_else(|error| fail(&format!("{stream} from {from:?}: {error}")));
        for record in &page.records {
            let expected = first + records.len() as u64;
            assert_eq!(record.offset, expected, "{stream}: a gap or a duplicate");
            let written = Written::of(&record.payload);
            let broken = || {
                fail(&format!(
                    "{stream}@{expected}: {:?} is torn",
                    record.payload
                ))
            };
            records.push(written.unwrap_or_else(broken));
        }
        if !page.more {
            assert_eq!(page.closed, status.closed, "{stream}: read and stat differ");
            assert_eq!(page.tail, status.tail, "{stream}: read and stat differ");
            break;
        }
        from = Start::Offset(page.next);
    }
    let found = Found {
        status,
        first,
        records,
    };
    assert_eq!(
        found.tail(),
        found.status.tail,
        "{stream}: records are missing"
    );
    Some(found)
}

/// Holds a stream as HTTP reads it against how it was found over TCP: the same bytes, the same tail.
pub async fn same_over_http(http: &Http, stream: &str, found: &Found) {
    let status = &found.status;
    let mut offset = format!("{:016}_{:016}", status.earliest, status.earliest_byte);
    let mut bytes = Vec::new();
    loop {
        let get = Request::new("GET", &format!("{stream}?offset={offset}"));
        let answer = http.ask(&get).await.expect("HTTP is answered");
        assert_eq!(answer.status, 200, "{stream} from {offset}: {answer:?}");
        let next = answer.header("stream-next-offset");
        next.expect("where to read on").clone_into(&mut offset);
        bytes.extend_from_slice(&answer.body);
        if answer.header("stream-up-to-date") == Some("true") {
            let closed = answer.header("stream-closed") == Some("true");
            assert_eq!(closed, status.closed, "{stream}: closed");
            break;
        }
    }
    let tail = format!("{:016}_{:016}", status.tail, status.tail_byte);
    assert_eq!(offset, tail, "{stream}: the tail");
    let records = found.records.iter().map(|record| record.payload());
    let expected = records.collect::<Vec<_>>().concat();
    assert!(bytes == expected, "{stream}: other bytes over HTTP");
}

/// The status once retention has done its work.
async fn at_rest(client: &Client, stream: &str, mut status: StreamStatus) -> StreamStatus {
    let deadline = Instant::now() + PATIENCE;
    let over = |status: &StreamStatus| {
        let (records, bytes) = (
            status.tail - status.earliest,
            status.tail_byte - status.earliest_byte,
        );
        status.max_records.is_some_and(|max| records > max)
            || status
                .max_bytes
                .is_some_and(|max| bytes > max && records > 1)
    };
    while over(&status) {
        assert!(
            Instant::now() < deadline,
            "{stream}: too much is kept: {status:?}"
        );
        sleep(Duration::from_millis(5)).await;
        status = client.stat(stream).await.expect("the stream is there");
    }
    status
}

/// Fails the test.
pub fn fail(what: &str) -> ! {
    panic!("{what}")
}
