//! Who forks off whom: a source must be there, know how many forks it has, and keep what they read of it.

use std::collections::HashMap;
use std::ops::Range;

use super::findings::{Findings, Problem};
use crate::rules::StreamState;
use crate::store::{StoreError, chunks};
use crate::types::StreamId;

/// What the states say of each other. Grows with the number of forks, not of streams.
#[derive(Debug, Default)]
pub(super) struct Forks {
    /// How many forks a stream says it has, if any.
    declared: HashMap<StreamId, u64>,
    /// A fork, its source, and the records it reads there.
    links: HashMap<StreamId, (StreamId, Range<u64>)>,
    /// By source.
    shared: HashMap<StreamId, Vec<Range<u64>>>,
}

impl Forks {
    /// Takes in what the state of stream `id` says, `None` if it is gone. The last word counts.
    pub fn note(&mut self, id: StreamId, state: Option<&StreamState>) {
        self.declared.remove(&id);
        self.links.remove(&id);
        let Some(state) = state else { return };
        if state.forks > 0 {
            self.declared.insert(id, state.forks);
        }
        if let Some(fork) = &state.fork {
            let read = fork.earliest.offset.0..fork.at.offset.0;
            self.links.insert(id, (fork.source, read));
        }
    }

    /// Sorts by source what was noted so far.
    pub fn sort(&mut self) {
        for (source, read) in self.links.values() {
            self.shared.entry(*source).or_default().push(read.clone());
        }
    }

    /// The records of stream `id` that its forks read.
    pub fn read_of(&self, id: StreamId) -> impl Iterator<Item = &Range<u64>> {
        self.shared.get(&id).into_iter().flatten()
    }

    /// Compares what was noted; answers how many forks there are.
    pub fn compare(
        &self,
        findings: &mut Findings<'_>,
        exists: impl Fn(StreamId) -> Result<bool, StoreError>,
    ) -> Result<u64, StoreError> {
        let mut counted: HashMap<StreamId, u64> = HashMap::new();
        for (fork, (source, _)) in &self.links {
            *counted.entry(*source).or_default() += 1;
            if !exists(*source)? {
                let what = format!("it forks off stream {}, which is not there", source.0);
                findings.problem(Problem::in_file(chunks::FILE, what).of(*fork, None));
            }
        }
        let sources = counted.keys().chain(self.declared.keys());
        let mut sources: Vec<StreamId> = sources.copied().collect();
        sources.sort_unstable();
        sources.dedup();
        for id in sources {
            if !exists(id)? {
                continue;
            }
            let says = self.declared.get(&id).copied().unwrap_or(0);
            let has = counted.get(&id).copied().unwrap_or(0);
            if says != has {
                let what = format!("it says that it has {says} forks, and has {has}");
                findings.problem(Problem::in_file(chunks::FILE, what).of(id, None));
            }
        }
        Ok(self.links.len() as u64)
    }
}
