//! All streams of a prefix, as a [`Stream`] over pages.
//!
//! Holds one page at a time and asks for the next when it is used up. Streams created or deleted meanwhile may or
//! may not be seen; none is seen twice, because each page starts after the last name of the one before.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use streamkeeper_protocol::Str;

use crate::client::Client;
use crate::error::Error;
use crate::types::{ListPage, StreamEntry};

/// How many names to ask for at once.
const PAGE_STREAMS: u32 = 500;

type Fetching = Pin<Box<dyn Future<Output = Result<ListPage, Error>> + Send>>;

/// The streams of [`Client::list`], in byte order of their names. After an error it goes on where it stopped.
pub struct Listing {
    client: Client,
    prefix: Str,
    after: Str,
    page: VecDeque<StreamEntry>,
    more: bool,
    fetching: Option<Fetching>,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("prefix", &self.prefix)
            .field("after", &self.after)
            .field("more", &self.more)
            .finish_non_exhaustive()
    }
}

impl Listing {
    pub(crate) fn new(client: Client, prefix: Str) -> Self {
        Self {
            client,
            prefix,
            after: Str::new(),
            page: VecDeque::new(),
            more: true,
            fetching: None,
        }
    }

    /// The next stream; `None` after the last.
    ///
    /// # Errors
    /// As [`Client::list_page`]; asking again tries again.
    ///
    /// # Cancel safety
    /// Safe: a page on its way is kept.
    pub async fn next(&mut self) -> Option<Result<StreamEntry, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    fn fetch(&self) -> Fetching {
        let (client, prefix, after) =
            (self.client.clone(), self.prefix.clone(), self.after.clone());
        Box::pin(async move { client.list_page(prefix, after, PAGE_STREAMS).await })
    }
}

impl Stream for Listing {
    type Item = Result<StreamEntry, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(entry) = this.page.pop_front() {
                return Poll::Ready(Some(Ok(entry)));
            }
            if !this.more {
                return Poll::Ready(None);
            }
            let mut fetching = this.fetching.take().unwrap_or_else(|| this.fetch());
            let Poll::Ready(fetched) = fetching.as_mut().poll(context) else {
                this.fetching = Some(fetching);
                return Poll::Pending;
            };
            match fetched {
                Ok(page) => {
                    // A page that is empty and yet promises more would be asked for again for ever.
                    this.more = page.more && !page.streams.is_empty();
                    if let Some(last) = page.streams.last() {
                        this.after = last.stream.as_str().into();
                    }
                    this.page = page.streams.into();
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}
