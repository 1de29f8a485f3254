//! JSON mode: streams of content type `application/json` hold one JSON value per record.
//!
//! The append rules call [`flatten`]: an appended array is flattened one level, so that each of its elements is a
//! record; any other value is a record itself. A record's payload is the value's text as given, without the
//! white space around it: numbers, escapes and the order of members are not touched. Nesting costs no stack.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::types::{RecordBlock, Refusal};
use streamkeeper_protocol::RecordBlockBuilder;

/// True if `content_type` turns JSON mode on: `application/json` in any case, with or without parameters.
///
/// Asked at each append, so it works on bytes: text would have to be proven UTF-8 each time.
pub fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default();
    media_type
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/json")
}

/// Checks and flattens the records of a batch.
///
/// A batch whose records are what they must be already comes back as it is, without a copy.
///
/// # Errors
/// `InvalidJson` with the index of the first record that is not JSON; `EmptyBatch` if a record is an empty array.
pub(in crate::rules) fn flatten(batch: RecordBlock) -> Result<RecordBlock, Refusal> {
    let mut flattened: Option<RecordBlockBuilder> = None;
    for (index, payload) in batch.payloads().enumerate() {
        if is_array(&payload) {
            let records = flattened.get_or_insert_with(|| first_records(&batch, index));
            push_elements(index, &payload, records)?;
            continue;
        }
        let value = parse(index, &payload)?;
        match &mut flattened {
            Some(records) => records.push(value.as_bytes()),
            None if value.len() == payload.len() => {}
            None => {
                let records = flattened.insert(first_records(&batch, index));
                records.push(value.as_bytes());
            }
        }
    }
    Ok(flattened.map_or(batch, |mut records| records.finish()))
}

/// A copy of the first `count` records, on which those that follow are pushed.
fn first_records(batch: &RecordBlock, count: usize) -> RecordBlockBuilder {
    let mut records = RecordBlockBuilder::new();
    batch
        .payloads()
        .take(count)
        .for_each(|payload| records.push(&payload));
    records
}

/// The one value that `payload` holds, as text without the white space around it.
fn parse(index: usize, payload: &[u8]) -> Result<&str, Refusal> {
    match serde_json::from_slice::<&RawValue>(payload) {
        Ok(value) => Ok(value.get()),
        Err(_) => Err(Refusal::InvalidJson { index }),
    }
}

/// True if `payload` can only be an array, if it is JSON at all.
fn is_array(payload: &[u8]) -> bool {
    let first = payload
        .iter()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    first == Some(&b'[')
}

fn push_elements(
    index: usize,
    array: &[u8],
    records: &mut RecordBlockBuilder,
) -> Result<(), Refusal> {
    let before = records.count();
    let mut parser = serde_json::Deserializer::from_slice(array);
    if parser
        .deserialize_seq(Elements(records))
        .and_then(|()| parser.end())
        .is_err()
    {
        return Err(Refusal::InvalidJson { index });
    }
    if records.count() == before {
        return Err(Refusal::EmptyBatch);
    }
    Ok(())
}

/// Pushes each element of an array as a record, one by one: an array of a million digits is never a vector.
struct Elements<'a>(&'a mut RecordBlockBuilder);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            self.0.push(element.get().as_bytes());
        }
        Ok(())
    }
}
