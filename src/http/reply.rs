//! What a handler answers: a response whose body is mostly nothing or one piece of bytes, for which nothing is boxed.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::http::Response;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A response on its way out.
pub type Reply = Response<ReplyBody>;

/// The body of a [`Reply`].
#[derive(Debug, Default)]
pub enum ReplyBody {
    /// No bytes.
    #[default]
    Empty,
    /// All there is, in one piece.
    Whole(Bytes),
    /// Bytes over time, or made by a library.
    Other(axum::body::Body),
}

impl ReplyBody {
    /// Takes any body in.
    pub fn other<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::Other(axum::body::Body::new(body))
    }
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Whole(bytes)
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Other(body) => Pin::new(body).poll_frame(context).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(_) => false,
            Self::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Other(body) => body.size_hint(),
        }
    }
}

/// The error of services that always answer.
pub(super) type Never = Infallible;
