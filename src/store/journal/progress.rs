//! How far a replay is: bytes of frames gone through, of all that lie past the watermark. Counted by the journal, shown by the start.

use super::frame::FrameHeader;

/// See the module. It ends with all of them done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes gone through.
    pub done: u64,
    /// Bytes that there are to go through.
    pub total: u64,
}

impl Progress {
    pub(super) fn over<'a>(frames: impl Iterator<Item = &'a FrameHeader>) -> Self {
        Self {
            done: 0,
            total: frames.map(FrameHeader::blocks_bytes).sum(),
        }
    }

    pub(super) fn passed(&mut self, frame: &FrameHeader) {
        self.done += frame.blocks_bytes();
    }
}
