//! The streams with something queued, as they come up.
//!
//! Those of light clients come first, up to half of a drain, then those that the last one passed over, then those that became active since,
//! last those it took a share of.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::stream::Stream;

/// See the module. Between drains the committer holds none of them.
#[derive(Debug, Default)]
pub(super) struct Active {
    /// Had nothing queued before, and got the first of a light client.
    pub light: VecDeque<Arc<Stream>>,
    /// Passed over by the last drain.
    pub waiting: VecDeque<Arc<Stream>>,
    /// Had nothing queued before.
    pub begun: VecDeque<Arc<Stream>>,
    /// Gave a share to the last drain and have more.
    pub unfinished: VecDeque<Arc<Stream>>,
}

impl Active {
    /// Adds a stream that had nothing queued, and whether its first is of a light client.
    pub fn begin(&mut self, stream: Arc<Stream>, light: bool) {
        if light {
            self.light.push_back(stream);
        } else {
            self.begun.push_back(stream);
        }
    }

    /// Takes all.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.light.len() + self.waiting.len() + self.begun.len() + self.unfinished.len()
    }

    /// Puts back what a drain `passed_over`, and those that are `unfinished`.
    pub fn put_back(
        &mut self,
        passed_over: VecDeque<Arc<Stream>>,
        unfinished: VecDeque<Arc<Stream>>,
    ) {
        self.waiting.extend(passed_over);
        self.unfinished.extend(unfinished);
    }
}
