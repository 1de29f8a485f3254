//! Takes back a commit for which there was no room: the streams it touched get the states of the last durable commit.
//!
//! The committer decides on states ahead of the disk, and keeps no copies of what they were: that would be paid by every commit for
//! the sake of one in a blue moon. So they are built again, as recovery builds them: from the store, and the journal's rows past
//! its watermark. What readers see was not touched.

use std::collections::HashMap;

use super::codec::{self, Entry};
use super::commit::Commit;
use super::error::StoreError;
use super::journal::{self, Journal, Row};
use super::shared::Shared;
use crate::rules::{self, Command, Effect, StreamState};
use crate::stream::Resident;
use crate::types::{StreamId, StreamName, Timestamp};

/// See the module. Its commands are answered by the caller; what the engine asked of itself is asked again.
pub(super) fn rewind(
    shared: &Shared,
    journal: &Journal,
    commit: &Commit,
) -> Result<(), StoreError> {
    let Some(chunks) = &shared.chunks else {
        return Ok(());
    };
    let names = commit.touched.iter().map(|touched| touched.stream.name());
    let (watermark, states) = chunks.load_all(&names.clone().map(StreamName::as_str))?;
    let mut rewound = Rewound {
        by_name: names.map(StreamName::as_str).zip(0..).collect(),
        by_id: HashMap::new(),
        states,
    };
    for (index, state) in rewound.states.iter().enumerate() {
        rewound
            .by_id
            .extend(state.as_ref().map(|state| (state.id, index)));
    }
    journal.read_again(watermark, |row| rewound.row(&row))?;
    for (touched, state) in commit.touched.iter().zip(rewound.states) {
        *touched.stream.state.lock() = Resident::Loaded(state);
    }
    for part in &commit.parts {
        part.stream.forget_touch();
        shared.submit_own(&part.stream, Command::Expire);
    }
    Ok(())
}

struct Rewound<'a> {
    by_name: HashMap<&'a str, usize>,
    by_id: HashMap<StreamId, usize>,
    states: Vec<Option<StreamState>>,
}

impl Rewound<'_> {
    fn row(&mut self, row: &Row) -> Result<(), StoreError> {
        let corrupt = |source| StoreError::Corrupt {
            file: journal::FILE,
            source,
        };
        for entry in codec::entries(&row.bytes).map_err(corrupt)? {
            let (id, entry) = entry.map_err(corrupt)?;
            self.entry(id, entry);
        }
        Ok(())
    }

    fn entry(&mut self, id: StreamId, entry: Entry) {
        if let Entry::Effect {
            effect: Effect::Created { .. },
            name,
        } = &entry
            && let Some(index) = self.by_name.get(&**name)
        {
            self.by_id.insert(id, *index);
        }
        let index = self.by_id.get(&id).copied();
        let Some(state) = index.and_then(|index| self.states.get_mut(index)) else {
            return;
        };
        match (entry, state) {
            (Entry::Run { run }, Some(state)) => {
                let at = Timestamp(run.header.committed_at);
                state.appended(run.header.count, run.header.payload_bytes(), at);
            }
            (Entry::Run { .. }, None) => {}
            (Entry::Effect { effect, .. }, state) => rules::apply(state, &effect),
        }
    }
}
