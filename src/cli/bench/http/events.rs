//! Server-sent events out of a chunked body, as they come: no more of either than a reader of this bench needs.
//!
//! Pure: bytes in, lines out. Chunk extensions are passed over; trailers end the body like its last chunk does.

use std::mem;

use memchr::memchr;

/// What a line of an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line of data.
    Data(&'a [u8]),
    /// The JSON of a control event.
    Control(&'a [u8]),
}

/// The body is not in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk of the body has no length")]
pub(super) struct NotChunked;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Events {
    place: Place,
    is_control: bool,
    /// A line that began in bytes before these.
    begun: Vec<u8>,
}

/// Where in the chunks the next byte lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the digits of a length, which are this much so far.
    Length(usize),
    /// Behind the digits, before the end of that line.
    Extension(usize),
    /// In a chunk that has this much left.
    Chunk(usize),
    /// Behind a chunk, before the end of its line.
    ChunkEnd,
    /// Behind the last chunk.
    End,
}

impl Default for Place {
    fn default() -> Self {
        Self::Length(0)
    }
}

impl Events {
    /// Whether the body has ended.
    pub(super) fn is_over(&self) -> bool {
        self.place == Place::End
    }

    /// Takes more of the body.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut line: impl FnMut(Line<'_>),
    ) -> Result<(), NotChunked> {
        while let Some((first, rest)) = bytes.split_first() {
            if let Place::Chunk(left) = self.place {
                let (chunk, rest) = bytes.split_at(left.min(bytes.len()));
                self.text(chunk, &mut line);
                self.place = match left - chunk.len() {
                    0 => Place::ChunkEnd,
                    left => Place::Chunk(left),
                };
                bytes = rest;
            } else {
                self.place = self.place.after(*first)?;
                bytes = rest;
            }
        }
        Ok(())
    }

    fn text(&mut self, mut text: &[u8], line: &mut impl FnMut(Line<'_>)) {
        while let Some(at) = memchr(b'\n', text) {
            let (end, rest) = text.split_at(at);
            text = rest.get(1..).unwrap_or_default();
            if self.begun.is_empty() {
                self.line(end, line);
            } else {
                let mut begun = mem::take(&mut self.begun);
                begun.extend_from_slice(end);
                self.line(&begun, line);
                begun.clear();
                self.begun = begun;
            }
        }
        self.begun.extend_from_slice(text);
    }

    fn line(&mut self, text: &[u8], line: &mut impl FnMut(Line<'_>)) {
        if let Some(data) = text.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            line(if self.is_control {
                Line::Control(data)
            } else {
                Line::Data(data)
            });
        } else if let Some(kind) = text.strip_prefix(b"event:") {
            self.is_control = kind.trim_ascii() == b"control";
        }
    }
}

impl Place {
    /// The place after a byte that belongs to no chunk.
    fn after(self, byte: u8) -> Result<Self, NotChunked> {
        match (self, byte) {
            (Self::Length(0) | Self::Extension(0), b'\n') => Ok(Self::End),
            (Self::Length(length) | Self::Extension(length), b'\n') => Ok(Self::Chunk(length)),
            (Self::Length(length), b';' | b'\r' | b' ') | (Self::Extension(length), _) => {
                Ok(Self::Extension(length))
            }
            (Self::Length(length), digit) => {
                let digit = char::from(digit).to_digit(16).ok_or(NotChunked)?;
                let length = length.checked_mul(16).ok_or(NotChunked)?;
                Ok(Self::Length(length + digit as usize))
            }
            (Self::ChunkEnd, b'\n') => Ok(Self::Length(0)),
            (other, _) => Ok(other),
        }
    }
}

/// The offset to go on from, as a control event tells it.
pub(super) fn next_offset(control: &[u8]) -> Option<String> {
    let control: serde_json::Value = serde_json::from_slice(control).ok()?;
    Some(control.get("streamNextOffset")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"1e;x=y\r\nevent: data\ndata:one\ndata: two\r\n\
        21\r\n\n\nevent: control\ndata: {\"streamNe\r\n\
        15\r\nxtOffset\":\"0_9\"}\n\n: \n\r\n0\r\n\r\n";

    fn lines(pieces: impl Iterator<Item = &'static [u8]>) -> (Vec<String>, bool) {
        let (mut events, mut lines) = (Events::default(), Vec::new());
        for piece in pieces {
            let fed = events.feed(piece, |line| {
                lines.push(match line {
                    Line::Data(data) => format!("data {}", String::from_utf8_lossy(data)),
                    Line::Control(control) => format!("control {:?}", next_offset(control)),
                });
            });
            fed.expect("the body is chunked");
        }
        (lines, events.is_over())
    }

    #[test]
    fn lines_are_found_however_the_body_is_cut() {
        let expected = ["data one", "data two", "control Some(\"0_9\")"];
        for size in 1..=BODY.len() {
            let (found, over) = lines(BODY.chunks(size));
            assert_eq!(found, expected, "in pieces of {size}");
            assert!(over, "in pieces of {size}");
        }
    }

    #[test]
    fn a_body_without_chunks_is_told_apart() {
        let mut events = Events::default();
        assert_eq!(events.feed(b"event: data\n", |_| {}), Err(NotChunked));
    }
}
