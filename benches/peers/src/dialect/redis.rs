//! Redis streams over RESP: `XADD key * d RECORD`, `XLEN`, and `XREAD COUNT 1000 BLOCK 0`.
//!
//! A stream comes to be with its first XADD. Replies come in the order of the requests, so counting them is enough to
//! know what was confirmed. A reply to XREAD is walked entry by entry as it arrives.

use bytes::{Buf, BufMut, BytesMut};

use super::cursor::{Cursor, number};
use super::{Dialect, Each, name};
use crate::error::Error;
use crate::record::{Payload, RECORD_BYTES};

/// See the module.
#[derive(Debug)]
pub(crate) struct Redis {
    streams: Vec<Stream>,
    following: usize,
    held: Option<u64>,
    /// Entries of the running reply that have not come yet.
    entries_left: u64,
}

#[derive(Debug)]
struct Stream {
    key: String,
    /// XADD up to the record.
    head: Vec<u8>,
}

impl Redis {
    pub(crate) fn new(streams: &[u32]) -> Self {
        let stream = |number: &u32| {
            let key = name(*number);
            let mut head = command(&["XADD", &key, "*", "d"], 1);
            head.extend_from_slice(format!("${RECORD_BYTES}\r\n").as_bytes());
            Stream { key, head }
        };
        Self {
            streams: streams.iter().map(stream).collect(),
            following: 0,
            held: None,
            entries_left: 0,
        }
    }

    fn stream(&self, local: usize) -> &Stream {
        self.streams
            .get(local)
            .expect("the load numbers the streams it named")
    }

    fn read_after(&self, id: &str, output: &mut BytesMut) {
        let key = &self.stream(self.following).key;
        let parts = ["XREAD", "COUNT", "1000", "BLOCK", "0", "STREAMS", key, id];
        output.put_slice(&command(&parts, 0));
    }

    /// The reply to XLEN, the head of a reply to XREAD, or one entry of it; false if it has not come whole.
    fn step(
        &mut self,
        cursor: &mut Cursor<'_>,
        output: &mut BytesMut,
        each: Each<'_>,
    ) -> Result<bool, Error> {
        if self.held.is_none() {
            let Some(line) = cursor.line() else {
                return Ok(false);
            };
            self.held = Some(header(line, b':')?);
            return Ok(true);
        }
        if self.entries_left == 0 {
            let Some(entries) = head(cursor)? else {
                return Ok(false);
            };
            self.entries_left = entries;
            return Ok(true);
        }
        let Some((id, record)) = entry(cursor)? else {
            return Ok(false);
        };
        self.entries_left -= 1;
        if self.entries_left == 0 {
            let id = String::from_utf8_lossy(id);
            self.read_after(&id, output);
        }
        each(record)?;
        Ok(true)
    }
}

impl Dialect for Redis {
    fn hello(&mut self, output: &mut BytesMut) {
        output.put_slice(b"PING\r\n");
    }

    fn greeted(&mut self, input: &mut BytesMut) -> Result<bool, Error> {
        Ok(self.replies(input, &mut BytesMut::new())? > 0)
    }

    fn create(&mut self, _: usize, _: &mut BytesMut) -> bool {
        false
    }

    fn append(&mut self, local: usize, record: &Payload, output: &mut BytesMut) {
        output.put_slice(&self.stream(local).head);
        output.put_slice(record);
        output.put_slice(b"\r\n");
    }

    fn replies(&mut self, input: &mut BytesMut, _: &mut BytesMut) -> Result<u64, Error> {
        let mut cursor = Cursor::new(input);
        let (mut confirmed, mut left) = (0, input.len());
        while let Some(line) = cursor.line() {
            match line.split_first() {
                Some((b'$', bytes)) => {
                    let bytes = number(bytes).ok_or_else(|| Error::said(line))?;
                    if cursor.block(bytes).is_none() {
                        break;
                    }
                }
                Some((b'+', _)) => {}
                _ => return Err(Error::said(line)),
            }
            confirmed += 1;
            left = cursor.left();
        }
        input.advance(input.len() - left);
        Ok(confirmed)
    }

    fn follow(&mut self, local: usize, output: &mut BytesMut) {
        self.following = local;
        output.put_slice(&command(&["XLEN", &self.stream(local).key], 0));
        self.read_after("0-0", output);
    }

    fn held(&self) -> Option<u64> {
        self.held
    }

    fn records(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        each: Each<'_>,
    ) -> Result<(), Error> {
        let mut cursor = Cursor::new(input);
        let mut left = input.len();
        while self.step(&mut cursor, output, each)? {
            left = cursor.left();
        }
        input.advance(input.len() - left);
        Ok(())
    }
}

/// A request of these parts, and `more` that follow.
fn command(parts: &[&str], more: usize) -> Vec<u8> {
    let part = |part: &&str| format!("${}\r\n{part}\r\n", part.len());
    let parts_count = parts.len() + more;
    let parts: String = parts.iter().map(part).collect();
    format!("*{parts_count}\r\n{parts}").into_bytes()
}

/// The number after `kind`.
fn header(line: &[u8], kind: u8) -> Result<u64, Error> {
    let digits = line.split_first().filter(|(first, _)| **first == kind);
    digits
        .and_then(|(_, digits)| number(digits))
        .ok_or_else(|| Error::said(line))
}

/// `*1 *2 $n KEY *ENTRIES`
fn head(cursor: &mut Cursor<'_>) -> Result<Option<u64>, Error> {
    let mut entries = || {
        let streams = cursor.line()?;
        if let Err(error) = header(streams, b'*') {
            return Some(Err(error));
        }
        cursor.line()?;
        block(cursor)?.err().map_or_else(
            || cursor.line().map(|line| header(line, b'*')),
            |error| Some(Err(error)),
        )
    };
    entries().transpose()
}

/// Id and record.
type Entry<'a> = (&'a [u8], &'a [u8]);

/// `*2 $n ID *2 $1 d $256 RECORD`
fn entry<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Entry<'a>>, Error> {
    let mut entry = || {
        cursor.line()?;
        let id = block(cursor)?;
        cursor.line()?;
        let field = block(cursor)?;
        let record = block(cursor)?;
        Some(id.and_then(|id| field.and_then(|_| record.map(|record| (id, record)))))
    };
    entry().transpose()
}

/// `$n BYTES`
fn block<'a>(cursor: &mut Cursor<'a>) -> Option<Result<&'a [u8], Error>> {
    match header(cursor.line()?, b'$') {
        Ok(bytes) => cursor.block(bytes).map(Ok),
        Err(error) => Some(Err(error)),
    }
}
