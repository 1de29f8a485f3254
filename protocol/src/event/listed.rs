//! LISTED: `count:u32`, then `count` times `stream:str, tail:u64, earliest:u64, closed:u8`.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::EventKind;
use crate::code::ErrorCode;
use crate::error::WireError;
use crate::flags::LISTED_MORE;
use crate::limits::{EVENT_TEXT, LIST_ENTRIES_MAX};
use crate::wire::read::{Parsed, bool, refuse, text, u32, u64, whole};
use crate::wire::write::{put_text, text_bytes};
use crate::wire::{Body, Str};

/// One page of streams; answers LIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// More streams follow: ask again with `after` set to the last name here.
    pub more: bool,
    /// The streams, in byte-wise order of their names; at most [`LIST_ENTRIES_MAX`].
    pub streams: Vec<ListedStream>,
}

/// One stream of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedStream {
    /// The stream's name.
    pub stream: Str,
    /// Offset after the last record.
    pub tail: u64,
    /// Offset of the earliest record kept.
    pub earliest: u64,
    /// The stream takes no more records.
    pub closed: bool,
}

impl ListedStream {
    /// Bytes this stream takes in a LISTED frame; for whoever fills a page up to a frame limit.
    pub fn encoded_bytes(&self) -> usize {
        text_bytes(&self.stream) + 8 + 8 + 1
    }
}

fn stream<'a>(body: &'a Bytes) -> impl FnMut(&'a [u8]) -> Parsed<'a, ListedStream> {
    let mut parts = (text(body, EVENT_TEXT), u64, u64, bool("closed"));
    move |input| {
        let (input, (stream, tail, earliest, closed)) = parts.parse_complete(input)?;
        Ok((
            input,
            ListedStream {
                stream,
                tail,
                earliest,
                closed,
            },
        ))
    }
}

fn streams<'a>(body: &'a Bytes) -> impl FnMut(&'a [u8]) -> Parsed<'a, Vec<ListedStream>> {
    move |input| {
        let (mut input, count) = u32(input)?;
        if count > LIST_ENTRIES_MAX {
            return refuse(WireError::OverLimit {
                what: "streams in LISTED",
                have: count.into(),
                limit: LIST_ENTRIES_MAX.into(),
                code: ErrorCode::MalformedFrame,
            });
        }
        let mut streams = Vec::with_capacity(count as usize);
        let mut one = stream(body);
        for _ in 0..count {
            let (rest, stream) = one(input)?;
            input = rest;
            streams.push(stream);
        }
        Ok((input, streams))
    }
}

impl Body for Listed {
    const KIND: u8 = EventKind::Listed.number();

    fn flags(&self) -> u8 {
        LISTED_MORE.when(self.more)
    }

    fn body_bytes(&self) -> usize {
        4 + self
            .streams
            .iter()
            .map(ListedStream::encoded_bytes)
            .sum::<usize>()
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32(u32::try_from(self.streams.len()).unwrap_or(u32::MAX));
        for stream in &self.streams {
            put_text(&stream.stream, out);
            out.put_u64(stream.tail);
            out.put_u64(stream.earliest);
            out.put_u8(stream.closed.into());
        }
    }

    fn parse(flags: u8, body: &Bytes) -> Result<Self, WireError> {
        let streams = whole(Self::KIND, body, streams(body))?;
        Ok(Self {
            more: LISTED_MORE.is_in(flags),
            streams,
        })
    }
}
