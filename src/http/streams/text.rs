//! Text out of records that were cut anywhere.
//!
//! A record is bytes, and a writer of text may cut in the middle of a character. Events are text: an incomplete character at
//! the end of one is held back and goes out with its rest, at the beginning of the next. Bytes that are no UTF-8 at all
//! become U+FFFD. A line end of two characters may be cut as well: the second half of it is no line end of its own.

use std::borrow::Cow;

use bytes::Bytes;

/// Where one piece of text ends and the next begins.
#[derive(Debug, Default)]
pub(super) struct Joint {
    /// The beginning of a character: up to three bytes.
    held: Vec<u8>,
    /// The text so far ends in a carriage return: a line feed that follows belongs to it.
    after_return: bool,
}

impl Joint {
    /// A joint behind these bytes.
    pub(super) fn after(bytes: &[u8]) -> Self {
        let mut joint = Self::default();
        joint.push(&[Bytes::copy_from_slice(bytes)]);
        joint
    }

    /// Whether nothing is carried over it.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && !self.after_return
    }

    /// The text up to the last whole character, without the rest of a line end whose beginning is out.
    pub(super) fn push<'a>(&mut self, payloads: &'a [Bytes]) -> Cow<'a, str> {
        let text = self.whole_characters(payloads);
        if text.is_empty() {
            return text;
        }
        let rest_of_line_end = self.after_return && text.starts_with('\n');
        self.after_return = text.ends_with('\r');
        if !rest_of_line_end {
            return text;
        }
        match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix('\n').unwrap_or(text)),
            Cow::Owned(mut text) => {
                text.remove(0);
                Cow::Owned(text)
            }
        }
    }

    fn whole_characters<'a>(&mut self, payloads: &'a [Bytes]) -> Cow<'a, str> {
        if let ([one], true) = (payloads, self.held.is_empty()) {
            return match std::str::from_utf8(one) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => Cow::Owned(self.decode(one)),
            };
        }
        let mut bytes = std::mem::take(&mut self.held);
        for payload in payloads {
            bytes.extend_from_slice(payload);
        }
        Cow::Owned(self.decode(&bytes))
    }

    /// What stands for a character that never got its rest.
    pub(super) fn finish(&mut self) -> Option<&'static str> {
        let held = !self.held.is_empty();
        self.held.clear();
        held.then_some("\u{FFFD}")
    }

    fn decode(&mut self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes;
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return text;
                }
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            text.push_str(std::str::from_utf8(valid).unwrap_or_default());
            let Some(invalid) = error.error_len() else {
                self.held = after.to_vec();
                return text;
            };
            text.push('\u{FFFD}');
            rest = after.get(invalid..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_cut_anywhere_comes_out_whole(text in "[^\r]*", cuts: Vec<prop::sample::Index>) {
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let mut joint = Joint::default();
            let mut whole = String::new();
            for piece in at.windows(2) {
                whole += &joint.push(&[Bytes::copy_from_slice(&bytes[piece[0]..piece[1]])]);
            }
            prop_assert_eq!(whole, text);
            prop_assert_eq!(joint.finish(), None);
        }

        #[test]
        fn bytes_cut_anywhere_come_out_as_if_in_one_piece(bytes: Vec<u8>, cut: prop::sample::Index) {
            let bytes: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'\r').collect();
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut joint = Joint::default();
            let pieces = [Bytes::copy_from_slice(a), Bytes::copy_from_slice(b)];
            let apart = joint.push(&pieces[..1]) + joint.push(&pieces[1..]) + joint.finish().unwrap_or("");
            prop_assert_eq!(apart, String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_line_end_that_was_cut_is_one() {
        let mut joint = Joint::default();
        assert_eq!(joint.push(&[Bytes::from_static(b"a\r")]), "a\r");
        assert_eq!(joint.push(&[Bytes::from_static(b"\n")]), "");
        assert_eq!(joint.push(&[Bytes::from_static(b"\nb\r")]), "\nb\r");
        let pieces = [Bytes::from_static(b"\n"), Bytes::from_static(b"c")];
        assert_eq!(joint.push(&pieces), "c");
        assert_eq!(
            Joint::after(b"x\r").push(&[Bytes::from_static(b"\ny")]),
            "y"
        );
    }

    #[test]
    fn a_joint_may_begin_within_a_character() {
        let mut joint = Joint::after(b"xy\xE2\x82");
        assert_eq!(joint.push(&[Bytes::from_static(b"\xAC")]), "€");
    }
}
