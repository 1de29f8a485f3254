//! nom parsers for the primitive types, over a body that is there as a whole.
//!
//! Only `complete` parsers are used: the frame was delimited first, so running out of bytes is a malformed frame and
//! never a reason to wait. The kind is known before the first parser runs, so [`whole`] commits to it with `cut`.

use bytes::Bytes;
use nom::bytes::complete::take;
use nom::combinator::{all_consuming, cut, rest};
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};
use nom::{Err, IResult, Parser};

use crate::error::WireError;
use crate::limits::{self, Bound};
use crate::wire::Str;

/// Why a parser stopped: nom's own reasons (too few or too many bytes), or one of ours.
#[derive(Debug)]
pub(crate) enum Fault {
    Short,
    Trailing(usize),
    Wire(WireError),
}

impl ParseError<&[u8]> for Fault {
    fn from_error_kind(input: &[u8], kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Eof if !input.is_empty() => Self::Trailing(input.len()),
            _ => Self::Short,
        }
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Fault>;

/// Runs `parser` over the whole of `body` and rejects what it leaves over.
pub(crate) fn whole<'a, T>(
    kind: u8,
    body: &'a Bytes,
    parser: impl FnMut(&'a [u8]) -> Parsed<'a, T>,
) -> Result<T, WireError> {
    match all_consuming(cut(parser)).parse_complete(body) {
        Ok((_, value)) => Ok(value),
        Err(Err::Error(fault) | Err::Failure(fault)) => Err(match fault {
            Fault::Wire(error) => error,
            Fault::Trailing(count) => WireError::TrailingBytes { kind, count },
            Fault::Short => WireError::Truncated {
                kind,
                have: body.len(),
            },
        }),
        Err(Err::Incomplete(_)) => Err(WireError::Truncated {
            kind,
            have: body.len(),
        }),
    }
}

/// A parser's answer that one of our own rules is broken.
pub(crate) fn refuse<T>(error: WireError) -> Parsed<'static, T> {
    Err(Err::Failure(Fault::Wire(error)))
}

pub(crate) fn u8(input: &[u8]) -> Parsed<'_, u8> {
    be_u8(input)
}

pub(crate) fn u16(input: &[u8]) -> Parsed<'_, u16> {
    be_u16(input)
}

pub(crate) fn u32(input: &[u8]) -> Parsed<'_, u32> {
    be_u32(input)
}

pub(crate) fn u64(input: &[u8]) -> Parsed<'_, u64> {
    be_u64(input)
}

/// A `u8` that is 0 or 1.
pub(crate) fn bool<'a>(what: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, bool> {
    move |input| match be_u8(input)? {
        (input, 0) => Ok((input, false)),
        (input, 1) => Ok((input, true)),
        (_, other) => refuse(WireError::UnknownValue {
            what,
            value: other.into(),
        }),
    }
}

/// Everything that is left.
pub(crate) fn remainder(input: &[u8]) -> Parsed<'_, &[u8]> {
    rest(input)
}

/// `bytes16`: a length and that many bytes.
pub(crate) fn bytes16(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (input, length) = be_u16(input)?;
    take(length)(input)
}

/// `str` within `bound`.
pub(crate) fn text<'a>(body: &'a Bytes, bound: Bound) -> impl FnMut(&'a [u8]) -> Parsed<'a, Str> {
    move |input| {
        let (input, bytes) = bytes16(input)?;
        match text_of(body, bytes, bound) {
            Ok(text) => Ok((input, text)),
            Err(error) => refuse(error),
        }
    }
}

/// The `str` that names the stream of a command, held to the rules for names.
///
/// Printable ASCII, which nearly every name is, is in order without a look at its characters.
pub(crate) fn stream_name<'a>(body: &'a Bytes) -> impl FnMut(&'a [u8]) -> Parsed<'a, Str> {
    move |input| {
        let (input, bytes) = bytes16(input)?;
        let name = match text_of(body, bytes, limits::STREAM_NAME) {
            Ok(name) => name,
            Err(error) => return refuse(error),
        };
        if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return Ok((input, name));
        }
        match name.as_str().find(char::is_control) {
            None => Ok((input, name)),
            Some(at) => refuse(WireError::StreamName { at }),
        }
    }
}

/// Bytes of a field or a `bytes16` as text within `bound`.
pub(crate) fn text_of(body: &Bytes, bytes: &[u8], bound: Bound) -> Result<Str, WireError> {
    bound.check(bytes.len())?;
    Ok(Str::slice_of(body, utf8(bytes)?))
}

/// Bytes of a field, within `bound`.
pub(crate) fn bytes_of(body: &Bytes, bytes: &[u8], bound: Bound) -> Result<Bytes, WireError> {
    bound.check(bytes.len())?;
    Ok(body.slice_ref(bytes))
}

fn utf8(bytes: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(bytes).map_err(|error| WireError::InvalidUtf8 {
        valid_up_to: error.valid_up_to(),
    })
}
