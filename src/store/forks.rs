//! Forks in the committer: what a decision about one stream means for the stream it forked off, in the same transaction.
//!
//! The committer is the only one that holds two streams' states at a time, and always a fork's before its source's; a
//! stream that is no fork ends the chain, so no two meet the other way round. The rules are [`crate::rules`]'s.

use std::sync::Arc;

use super::commit::Commit;
use super::committer::Committer;
use crate::rules::{self, Effect, Effects, StreamState};
use crate::stream::{Resident, Stream};
use crate::types::{Error, Fault, Fork, Refusal, StreamId};

/// A stream that another forks off, and what happens to it.
pub(super) struct Source {
    stream: Arc<Stream>,
    fork: Arc<Fork>,
    taken: bool,
}

impl Committer {
    /// The source that a decision touches: of a fork that comes into being, or goes.
    pub(super) fn source_of(
        &self,
        commit: &Commit,
        stream: &Stream,
        state: Option<&StreamState>,
        effects: &Effects,
    ) -> Result<Option<Source>, Error> {
        for effect in effects {
            match effect {
                Effect::Created {
                    fork: Some(fork), ..
                } => {
                    let source = self.source(fork, true)?;
                    if source.stream.name() == stream.name() {
                        return Err(Refusal::NotFound.into());
                    }
                    let resident = source.stream.state.lock();
                    let known = match &*resident {
                        Resident::Loaded(state) => state.as_ref(),
                        Resident::Unloaded => None,
                    };
                    rules::check_source(known, fork, commit.at)?;
                    drop(resident);
                    return Ok(Some(source));
                }
                Effect::Deleted { .. } => {
                    if let Some(fork) = state.and_then(|state| state.fork.as_ref()) {
                        return Ok(Some(self.source(fork, false)?));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn source(&self, fork: &Arc<Fork>, taken: bool) -> Result<Source, Error> {
        let name = fork.request.source.as_str();
        let stream = self.shared.registry.get_or_create(name)?;
        self.shared.ensure_loaded(&stream).map_err(|error| {
            let reason = error.to_string();
            Error::Fault(Fault::Read { reason })
        })?;
        Ok(Source {
            stream,
            fork: Arc::clone(fork),
            taken,
        })
    }

    /// Writes down what the decision about `stream`, now `id`, means for its source; a source that goes with its last fork is
    /// followed to its own. Then `stream` is the current one again.
    pub(super) fn follow(
        &mut self,
        commit: &mut Commit,
        stream: &Arc<Stream>,
        id: Option<StreamId>,
        source: Source,
    ) {
        commit.end_stream(id, true);
        let mut next = Some(source);
        while let Some(Source {
            stream,
            fork,
            taken,
        }) = next.take()
        {
            let mut resident = stream.state.lock();
            let Resident::Loaded(state) = &mut *resident else {
                break;
            };
            let Some(known) = state.as_ref().filter(|known| known.id == fork.source) else {
                break;
            };
            let (known_id, above) = (known.id, known.fork.clone());
            let effects = if taken {
                Effects::from_iter([Effect::ForkTaken])
            } else {
                rules::released(known, commit.at)
            };
            commit.begin_stream(Arc::clone(&stream));
            for effect in &effects {
                self.write(commit, stream.name().as_str(), state, effect);
            }
            commit.end_stream(Some(known_id), true);
            if let (None, Some(above)) = (&*state, above) {
                drop(resident);
                // A source that cannot be read keeps its count: its records stay, nothing is lost but their room.
                next = self.source(&above, false).ok();
            }
        }
        commit.begin_stream(Arc::clone(stream));
    }
}
