//! Bytes that came in and are not yet split into frames.
//!
//! Frames are slices of this buffer, so it is never reused while one of them lives; it is small for a peer that sends
//! little, grows while reads fill it, and is let go of as soon as the socket has nothing more.
//!
//! Invariants: an idle connection holds no buffer; room for a large frame grows with the bytes that really came, so a
//! length field alone costs nothing.

use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use streamkeeper_protocol::frame::{self, LENGTH_BYTES};
use streamkeeper_protocol::{Frame, WireError};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::incoming::Incoming;

/// What a quiet connection reads into: on the stack, so that waiting holds no memory.
const SCRATCH_BYTES: usize = 2 << 10;

/// Room for one read of a busy connection. 128 KiB hold hundreds of small frames, which is enough to make the system
/// call and the committer's wake cheap per frame.
pub(super) const ROOM_BYTES_MAX: usize = 128 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    bytes: BytesMut,
    /// Room worth having for the next read, by what the last ones brought.
    room: usize,
    /// Nothing came since the socket last had nothing more.
    quiet: bool,
}

impl ReadBuffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: BytesMut::new(),
            room: SCRATCH_BYTES,
            quiet: true,
        }
    }

    /// The first frame, if it is whole.
    pub(super) fn split(&mut self, frame_bytes_max: u32) -> Result<Option<Frame>, WireError> {
        let announced = self.announced();
        let limit = usize::try_from(frame_bytes_max).unwrap_or(usize::MAX);
        if self.bytes.len() < announced && announced - LENGTH_BYTES <= limit {
            // Asking further would reserve room for all of it at once.
            return Ok(None);
        }
        frame::split(&mut self.bytes, frame_bytes_max)
    }

    /// True if nothing is left over.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Memory that it takes, as far as it is no large frame.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity().min(ROOM_BYTES_MAX)
    }

    /// How long the frame in front is, if that is more than what is read at once.
    pub(super) fn large_frame(&self) -> Option<usize> {
        let announced = self.announced();
        (announced > ROOM_BYTES_MAX).then_some(announced)
    }

    /// One read, by what `incoming` has left. 0 is the end.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
        incoming: &Incoming,
    ) -> Poll<io::Result<usize>> {
        self.room = incoming.share(self.room, SCRATCH_BYTES);
        let little = self.bytes.is_empty() && self.room <= SCRATCH_BYTES;
        let (offered, filled) = if little {
            (SCRATCH_BYTES, self.poll_scratch(cx, socket))
        } else {
            self.poll_direct(cx, socket)
        };
        let Poll::Ready(Ok(filled)) = filled else {
            self.rest();
            return filled;
        };
        self.quiet = false;
        if filled >= offered {
            self.room = (self.room * 2).min(ROOM_BYTES_MAX);
        } else if filled < self.room / 4 {
            self.room = (self.room / 2).max(SCRATCH_BYTES);
        }
        Poll::Ready(Ok(filled))
    }

    fn poll_scratch<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = [MaybeUninit::uninit(); SCRATCH_BYTES];
        let mut scratch = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(socket).poll_read(cx, &mut scratch))?;
        let filled = scratch.filled();
        self.bytes = BytesMut::from(filled);
        Poll::Ready(Ok(filled.len()))
    }

    /// Says how much room there was, too.
    fn poll_direct<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
    ) -> (usize, Poll<io::Result<usize>>) {
        self.make_room();
        let offered = self.bytes.chunk_mut().len();
        // The future keeps nothing from one poll to the next: dropping it while it is pending loses no bytes.
        let filled = pin!(socket.read_buf(&mut self.bytes)).poll(cx);
        (offered, filled)
    }

    /// Makes room for what the frame in front still lacks, but no more than doubles what is there.
    fn make_room(&mut self) {
        let have = self.bytes.len();
        let lacking = self.announced().saturating_sub(have);
        let room = self.room.max(lacking.min(have));
        if self.bytes.capacity() - have < room.div_ceil(2) {
            // Not `reserve`: that remembers the largest size there ever was and never comes back down.
            let mut fresh = BytesMut::with_capacity(have + room);
            fresh.extend_from_slice(&self.bytes);
            self.bytes = fresh;
        }
    }

    /// Bytes of the frame in front, as far as its length is known.
    fn announced(&self) -> usize {
        let length = self
            .bytes
            .get(..LENGTH_BYTES)
            .map_or(0, |mut length| length.get_u32());
        usize::try_from(length)
            .unwrap_or(usize::MAX)
            .saturating_add(LENGTH_BYTES)
    }

    /// The socket has nothing more for now.
    fn rest(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
        if std::mem::replace(&mut self.quiet, true) {
            self.room = (self.room / 2).max(SCRATCH_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::AsyncWriteExt;

    fn fill(buffer: &mut ReadBuffer, socket: &mut tokio::io::DuplexStream) -> Option<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        match buffer.poll_fill(&mut cx, socket, &Incoming::new(64 << 20)) {
            Poll::Ready(filled) => Some(filled.expect("a duplex stream does not fail")),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_drained_buffer_holds_no_memory() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let mut buffer = ReadBuffer::new();
        far.write_all(&vec![0; 500_000]).await.expect("room");
        let mut filled = 0;
        while let Some(some) = fill(&mut buffer, &mut near) {
            filled += some;
            buffer.bytes.clear();
        }
        assert_eq!(filled, 500_000);
        assert_eq!(buffer.bytes.capacity(), 0);
        assert!(buffer.room > SCRATCH_BYTES, "{}", buffer.room);
    }

    #[tokio::test]
    async fn an_announced_length_takes_no_room_before_its_bytes_come() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let mut buffer = ReadBuffer::new();
        far.write_all(&u32::MAX.to_be_bytes()).await.expect("room");
        assert_eq!(fill(&mut buffer, &mut near), Some(4));
        far.write_all(&[0; 3000]).await.expect("room");
        while fill(&mut buffer, &mut near).is_some() {}
        assert_eq!(buffer.bytes.len(), 3004);
        assert!(
            buffer.bytes.capacity() <= 4 * 3004,
            "{}",
            buffer.bytes.capacity()
        );
    }

    #[tokio::test]
    async fn the_room_shrinks_again_when_little_comes() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let mut buffer = ReadBuffer::new();
        buffer.room = ROOM_BYTES_MAX;
        for _ in 0..10 {
            far.write_all(b"little").await.expect("room");
            assert_eq!(fill(&mut buffer, &mut near), Some(6));
            buffer.bytes.advance(6);
        }
        assert_eq!(buffer.room, SCRATCH_BYTES);
    }
}
