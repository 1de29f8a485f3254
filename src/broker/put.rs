//! Creating a stream whole: with its first records, closed at birth, or as a fork.

use super::Broker;
use crate::rules::{Answer, Command};
use crate::stream::View;
use crate::types::{
    CreateOptions, Created, Creation, Error, Expiry, Fault, ForkRequest, RecordBlock, Refusal,
    Retention, StorageKind, Str, StreamName,
};

/// What a stream shall be.
#[derive(Clone, Debug, Default)]
pub struct PutRequest {
    /// Media type; `None` is the source's for a fork, else `application/octet-stream`.
    pub content_type: Option<Str>,
    /// When it goes away by itself; `Never` on a fork is what its source has.
    pub expiry: Expiry,
    /// How much of it is kept. Not for forks.
    pub retention: Retention,
    /// Which backend keeps it; `None`: where it is already, its source's for a fork, else the broker's default.
    pub storage: Option<StorageKind>,
    /// Its first records; not looked at if the stream exists.
    pub body: RecordBlock,
    /// Whether it is closed at birth; a stream that exists must be just so.
    pub closed: bool,
    /// The stream it forks, if any.
    pub fork: Option<ForkRequest>,
}

/// What a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Whether it existed, and where its tail is.
    pub created: Created,
    /// Its media type, as it was given when it was created.
    pub content_type: Str,
}

impl Broker {
    /// Creates a stream whole, or confirms that it exists with the same configuration, the same origin and as open or closed
    /// as asked for.
    ///
    /// # Errors
    /// `AlreadyExists` (otherwise configured, or kept for its forks), `InvalidOption`, `InvalidJson`, `RecordTooLarge`; of a fork
    /// also `NotFound` and `SourceGone` (its source), `ContentTypeMismatch`, `PastTail` and `Trimmed` (the fork point).
    pub async fn put(&self, name: &StreamName, request: PutRequest) -> Result<Put, Error> {
        let existing = match self.view(name).await {
            Ok(view) => Some(view),
            Err(Error::Refused(Refusal::NotFound)) => None,
            Err(Error::Refused(Refusal::Gone)) => return Err(Refusal::AlreadyExists.into()),
            Err(error) => return Err(error),
        };
        let creation = match (&request.fork, &existing) {
            (None, existing) => self.plain(&request, existing.as_ref()),
            (Some(fork), Some(existing)) => Self::same_fork(&request, fork, existing),
            (Some(fork), None) => self.fork(&request, fork).await?,
        };
        // What it says when it exists counts, not what was asked: types are compared without regard to case.
        let existing_type = existing.map(|view| view.options.content_type.clone());
        let content_type = existing_type.unwrap_or_else(|| creation.options.content_type.clone());
        let storage = creation.options.storage;
        let handle = self.stream_to_create(name.as_str(), storage)?;
        match self.submit(handle, Command::create(creation)).await? {
            Answer::Created(created) => Ok(Put {
                created,
                content_type,
            }),
            other => Err(Error::Fault(Fault::StoreFaulted {
                reason: format!("unexpected answer {other:?}"),
            })),
        }
    }

    fn plain(&self, request: &PutRequest, existing: Option<&View>) -> Creation {
        let defaults = CreateOptions::default();
        let storage = existing.map_or(self.inner.default_storage, |view| view.options.storage);
        Creation {
            options: CreateOptions {
                content_type: request
                    .content_type
                    .clone()
                    .unwrap_or(defaults.content_type),
                expiry: request.expiry,
                retention: request.retention,
                storage: request.storage.unwrap_or(storage),
            },
            batch: request.body.clone(),
            closed: Some(request.closed),
            fork: None,
        }
    }
}
