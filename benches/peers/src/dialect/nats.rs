//! NATS with its streams (`JetStream`): `PUB subject inbox` per record, answered by an acknowledgement on the inbox; reads
//! by an ordered push consumer.
//!
//! Each stream of the run is a stream of its own there, with its name as its subject. One subscription (id 1) takes
//! all answers of the connection; the last token of the inbox says which stream an acknowledgement is for, and its
//! `seq` must be the next one there. The consumer is what client libraries call ordered: no acks, in memory, one
//! replica, flow control and heartbeats; its records come on subscription 2.

use std::fmt::Write as _;

use bytes::{Buf, BufMut, BytesMut};

use super::cursor::{Cursor, number, number_after};
use super::{Dialect, Each, name};
use crate::error::Error;
use crate::record::{Payload, RECORD_BYTES};

/// The last token of the inbox for answers that are no acknowledgement.
const ASKED: &[u8] = b"asked";
const STREAM_INFO: &[u8] = b"stream";
const CONSUMER: &[u8] = b"consumer";

/// See the module.
#[derive(Debug)]
pub(crate) struct Nats {
    /// Names inbox, consumer and delivery subject of this connection.
    connection: u64,
    streams: Vec<Stream>,
    /// Records of the stream that is followed, and whether the consumer is there.
    held: Option<u64>,
    following: bool,
}

#[derive(Debug)]
struct Stream {
    number: u32,
    /// PUB up to the record.
    head: Vec<u8>,
    /// Appends that were acknowledged.
    acknowledged: u64,
}

/// What the server sends.
enum Operation<'a> {
    Message(Message<'a>),
    Ping,
    Pong,
    /// INFO or +OK.
    Other,
}

struct Message<'a> {
    subject: &'a [u8],
    subscription: &'a [u8],
    reply: Option<&'a [u8]>,
    headers: &'a [u8],
    payload: &'a [u8],
}

impl Message<'_> {
    /// What the inbox was used for.
    fn token(&self) -> &[u8] {
        self.subject
            .rsplit(|byte| *byte == b'.')
            .next()
            .unwrap_or(self.subject)
    }
}

impl Nats {
    pub(crate) fn new(connection: u64, streams: &[u32]) -> Self {
        let stream = |(local, number): (usize, &u32)| Stream {
            number: *number,
            head: format!(
                "PUB {} i.{connection}.{local} {RECORD_BYTES}\r\n",
                name(*number)
            )
            .into(),
            acknowledged: 0,
        };
        Self {
            connection,
            streams: streams.iter().enumerate().map(stream).collect(),
            held: None,
            following: false,
        }
    }

    fn stream(&self, local: usize) -> &Stream {
        self.streams
            .get(local)
            .expect("the load numbers the streams it named")
    }

    fn ask(&self, subject: &str, token: &[u8], body: &str, output: &mut BytesMut) {
        let token = String::from_utf8_lossy(token);
        let mut request = String::new();
        write!(
            request,
            "PUB {subject} i.{}.{token} {}\r\n{body}\r\n",
            self.connection,
            body.len()
        )
        .expect("a String takes all");
        output.put_slice(request.as_bytes());
    }

    /// Checks one acknowledgement or answer.
    fn answered(&mut self, message: &Message<'_>) -> Result<(), Error> {
        let wrong = !message.headers.is_empty()
            || memchr::memmem::find(message.payload, b"\"error\"").is_some();
        if wrong {
            return Err(Error::said(if message.headers.is_empty() {
                message.payload
            } else {
                message.headers
            }));
        }
        let Some(local) = number(message.token()) else {
            return Ok(());
        };
        let stream = usize::try_from(local).ok();
        let stream = stream.and_then(|local| self.streams.get_mut(local));
        let stream = stream.ok_or_else(|| Error::said(message.subject))?;
        let have = number_after(message.payload, b"\"seq\":");
        let have = have.ok_or_else(|| Error::said(message.payload))?;
        stream.acknowledged += 1;
        if have == stream.acknowledged {
            Ok(())
        } else {
            Err(Error::Confirm {
                stream: stream.number,
                have,
                expected: stream.acknowledged,
            })
        }
    }

    fn delivered(
        &mut self,
        message: &Message<'_>,
        output: &mut BytesMut,
        each: Each<'_>,
    ) -> Result<(), Error> {
        match message.subscription {
            b"1" => {
                self.answered(message)?;
                match message.token() {
                    STREAM_INFO => self.held = number_after(message.payload, b"\"messages\":"),
                    CONSUMER => self.following = true,
                    _ => {}
                }
                Ok(())
            }
            _ if message.headers.is_empty() => each(message.payload),
            _ => {
                // A status: it asks for a sign that all before it was received, or is a heartbeat that repeats the question.
                let stalled = b"Nats-Consumer-Stalled: ";
                let stalled = memchr::memmem::find(message.headers, stalled)
                    .and_then(|at| message.headers.get(at + stalled.len()..))
                    .and_then(|rest| Cursor::new(rest).line());
                if let Some(subject) = message.reply.or(stalled) {
                    output.put_slice(b"PUB ");
                    output.put_slice(subject);
                    output.put_slice(b" 0\r\n\r\n");
                }
                Ok(())
            }
        }
    }

    /// Takes whole operations off `input`.
    fn operations(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        mut each: impl FnMut(&mut Self, &Message<'_>, &mut BytesMut) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut cursor = Cursor::new(input);
        let (mut left, mut pong) = (input.len(), false);
        while let Some(operation) = operation(&mut cursor)? {
            match operation {
                Operation::Message(message) => each(self, &message, output)?,
                Operation::Ping => output.put_slice(b"PONG\r\n"),
                Operation::Pong => pong = true,
                Operation::Other => {}
            }
            left = cursor.left();
        }
        input.advance(input.len() - left);
        Ok(pong)
    }
}

impl Dialect for Nats {
    fn hello(&mut self, output: &mut BytesMut) {
        let options = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"lang":"raw","version":"1","protocol":1}"#;
        let inbox = self.connection;
        let hello = format!("CONNECT {options}\r\nSUB i.{inbox}.* 1\r\nPING\r\n");
        output.put_slice(hello.as_bytes());
    }

    fn greeted(&mut self, input: &mut BytesMut) -> Result<bool, Error> {
        self.operations(input, &mut BytesMut::new(), |_, _, _| Ok(()))
    }

    fn create(&mut self, local: usize, output: &mut BytesMut) -> bool {
        let name = name(self.stream(local).number);
        let body = format!(r#"{{"name":"{name}","subjects":["{name}"],"storage":"file"}}"#);
        self.ask(
            &format!("$JS.API.STREAM.CREATE.{name}"),
            ASKED,
            &body,
            output,
        );
        true
    }

    fn append(&mut self, local: usize, record: &Payload, output: &mut BytesMut) {
        output.put_slice(&self.stream(local).head);
        output.put_slice(record);
        output.put_slice(b"\r\n");
    }

    fn replies(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<u64, Error> {
        let mut confirmed = 0;
        self.operations(input, output, |this, message, _| {
            confirmed += 1;
            this.answered(message)
        })?;
        Ok(confirmed)
    }

    fn follow(&mut self, local: usize, output: &mut BytesMut) {
        let (stream, me) = (name(self.stream(local).number), self.connection);
        self.ask(
            &format!("$JS.API.STREAM.INFO.{stream}"),
            STREAM_INFO,
            "",
            output,
        );
        output.put_slice(format!("SUB d.{me} 2\r\n").as_bytes());
        let body = format!(
            r#"{{"stream_name":"{stream}","config":{{"name":"f{me}","deliver_subject":"d.{me}","deliver_policy":"all","ack_policy":"none","max_deliver":1,"flow_control":true,"idle_heartbeat":5000000000,"mem_storage":true,"num_replicas":1,"inactive_threshold":300000000000}}}}"#
        );
        self.ask(
            &format!("$JS.API.CONSUMER.CREATE.{stream}.f{me}"),
            CONSUMER,
            &body,
            output,
        );
    }

    fn held(&self) -> Option<u64> {
        self.held.filter(|_| self.following)
    }

    fn records(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        each: Each<'_>,
    ) -> Result<(), Error> {
        self.operations(input, output, |this, message, output| {
            this.delivered(message, output, each)
        })?;
        Ok(())
    }
}

/// The next operation, if it has come whole.
fn operation<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Operation<'a>>, Error> {
    let Some(line) = cursor.line() else {
        return Ok(None);
    };
    if line == b"PING" {
        return Ok(Some(Operation::Ping));
    }
    if line == b"PONG" {
        return Ok(Some(Operation::Pong));
    }
    if line.starts_with(b"INFO") || line == b"+OK" {
        return Ok(Some(Operation::Other));
    }
    let wrong = || Error::said(line);
    let mut words = line.split(|byte| *byte == b' ');
    let verb = words.next().unwrap_or_default();
    let headed = match verb {
        b"MSG" => false,
        b"HMSG" => true,
        _ => return Err(wrong()),
    };
    let (subject, subscription) = (words.next(), words.next());
    let mut rest = words;
    // Total, then the headers before it if there are any, then the reply if there is one.
    let total = rest.next_back().and_then(number).ok_or_else(wrong)?;
    let before = if headed {
        rest.next_back().and_then(number).ok_or_else(wrong)?
    } else {
        0
    };
    let reply = rest.next();
    let Some(block) = cursor.block(total) else {
        return Ok(None);
    };
    let before = usize::try_from(before).unwrap_or(usize::MAX);
    let (headers, payload) = block.split_at_checked(before).ok_or_else(wrong)?;
    let (Some(subject), Some(subscription)) = (subject, subscription) else {
        return Err(wrong());
    };
    Ok(Some(Operation::Message(Message {
        subject,
        subscription,
        reply,
        headers,
        payload,
    })))
}
