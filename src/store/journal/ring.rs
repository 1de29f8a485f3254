//! Where in `journal.log` the next commit goes. Pure: no I/O.
//!
//! Frames follow each other to the end of the file, then go on at its front where that has been folded; the file grows only if
//! it has not. Blocks are written over in place, which is what makes a sync cheap: the file system has nothing of its own
//! to write down.
//!
//! Invariants: a frame never overlaps one that is live (not folded yet). A place is either right behind the frame before it, or
//! the front of the file, or its end: so a frame that is still to be seen in the file has not been written over further
//! on, and readers may go from frame to frame.

use std::collections::VecDeque;
use std::ops::Range;

use super::frame::BLOCK_BYTES;

/// Where the first frame may begin: behind the head of the file.
pub const FRONT: u64 = BLOCK_BYTES;

/// A frame that must not be written over.
#[derive(Clone, Copy, Debug)]
struct Live {
    last_row: u64,
    start: u64,
    end: u64,
}

/// See the module. All positions and sizes are multiples of a block.
#[derive(Debug)]
pub struct Ring {
    live: VecDeque<Live>,
    /// Behind the newest frame.
    next: u64,
    /// Where live frames begin behind `next`; `None` if there are none up to the end.
    limit: Option<u64>,
    /// Length of the file.
    end: u64,
}

impl Ring {
    /// Of a file of `end` bytes without a live frame.
    pub fn new(end: u64) -> Self {
        Self {
            live: VecDeque::new(),
            next: FRONT,
            limit: None,
            end: end.max(FRONT),
        }
    }

    /// Notes a frame that was found in the file. They come in the order of their rows.
    pub fn found(&mut self, last_row: u64, start: u64, bytes: u64) {
        let end = start + bytes;
        self.live.push_back(Live {
            last_row,
            start,
            end,
        });
        self.next = end;
        self.limit = self.first_live_from(end);
    }

    /// Frees the frames whose rows are all folded.
    pub fn release(&mut self, watermark: u64) {
        while self
            .live
            .front()
            .is_some_and(|frame| frame.last_row <= watermark)
        {
            self.live.pop_front();
        }
    }

    /// Where a frame of `bytes` bytes may go. Nothing changes until it is [taken](Ring::take).
    pub fn place(&mut self, bytes: u64) -> u64 {
        if self.fits(bytes) {
            return self.next;
        }
        self.limit = self.first_live_from(self.next);
        if self.fits(bytes) {
            return self.next;
        }
        let front = self.first_live_from(FRONT);
        if FRONT + bytes <= front.unwrap_or(self.end) {
            self.next = FRONT;
            self.limit = front;
        } else if self.limit.is_some() {
            self.next = self.end;
            self.limit = None;
        }
        self.next
    }

    /// Notes that the place that was offered last now holds a frame up to row `last_row`.
    pub fn take(&mut self, last_row: u64, bytes: u64) {
        let start = self.next;
        self.next += bytes;
        self.live.push_back(Live {
            last_row,
            start,
            end: self.next,
        });
    }

    /// What holds no live frame, in order.
    pub fn free(&self) -> Vec<Range<u64>> {
        let mut live: Vec<_> = self
            .live
            .iter()
            .map(|frame| frame.start..frame.end)
            .collect();
        live.sort_unstable_by_key(|frame| frame.start);
        let mut from = FRONT;
        let mut free = Vec::new();
        for frame in live.into_iter().chain(std::iter::once(self.end..self.end)) {
            if from < frame.start {
                free.push(from..frame.start);
            }
            from = from.max(frame.end);
        }
        free
    }

    /// Length of the file.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Notes that the file has grown.
    pub fn grown(&mut self, end: u64) {
        self.end = end;
    }

    fn fits(&self, bytes: u64) -> bool {
        self.next + bytes <= self.limit.unwrap_or(self.end)
    }

    fn first_live_from(&self, position: u64) -> Option<u64> {
        let behind = self.live.iter().filter(|frame| frame.end > position);
        behind.map(|frame| frame.start).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Frames of 1 to 9 blocks, folded now and then: no live frame is ever written over, and the file stays within what
        /// the live frames need.
        #[test]
        fn live_frames_are_never_written_over(
            steps in prop::collection::vec((1..10_u64, 0..12_u64), 1..400)
        ) {
            let mut ring = Ring::new(0);
            let mut live: VecDeque<(u64, u64, u64)> = VecDeque::new();
            let (mut row, mut most) = (0, 0);
            for (blocks, folded) in steps {
                let watermark = live.front().map_or(row, |front| front.0 - 1)
                    + folded.min(live.len() as u64);
                ring.release(watermark);
                live.retain(|frame| frame.0 > watermark);
                let bytes = blocks * BLOCK_BYTES;
                let start = ring.place(bytes);
                let end = start + bytes;
                prop_assert!(start >= FRONT);
                let free = ring.free();
                let mut bounds = free.iter().flat_map(|free| [free.start, free.end]);
                prop_assert!(bounds.all(|at| at >= FRONT && at <= ring.end()));
                let free_bytes: u64 = free.iter().map(|free| free.end - free.start).sum();
                let live_bytes: u64 = live.iter().map(|frame| frame.2 - frame.1).sum();
                prop_assert_eq!(FRONT + free_bytes + live_bytes, ring.end());
                for (row, from, to) in &live {
                    let apart = free.iter().all(|free| free.end <= *from || free.start >= *to);
                    prop_assert!(apart, "row {row} is taken for free");
                }
                for (row, from, to) in &live {
                    prop_assert!(end <= *from || start >= *to, "row {row} is written over");
                }
                if end > ring.end() {
                    ring.grown(end);
                }
                row += 1;
                ring.take(row, bytes);
                live.push_back((row, start, end));
                most = most.max(live.iter().map(|frame| frame.2 - frame.1).sum());
            }
            prop_assert!(ring.end() <= FRONT + 4 * (most + 9 * BLOCK_BYTES));
        }
    }

    #[test]
    fn a_folded_front_is_used_again_before_the_file_grows() {
        let mut ring = Ring::new(FRONT + 3 * BLOCK_BYTES);
        for row in 1..=3 {
            assert_eq!(ring.place(BLOCK_BYTES), row * BLOCK_BYTES);
            ring.take(row, BLOCK_BYTES);
        }
        ring.release(2);
        assert_eq!(ring.place(BLOCK_BYTES), FRONT);
        ring.take(4, BLOCK_BYTES);
        assert_eq!(ring.place(BLOCK_BYTES), 2 * BLOCK_BYTES);
        ring.take(5, BLOCK_BYTES);
        // Row 3 is still needed: on behind it.
        assert_eq!(ring.place(BLOCK_BYTES), 4 * BLOCK_BYTES);
    }
}
