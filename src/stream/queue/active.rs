//! The order in which the streams with something queued come up.
//!
//! First those that the last drain did not reach, then those that became active since, last those it took a share of: a stream
//! that begins need not wait behind long queues that had their turn, and what is passed over once is first the next time.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::stream::Stream;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Active {
    waiting: VecDeque<Arc<Stream>>,
    /// Gave a share to the last drain and have more.
    unfinished: VecDeque<Arc<Stream>>,
}

impl Active {
    /// Adds a stream that had nothing queued.
    pub(super) fn begin(&mut self, stream: Arc<Stream>) {
        self.waiting.push_back(stream);
    }

    /// Takes all, in order.
    pub(super) fn take(&mut self) -> VecDeque<Arc<Stream>> {
        let mut streams = std::mem::take(&mut self.waiting);
        streams.append(&mut self.unfinished);
        streams
    }

    /// Puts back those of the last [`Active::take`] that were `not_reached`, and those that are `unfinished`.
    pub(super) fn put_back(
        &mut self,
        mut not_reached: VecDeque<Arc<Stream>>,
        unfinished: VecDeque<Arc<Stream>>,
    ) {
        not_reached.append(&mut self.waiting);
        self.waiting = not_reached;
        self.unfinished = unfinished;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::StorageKind;

    fn streams<const N: usize>(names: [&str; N]) -> VecDeque<Arc<Stream>> {
        let stream = |name: &str| Stream::new(name.parse().unwrap(), StorageKind::Durable);
        names.map(|name| Arc::new(stream(name))).into()
    }

    fn names(streams: &VecDeque<Arc<Stream>>) -> Vec<&str> {
        streams
            .iter()
            .map(|stream| stream.name().as_str())
            .collect()
    }

    #[test]
    fn a_stream_that_begins_is_before_those_that_gave_a_share() {
        let mut active = Active::default();
        active.put_back(streams(["passed-over"]), streams(["long", "longer"]));
        active.begin(streams(["new"]).remove(0).unwrap());
        let order = active.take();
        assert_eq!(names(&order), ["passed-over", "new", "long", "longer"]);
        assert!(active.take().is_empty());
    }

    #[test]
    fn one_that_was_not_reached_is_before_all_others() {
        let mut active = Active::default();
        active.begin(streams(["new"]).remove(0).unwrap());
        active.put_back(streams(["long"]), streams(["longer"]));
        assert_eq!(names(&active.take()), ["long", "new", "longer"]);
    }
}
