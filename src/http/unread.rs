//! A socket whose peer must take what is written to it within a time.
//!
//! A reader that stops reading would otherwise hold its connection, and what is buffered for it, for as long as it likes.
//! The time runs only while a write waits, and starts again whenever some bytes were taken. What is written in small pieces,
//! as chunks of a body are, goes out in one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Pieces of this much together are written as one: a copy of them costs less than a gathered write.
const GATHERED_BYTES_MAX: usize = 2048;

/// See the module.
#[derive(Debug)]
pub(super) struct UnreadLimit<S> {
    socket: S,
    limit: Duration,
    /// Made at the first write that waits; most sockets never have one.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<S> UnreadLimit<S> {
    pub(super) fn new(socket: S, limit: Duration) -> Self {
        Self {
            socket,
            limit,
            timer: None,
            waiting: false,
        }
    }

    /// Passes the outcome of a write on, unless it has been waiting for too long.
    fn watched<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = false;
            return outcome;
        }
        let deadline = Instant::now() + self.limit;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(deadline);
        }
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for UnreadLimit<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for UnreadLimit<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.watched(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let socket = Pin::new(&mut self.socket);
        let outcome = if bytes <= GATHERED_BYTES_MAX {
            let mut gathered = SmallVec::<[u8; GATHERED_BYTES_MAX]>::new();
            for slice in slices {
                gathered.extend_from_slice(slice);
            }
            socket.poll_write(context, &gathered)
        } else {
            socket.poll_write_vectored(context, slices)
        };
        self.watched(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.socket).poll_flush(context);
        self.watched(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.socket).poll_shutdown(context);
        self.watched(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_cut_off_in_time() {
        let (near, _far) = tokio::io::duplex(16);
        let mut near = UnreadLimit::new(near, Duration::from_millis(50));
        let started = Instant::now();
        let error = near.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn pieces_small_and_large_come_as_written_however_little_the_peer_takes() {
        for size in [1, 500, GATHERED_BYTES_MAX] {
            let pieces = [vec![b'a'; size], Vec::new(), vec![b'b'; size]];
            let (near, mut far) = tokio::io::duplex(16);
            let mut near = UnreadLimit::new(near, Duration::from_secs(5));
            let reading = tokio::spawn(async move {
                let mut all = Vec::new();
                far.read_to_end(&mut all).await.map(|_| all)
            });
            let mut slices = pieces.each_ref().map(|piece| IoSlice::new(piece));
            let mut left = &mut slices[..];
            while left.iter().any(|slice| !slice.is_empty()) {
                let written = near.write_vectored(left).await.expect("taken");
                IoSlice::advance_slices(&mut left, written);
            }
            drop(near);
            let all = reading.await.expect("no panic").expect("read all");
            assert!(all == pieces.concat(), "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_slow_peer_that_reads_on_is_served() {
        // All of it takes longer than the limit, no piece does.
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = UnreadLimit::new(near, Duration::from_secs(1));
        let reading = tokio::spawn(async move {
            let mut piece = [0; 16];
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(300)).await;
                far.read_exact(&mut piece).await.expect("read");
            }
        });
        near.write_all(&[0; 64]).await.expect("taken in the end");
        reading.await.expect("read all");
    }
}
