//! A peer that is done sending, and still waits for an answer.
//!
//! Shutting the sending side down after a request is allowed, and looks like going away. For a reader that waits it must be taken
//! for that, or its connection would stay for as long as it might have waited. A request that is answered soon is answered: while
//! it is under way, the end of what the peer sends is not shown to the connection.
//!
//! HTTP/1 only: there the request is polled by the task of its connection, which looks again once it is answered.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

tokio::task_local! {
    static UNDER_WAY: Arc<AtomicBool>;
}

/// A request is under way until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Option<Arc<AtomicBool>>);

impl UnderWay {
    /// Begins, for the connection whose task this is.
    pub(super) fn begin() -> Self {
        let flag = UNDER_WAY.try_with(Arc::clone).ok();
        if let Some(flag) = &flag {
            flag.store(true, Ordering::Relaxed);
        }
        Self(flag)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(flag) = &self.0 {
            flag.store(false, Ordering::Relaxed);
        }
    }
}

/// Runs what serves a socket, so that its requests can say when they are under way.
pub(super) async fn scope<F: Future>(under_way: Arc<AtomicBool>, serving: F) -> F::Output {
    UNDER_WAY.scope(under_way, serving).await
}

/// A socket that keeps its end to itself while a request is under way.
#[derive(Debug)]
pub(super) struct PatientSocket<S> {
    socket: S,
    under_way: Arc<AtomicBool>,
}

impl<S> PatientSocket<S> {
    pub(super) fn new(socket: S) -> Self {
        let under_way = Arc::new(AtomicBool::new(false));
        Self { socket, under_way }
    }

    /// What [`scope`] needs.
    pub(super) fn under_way(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.under_way)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PatientSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let outcome = Pin::new(&mut self.socket).poll_read(context, buffer);
        let ended =
            matches!(outcome, Poll::Ready(Ok(()))) && room > 0 && buffer.filled().len() == before;
        if ended && self.under_way.load(Ordering::Relaxed) {
            // The answer wakes the task, and the end is found again.
            return Poll::Pending;
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PatientSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
