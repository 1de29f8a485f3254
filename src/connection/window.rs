//! How much of what was read is still waiting for its answers.
//!
//! Queued requests are slices of read buffers and keep those alive whole, however small the requests are in them. So
//! the bytes behind unanswered requests are bounded here, beside the bounds of the write queues themselves.
//!
//! Requests on different streams are answered in any order; counting answers, and not which ones, is near enough.

use std::collections::VecDeque;

/// One series of frames: answered when as many requests are as there were up to its end.
#[derive(Debug)]
struct Series {
    submitted: u64,
    bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Window {
    series: VecDeque<Series>,
    bytes: usize,
}

impl Window {
    /// `bytes` of frames were dispatched; `submitted` requests have been since the connection began.
    pub(super) fn dispatched(&mut self, submitted: u64, bytes: usize) {
        self.bytes += bytes;
        match self.series.back_mut() {
            Some(last) if last.submitted == submitted => last.bytes += bytes,
            _ => self.series.push_back(Series { submitted, bytes }),
        }
    }

    /// `completed` requests have been answered since the connection began.
    pub(super) fn completed(&mut self, completed: u64) {
        while let Some(first) = self.series.front()
            && first.submitted <= completed
        {
            self.bytes -= first.bytes;
            self.series.pop_front();
        }
        if self.series.is_empty() {
            self.series = VecDeque::new();
        }
    }

    /// Bytes of frames whose requests are not all answered.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_the_requests_up_to_them_are_answered() {
        let mut window = Window::default();
        window.dispatched(3, 100);
        window.dispatched(3, 20);
        window.dispatched(5, 7);
        assert_eq!(window.bytes(), 127);
        window.completed(2);
        assert_eq!(window.bytes(), 127);
        window.completed(4);
        assert_eq!(window.bytes(), 7);
        window.completed(5);
        assert_eq!(window.bytes(), 0);
        assert_eq!(window.series.capacity(), 0);
    }

    #[test]
    fn frames_that_submit_nothing_count_only_behind_others() {
        let mut window = Window::default();
        window.dispatched(0, 50);
        window.completed(0);
        assert_eq!(window.bytes(), 0);
        window.dispatched(1, 10);
        window.dispatched(1, 50);
        assert_eq!(window.bytes(), 60);
    }
}
