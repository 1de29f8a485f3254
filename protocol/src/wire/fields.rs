//! Optional fields: `total:u16`, then entries `tag:u8, length:u16, value`.
//!
//! Unknown tags are skipped, so that a later version can add fields. A known tag twice, a value of a length its type
//! cannot have, and entries that do not fill the section exactly are errors. Which tags a frame knows is declared in
//! [`crate::fields`].

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use crate::error::WireError;
use crate::fields::Field;
use crate::limits::{Bound, FIELD_VALUE_BYTES_MAX};
use crate::wire::Str;
use crate::wire::read::{Parsed, bytes_of, bytes16, refuse, text_of, u8, u64};
use crate::wire::write::{cut, length16};

/// Tags run from 1 to below this.
const TAGS: usize = 8;

/// Bytes of an entry's tag.
const TAG_BYTES: usize = 1;

/// Bytes of an entry before its value.
const ENTRY_HEADER_BYTES: usize = 3;

/// Bytes of the section's total.
const TOTAL_BYTES: usize = 2;

/// The known fields of one section, borrowed from the body.
///
/// Small, because it is moved from parser to parser: it notes where values are, not what they are.
pub(crate) struct Values<'a> {
    body: &'a Bytes,
    section: &'a [u8],
    /// By tag: where in the section the value's length stands. 0 = absent, since an entry's tag comes before its length.
    places: [u16; TAGS],
}

/// Parses the section of a frame whose fields are `F`.
pub(crate) fn fields<'a, F: Field>(
    body: &'a Bytes,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, Values<'a>> {
    move |input| {
        let (input, section) = bytes16(input)?;
        match read_section::<F>(body, section) {
            Ok(values) => Ok((input, values)),
            Err(error) => refuse(error),
        }
    }
}

fn read_section<'a, F: Field>(body: &'a Bytes, section: &'a [u8]) -> Result<Values<'a>, WireError> {
    let mut places = [0; TAGS];
    let mut rest = section;
    while !rest.is_empty() {
        let entry_at = section.len() - rest.len();
        let entry: Parsed<'_, _> = (u8, bytes16).parse_complete(rest);
        let Ok((after, (tag, value))) = entry else {
            return Err(WireError::FieldsTruncated);
        };
        rest = after;
        let Some(field) = F::of(tag) else { continue };
        let place = places
            .get_mut(usize::from(tag))
            .expect("declared tags are below TAGS");
        if *place != 0 {
            return Err(WireError::FieldRepeated { tag });
        }
        if !field.width().allows(value.len()) {
            return Err(WireError::FieldLength {
                tag,
                have: value.len(),
            });
        }
        *place = length16(entry_at + TAG_BYTES);
    }
    Ok(Values {
        body,
        section,
        places,
    })
}

impl Values<'_> {
    fn get<F: Field>(&self, field: F) -> Option<&[u8]> {
        let length_at = *self.places.get(usize::from(field.tag()))?;
        if length_at == 0 {
            return None;
        }
        let (_, value) = bytes16(self.section.get(usize::from(length_at)..)?).ok()?;
        Some(value)
    }

    /// A field of type `u64`.
    pub(crate) fn u64<F: Field>(&self, field: F) -> Option<u64> {
        let bytes = self
            .get(field)?
            .first_chunk()
            .expect("its width was checked");
        Some(u64::from_be_bytes(*bytes))
    }

    /// A field of type `u8`.
    pub(crate) fn u8<F: Field>(&self, field: F) -> Option<u8> {
        self.get(field)?.first().copied()
    }

    /// A field of bytes, within `bound`.
    pub(crate) fn bytes<F: Field>(
        &self,
        field: F,
        bound: Bound,
    ) -> Result<Option<Bytes>, WireError> {
        let value = self.get(field);
        value
            .map(|value| bytes_of(self.body, value, bound))
            .transpose()
    }

    /// A field of text, within `bound`.
    pub(crate) fn text<F: Field>(&self, field: F, bound: Bound) -> Result<Option<Str>, WireError> {
        let value = self.get(field);
        value
            .map(|value| text_of(self.body, value, bound))
            .transpose()
    }

    /// The field that names a producer: two `u64`, then text within `bound`.
    pub(crate) fn numbers_and_text<F: Field>(
        &self,
        field: F,
        bound: Bound,
    ) -> Result<Option<(u64, u64, Str)>, WireError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let too_short = WireError::FieldLength {
            tag: field.tag(),
            have: value.len(),
        };
        let parsed: Parsed<'_, _> = (u64, u64).parse_complete(value);
        let Ok((rest, (first, second))) = parsed else {
            return Err(too_short);
        };
        Ok(Some((first, second, text_of(self.body, rest, bound)?)))
    }
}

/// A value to encode.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    U8(u8),
    U64(u64),
    Bytes(&'a [u8]),
    NumbersAndText(u64, u64, &'a [u8]),
}

impl Value<'_> {
    fn bytes(&self) -> usize {
        match self {
            Self::U8(_) => 1,
            Self::U64(_) => 8,
            Self::Bytes(bytes) => cut(bytes, FIELD_VALUE_BYTES_MAX).len(),
            Self::NumbersAndText(_, _, text) => 16 + cut(text, FIELD_VALUE_BYTES_MAX).len(),
        }
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::U8(number) => out.put_u8(*number),
            Self::U64(number) => out.put_u64(*number),
            Self::Bytes(bytes) => out.put_slice(cut(bytes, FIELD_VALUE_BYTES_MAX)),
            Self::NumbersAndText(first, second, text) => {
                out.put_u64(*first);
                out.put_u64(*second);
                out.put_slice(cut(text, FIELD_VALUE_BYTES_MAX));
            }
        }
    }
}

/// The fields of a frame to encode, in the order they are written; absent ones are `None`.
pub(crate) type Entries<'a, F, const N: usize> = [(F, Option<Value<'a>>); N];

/// Bytes of a section, with its total.
pub(crate) fn fields_bytes<F: Field>(entries: &[(F, Option<Value<'_>>)]) -> usize {
    TOTAL_BYTES + entries_bytes(entries)
}

/// Writes a section.
pub(crate) fn put_fields<F: Field>(entries: &[(F, Option<Value<'_>>)], out: &mut BytesMut) {
    out.put_u16(length16(entries_bytes(entries)));
    for (field, value) in entries {
        if let Some(value) = value {
            out.put_u8(field.tag());
            out.put_u16(length16(value.bytes()));
            value.put(out);
        }
    }
}

fn entries_bytes<F: Field>(entries: &[(F, Option<Value<'_>>)]) -> usize {
    let present = entries.iter().filter_map(|(_, value)| value.as_ref());
    present
        .map(|value| ENTRY_HEADER_BYTES + value.bytes())
        .sum()
}
