//! Forks in the committer: what a decision about one stream means for the stream it forked off, in the same transaction.
//!
//! The committer is the only one that holds two streams' states at a time, and always a fork's before its source's; a
//! stream that is no fork ends the chain, so no two meet the other way round. The rules are [`crate::rules`]'s.

use std::sync::Arc;

use super::commit::Commit;
use super::committer::Committer;
use crate::rules::{self, Effect, Effects, StreamState};
use crate::stream::{Live, Resident, Stream};
use crate::types::{Error, Fault, Fork, Position, Refusal, StreamId};

/// A stream that another forks off, and what happens to it.
pub(super) struct Source {
    stream: Arc<Stream>,
    fork: Arc<Fork>,
    taken: bool,
}

impl Committer {
    /// The source that a decision touches: of a fork that comes into being, or goes. A new fork begins where its source does
    /// now, which may have been trimmed since the fork point was found.
    pub(super) fn source_of(
        &self,
        commit: &Commit,
        stream: &Stream,
        state: Option<&StreamState>,
        effects: &mut Effects,
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
                    let shown = shown_earliest(&source.stream.live(), known);
                    drop(resident);
                    if fork.at.offset < shown.offset {
                        let earliest = shown.offset;
                        return Err(Refusal::Trimmed { earliest }.into());
                    }
                    let fork = Arc::make_mut(fork);
                    fork.earliest = fork.earliest.max(shown);
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

    /// Writes down what the decision about the current stream, now `id`, means for its source; a source that goes with its last fork is
    /// followed to its own. Then the stream is the current one again.
    pub(super) fn follow(&mut self, commit: &mut Commit, id: Option<StreamId>, source: Source) {
        let current = commit.leave_stream(id);
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
                let until = fork.at.offset;
                Effects::from_iter([Effect::ForkTaken { until }])
            } else {
                rules::released(known, commit.at)
            };
            commit.enter_stream(&stream);
            for effect in &effects {
                self.write(commit, stream.name().as_str(), state, effect);
            }
            commit.leave_stream(Some(known_id));
            if let (None, Some(above)) = (&*state, above) {
                drop(resident);
                // A source that cannot be read keeps its count: its records stay, nothing is lost but their room.
                next = self.source(&above, false).ok();
            }
        }
        commit.return_to(current);
    }
}

/// The earliest record of a source, with trims that readers were shown and that are not written down yet.
fn shown_earliest(live: &Live, state: Option<&StreamState>) -> Position {
    let Some(state) = state else {
        return Position::START;
    };
    let view = live.view.as_ref().filter(|view| view.id == state.id);
    view.map_or(state.earliest, |view| view.earliest.max(state.earliest))
}
