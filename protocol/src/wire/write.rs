//! Encoders of the primitive types, and the lengths they come to.
//!
//! Encoding cannot fail. Text too long for its 16-bit length is cut; every limit is far below that, so what was cut
//! is still refused by the receiver and never taken for something else.

use bytes::{BufMut, BytesMut};

use crate::wire::Str;

/// The most a 16-bit length can say.
const LENGTH_MAX: usize = u16::MAX as usize;

/// Bytes of a `str`.
pub(crate) fn text_bytes(text: &Str) -> usize {
    2 + cut(text.as_bytes(), LENGTH_MAX).len()
}

/// Writes a `str`.
pub(crate) fn put_text(text: &Str, out: &mut BytesMut) {
    put_bytes16(cut(text.as_bytes(), LENGTH_MAX), out);
}

/// Writes a `bytes16` of at most 65,535 bytes.
pub(crate) fn put_bytes16(bytes: &[u8], out: &mut BytesMut) {
    out.put_u16(length16(bytes.len()));
    out.put_slice(bytes);
}

/// A length that was cut to 16 bits before.
pub(crate) fn length16(length: usize) -> u16 {
    u16::try_from(length).expect("cut to a limit below 2^16")
}

/// At most `limit` bytes of `bytes`, without ending inside a character if they are UTF-8.
pub(crate) fn cut(bytes: &[u8], limit: usize) -> &[u8] {
    let Some((head, tail)) = bytes.split_at_checked(limit) else {
        return bytes;
    };
    if tail.first().is_none_or(|byte| !is_continuation(*byte)) {
        return head;
    }
    let inside = head
        .iter()
        .rev()
        .take(3)
        .take_while(|byte| is_continuation(**byte))
        .count();
    head.get(..limit.saturating_sub(inside + 1)).unwrap_or(head)
}

/// Whether a byte of UTF-8 is not the first of its character.
fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}
