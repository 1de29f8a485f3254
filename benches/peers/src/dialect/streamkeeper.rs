//! SKP/1 by the codec that the broker and its client use: one record per APPEND, confirms in bulk, a subscription for
//! reads.
//!
//! A correlation id is made of the stream's place and how many appends it had before, so a confirm tells both without a
//! table. The credit of a subscription is the client library's default, 1 MiB, given back by halves.

use bytes::{BufMut, BytesMut};
use streamkeeper_protocol::command::{Append, Connect, Create, Credit, Start, Subscribe};
use streamkeeper_protocol::event::ConfirmEntry;
use streamkeeper_protocol::limits::{FRAME_BYTES_CEILING, VERSION};
use streamkeeper_protocol::{Command, Event, RecordBlock, Str, frame};

use super::{Dialect, Each, name};
use crate::error::Error;
use crate::record::{Payload, RECORD_BYTES};

/// Where the correlation id stands in a frame.
const CORRELATION: std::ops::Range<usize> = 6..10;
/// Bytes of the checksum, which is the last thing before the payload.
const CHECKSUM_BYTES: usize = 4;
const WINDOW_BYTES: u64 = 1 << 20;
const SUBSCRIPTION: u32 = 1;

/// See the module.
#[derive(Debug)]
pub(crate) struct Streamkeeper {
    streams: Vec<Stream>,
    held: Option<u64>,
    /// Bytes of deliveries to be granted again.
    used: u64,
}

#[derive(Debug)]
struct Stream {
    number: u32,
    /// APPEND up to the payload.
    head: Vec<u8>,
    sent: u64,
    confirmed: u64,
}

impl Streamkeeper {
    pub(crate) fn new(streams: &[u32]) -> Self {
        let stream = |number: &u32| Stream {
            number: *number,
            head: head(*number),
            sent: 0,
            confirmed: 0,
        };
        Self {
            streams: streams.iter().map(stream).collect(),
            held: None,
            used: 0,
        }
    }

    fn name(&self, local: usize) -> Str {
        let stream = self.streams.get(local);
        Str::from(name(
            stream
                .expect("the load numbers the streams it named")
                .number,
        ))
    }

    fn confirm(&mut self, entry: &ConfirmEntry) -> Result<(), Error> {
        let unknown = || Error::said(format!("CONFIRM of {}", entry.correlation).as_bytes());
        let streams = u32::try_from(self.streams.len()).expect("a connection has few streams");
        let place = entry.correlation.checked_sub(1).ok_or_else(unknown)?;
        let stream = self.streams.get_mut((place % streams) as usize);
        let stream = stream.ok_or_else(unknown)?;
        stream.confirmed += 1;
        if entry.tail == stream.confirmed && !entry.duplicate {
            Ok(())
        } else {
            Err(Error::Confirm {
                stream: stream.number,
                have: entry.tail,
                expected: stream.confirmed,
            })
        }
    }

    /// Takes whole frames off `input`.
    fn events(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        mut each: impl FnMut(&mut Self, Event) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let wrong =
            |error: streamkeeper_protocol::WireError| Error::said(error.to_string().as_bytes());
        while let Some(frame) = frame::split(input, FRAME_BYTES_CEILING).map_err(wrong)? {
            match Event::decode(&frame).map_err(wrong)? {
                Event::Ping => Command::Pong.encode(frame.header.correlation, output),
                Event::Err(error) => return Err(Error::said(error.message.as_bytes())),
                event => each(self, event)?,
            }
        }
        Ok(())
    }
}

impl Dialect for Streamkeeper {
    fn hello(&mut self, output: &mut BytesMut) {
        let connect = Connect {
            version: VERSION,
            name: Str::from_static("peers"),
            library: Str::new(),
            library_version: Str::new(),
            token: None,
        };
        Command::Connect(connect).encode(1, output);
    }

    fn greeted(&mut self, input: &mut BytesMut) -> Result<bool, Error> {
        let mut connected = false;
        self.events(input, &mut BytesMut::new(), |_, event| {
            connected |= matches!(event, Event::Connected(_));
            Ok(())
        })?;
        Ok(connected)
    }

    fn create(&mut self, local: usize, output: &mut BytesMut) -> bool {
        let create = Create {
            stream: self.name(local),
            ..Create::default()
        };
        let correlation = u32::try_from(local + 1).expect("a connection has few streams");
        Command::Create(create).encode(correlation, output);
        true
    }

    fn append(&mut self, local: usize, record: &Payload, output: &mut BytesMut) {
        let streams = self.streams.len() as u64;
        let stream = self.streams.get_mut(local);
        let stream = stream.expect("the load numbers the streams it named");
        // Far fewer are in flight than the numbers that this leaves apart.
        let turn = stream.sent % (u64::from(u32::MAX - 1) / streams);
        let correlation = u32::try_from(turn * streams + local as u64 + 1);
        let correlation = correlation.expect("the remainder keeps it below 2^32");
        stream.sent += 1;
        let head = stream.head.as_mut_slice();
        if let Some(place) = head.get_mut(CORRELATION) {
            place.copy_from_slice(&correlation.to_be_bytes());
        }
        if let Some(place) = head.last_chunk_mut::<CHECKSUM_BYTES>() {
            *place = crc32c::crc32c(record).to_be_bytes();
        }
        output.put_slice(head);
        output.put_slice(record);
    }

    fn replies(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<u64, Error> {
        let mut confirmed = 0;
        self.events(input, output, |this, event| {
            match event {
                Event::Confirm(confirm) => {
                    confirmed += confirm.entries.len() as u64;
                    confirm
                        .entries
                        .iter()
                        .try_for_each(|entry| this.confirm(entry))?;
                }
                Event::Created(_) => confirmed += 1,
                _ => {}
            }
            Ok(())
        })?;
        Ok(confirmed)
    }

    fn follow(&mut self, local: usize, output: &mut BytesMut) {
        let subscribe = Subscribe {
            subscription: SUBSCRIPTION,
            stream: self.name(local),
            start: Start::Beginning,
            credit: WINDOW_BYTES,
        };
        Command::Subscribe(subscribe).encode(1, output);
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
        let wrong = |error: &dyn std::fmt::Display| Error::said(error.to_string().as_bytes());
        self.events(input, output, |this, event| {
            match event {
                Event::Subscribed(subscribed) => this.held = Some(subscribed.tail),
                Event::Deliver(deliver) => {
                    this.used += deliver.cost();
                    for run in deliver.runs() {
                        for record in run.map_err(|error| wrong(&error))?.records() {
                            each(&record.map_err(|error| wrong(&error))?.payload)?;
                        }
                    }
                }
                Event::End(end) => return Err(wrong(&format_args!("END, {:?}", end.reason))),
                _ => {}
            }
            Ok(())
        })?;
        if self.used >= WINDOW_BYTES / 2 {
            let credit = Credit {
                subscription: SUBSCRIPTION,
                bytes: std::mem::take(&mut self.used),
            };
            Command::Credit(credit).encode(0, output);
        }
        Ok(())
    }
}

/// An APPEND of one record up to its payload.
fn head(stream: u32) -> Vec<u8> {
    let block = RecordBlock::from_payloads([[0; RECORD_BYTES]]);
    let append = Append {
        stream: name(stream).into(),
        count: block.count(),
        records: block.into_bytes(),
        ..Append::default()
    };
    let mut frame = BytesMut::new();
    Command::Append(append).encode(0, &mut frame);
    frame.truncate(frame.len() - RECORD_BYTES);
    frame.to_vec()
}
