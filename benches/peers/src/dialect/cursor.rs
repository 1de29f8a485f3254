//! Walks the replies of line-based protocols: lines and counted blocks that end in CR LF.
//!
//! `None` means that the rest has not come yet; nothing is taken from the buffer until a caller has a whole reply.

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not walked yet.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// A line, without its end.
    pub(super) fn line(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\r', self.rest)?;
        let (line, rest) = self.rest.split_at_checked(end)?;
        let (_, rest) = rest.split_at_checked(2)?;
        self.rest = rest;
        Some(line)
    }

    /// So many bytes, and the line end after them.
    pub(super) fn block(&mut self, bytes: u64) -> Option<&'a [u8]> {
        let bytes = usize::try_from(bytes).ok()?;
        let (block, rest) = self.rest.split_at_checked(bytes)?;
        let (_, rest) = rest.split_at_checked(2)?;
        self.rest = rest;
        Some(block)
    }
}

/// A decimal number, if that is all there is.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

/// The number that follows `key` in a piece of JSON.
pub(super) fn number_after(json: &[u8], key: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(json, key)?;
    let rest = json.get(at + key.len()..)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit());
    number(rest.get(..end.unwrap_or(rest.len()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_or_block_that_has_not_come_whole_is_none() {
        for bytes in ["", "abc", "abc\r"] {
            assert_eq!(Cursor::new(bytes.as_bytes()).line(), None);
            assert_eq!(Cursor::new(bytes.as_bytes()).block(3), None);
        }
        let mut cursor = Cursor::new(b"abc\r\nde\r\n!");
        assert_eq!(cursor.line(), Some(&b"abc"[..]));
        assert_eq!(cursor.block(2), Some(&b"de"[..]));
        assert_eq!(cursor.left(), 1);
    }

    #[test]
    fn numbers_are_decimal_and_whole() {
        assert_eq!(number(b"1024"), Some(1024));
        for wrong in ["", "-1", "1a", "99999999999999999999"] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(number_after(b"{\"seq\":12,\"x\":3}", b"\"seq\":"), Some(12));
        assert_eq!(number_after(b"{\"seq\":x}", b"\"seq\":"), None);
    }
}
