//! Reading request bodies within bounds: each one, and all that are being read or appended at a time.
//!
//! A body counts from its first byte here until its append is answered, so what clients send cannot take more memory than was
//! set aside, however many there are. Over the bound a client is told 429 and tries again.
//!
//! A body that is refused is read on for a while and thrown away: an answer given while the client still sends is often lost,
//! since the connection is reset under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::error::Failure;
use crate::metrics::Gauge;

/// Time a client has for each [`STRETCH_BYTES`] of a body, or for what is left of it: what a client holds of the common bound,
/// it holds for a reason.
const STRETCH_TIME: Duration = Duration::from_secs(30);
const STRETCH_BYTES: usize = 64 << 10;
/// How much of a refused body is read and thrown away, and for how long.
const DISCARD_BYTES_MAX: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The bounds.
#[derive(Clone, Debug)]
pub(super) struct Bodies {
    body_bytes_max: usize,
    total_bytes_max: usize,
    total: Arc<Total>,
}

/// What all bodies hold together.
#[derive(Debug)]
struct Total {
    bytes: AtomicUsize,
    shown: Gauge,
}

/// Bytes of the common bound, given back on drop.
#[derive(Debug)]
struct Held {
    total: Arc<Total>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.total.shown.decrement(self.bytes as u64);
    }
}

/// A body that was read whole. Keep it until what it says is done.
#[derive(Debug)]
pub(super) struct Payload {
    bytes: Bytes,
    _held: Held,
}

impl Payload {
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Bodies {
    /// Bounds whose use `shown` shows.
    pub(super) fn new(body_bytes_max: usize, total_bytes_max: usize, shown: Gauge) -> Self {
        let bytes = AtomicUsize::new(0);
        Self {
            body_bytes_max,
            total_bytes_max,
            total: Arc::new(Total { bytes, shown }),
        }
    }

    /// Reads `body` to its end.
    ///
    /// # Errors
    /// Too large, too many at a time, too slow, or cut off.
    pub(super) async fn read(&self, body: &mut Incoming) -> Result<Payload, Failure> {
        let mut held = Held {
            total: Arc::clone(&self.total),
            bytes: 0,
        };
        let announced = body.size_hint().lower();
        if announced > self.body_bytes_max as u64 {
            return Err(Failure::body_too_large(self.body_bytes_max));
        }
        let mut pace = Pace::new(Instant::now());
        let Some(first) = next(body, &pace).await? else {
            return Ok(Payload {
                bytes: Bytes::new(),
                _held: held,
            });
        };
        self.hold(&mut held, first.len())?;
        if body.is_end_stream() {
            return Ok(Payload {
                bytes: first,
                _held: held,
            });
        }
        // Grows by what came: a size that was only announced takes no memory.
        let mut bytes = BytesMut::from(first.as_ref());
        pace.took(first.len(), Instant::now);
        drop(first);
        while let Some(piece) = next(body, &pace).await? {
            self.hold(&mut held, piece.len())?;
            pace.took(piece.len(), Instant::now);
            bytes.extend_from_slice(&piece);
        }
        Ok(Payload {
            bytes: bytes.freeze(),
            _held: held,
        })
    }

    fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Failure> {
        if held.bytes + bytes > self.body_bytes_max {
            return Err(Failure::body_too_large(self.body_bytes_max));
        }
        let before = self.total.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.total.shown.increment(bytes as u64);
        held.bytes += bytes;
        if before + bytes > self.total_bytes_max {
            return Err(Failure::busy());
        }
        Ok(())
    }
}

/// Until when a client must have sent on.
#[derive(Debug)]
struct Pace {
    deadline: Instant,
    stretch: usize,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            deadline: now + STRETCH_TIME,
            stretch: 0,
        }
    }

    fn took(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        self.stretch += bytes;
        if self.stretch >= STRETCH_BYTES {
            *self = Self::new(now());
        }
    }
}

/// The next piece of data; trailers mean nothing here.
async fn next(body: &mut Incoming, pace: &Pace) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = match tokio::time::timeout_at(pace.deadline, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                let message = format!("the body broke off: {error}");
                return Err(Failure::bad_request("BODY_BROKEN", message));
            }
            Err(_elapsed) => return Err(Failure::body_timeout()),
        };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Reads what is left of a body that nobody wants, up to a bound.
pub(super) async fn discard(headers: &HeaderMap, body: &mut Incoming) {
    // Asking for a body that the client holds back until it is told to go on would only make it send.
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DISCARD_BYTES_MAX {
                return;
            }
        }
    };
    // Out of time is as good as at the end: the answer goes out either way.
    tokio::time::timeout(DISCARD_TIME, read).await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_drips_is_given_up_and_one_that_sends_is_not() {
        let start = Instant::now();
        let at = |seconds| move || start + Duration::from_secs(seconds);
        let mut pace = Pace::new(start);
        for second in 0..29 {
            pace.took(1, at(second));
        }
        assert_eq!(pace.deadline, at(30)());
        pace.took(STRETCH_BYTES - 29, at(29));
        assert_eq!(pace.deadline, at(59)());
        pace.took(STRETCH_BYTES - 1, at(40));
        assert_eq!(pace.deadline, at(59)());
    }
}
