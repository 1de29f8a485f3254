//! Frames out of arbitrary bytes: every kind, with and without each option, within the limits of the protocol.

use arbitrary::{Result, Unstructured};
use bytes::{Bytes, BytesMut};
use streamkeeper_protocol::command::{
    Append, Close, CommandKind, Connect, Create, Credit, Delete, List, Producer, Read, Start, Stat,
    Storage, Subscribe, Unsubscribe,
};
use streamkeeper_protocol::event::{
    Closed, Confirm, ConfirmEntry, Connected, Created, Deliver, Draining, End, EndReason,
    ErrorEvent, EventKind, Info, Listed, ListedStream, Records, Status, Subscribed,
};
use streamkeeper_protocol::limits::{
    CLIENT_TEXT_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, ERROR_MESSAGE_BYTES_MAX, Limits,
    PRODUCER_ID_BYTES_MAX, SEQ_BYTES_MAX, STREAM_NAME_BYTES_MAX, TOKEN_BYTES_MAX,
};
use streamkeeper_protocol::{Command, Event, RecordBlock, Run, Str};

type Choices<'a> = Unstructured<'a>;

/// A command of this kind.
pub fn command(kind: CommandKind, u: &mut Choices<'_>) -> Result<Command> {
    Ok(match kind {
        CommandKind::Connect => Command::Connect(connect(u)?),
        CommandKind::Ping => Command::Ping,
        CommandKind::Pong => Command::Pong,
        CommandKind::Create => Command::Create(create(u)?),
        CommandKind::Delete => Command::Delete(Delete { stream: name(u)? }),
        CommandKind::Close => Command::Close(Close { stream: name(u)? }),
        CommandKind::Stat => Command::Stat(Stat { stream: name(u)? }),
        CommandKind::List => Command::List(List {
            prefix: text(u, 0, STREAM_NAME_BYTES_MAX)?,
            after: text(u, 0, STREAM_NAME_BYTES_MAX)?,
            limit: u.arbitrary()?,
        }),
        CommandKind::Append => Command::Append(append(u)?),
        CommandKind::Read => Command::Read(Read {
            stream: name(u)?,
            start: start(u)?,
            max_bytes: u.arbitrary()?,
            max_records: u.arbitrary()?,
            wait_ms: u.arbitrary()?,
        }),
        CommandKind::Subscribe => Command::Subscribe(Subscribe {
            subscription: u.arbitrary()?,
            stream: name(u)?,
            start: start(u)?,
            credit: u.arbitrary()?,
        }),
        CommandKind::Credit => Command::Credit(Credit {
            subscription: u.arbitrary()?,
            bytes: u.arbitrary()?,
        }),
        CommandKind::Unsubscribe => Command::Unsubscribe(Unsubscribe {
            subscription: u.arbitrary()?,
        }),
    })
}

/// An event of this kind.
pub fn event(kind: EventKind, u: &mut Choices<'_>) -> Result<Event> {
    Ok(match kind {
        EventKind::Ping => Event::Ping,
        EventKind::Pong => Event::Pong,
        EventKind::Info => Event::Info(info(u)?),
        EventKind::Connected => Event::Connected(Connected {
            session: u.arbitrary()?,
            version: u.arbitrary()?,
        }),
        EventKind::Err => Event::Err(error(u)?),
        EventKind::Created => Event::Created(Created {
            exists: u.arbitrary()?,
            tail: u.arbitrary()?,
        }),
        EventKind::Deleted => Event::Deleted,
        EventKind::Closed => Event::Closed(Closed {
            tail: u.arbitrary()?,
        }),
        EventKind::Status => Event::Status(status(u)?),
        EventKind::Listed => Event::Listed(Listed {
            more: u.arbitrary()?,
            streams: some(u, 5, listed_stream)?,
        }),
        EventKind::Confirm => Event::Confirm(Confirm {
            entries: some(u, 40, confirm_entry)?,
        }),
        EventKind::Records => Event::Records(Records {
            more: u.arbitrary()?,
            closed: u.arbitrary()?,
            next: u.arbitrary()?,
            next_byte: u.arbitrary()?,
            tail: u.arbitrary()?,
            runs: runs(u)?,
        }),
        EventKind::Subscribed => Event::Subscribed(Subscribed {
            subscription: u.arbitrary()?,
            next: u.arbitrary()?,
            tail: u.arbitrary()?,
        }),
        EventKind::Deliver => Event::Deliver(Deliver {
            subscription: u.arbitrary()?,
            runs: runs(u)?,
        }),
        EventKind::End => Event::End(End {
            subscription: u.arbitrary()?,
            reason: *u.choose(EndReason::ALL)?,
            next: u.arbitrary()?,
            earliest: u.arbitrary()?,
        }),
        EventKind::Draining => Event::Draining(Draining {
            grace_ms: u.arbitrary()?,
        }),
    })
}

fn connect(u: &mut Choices<'_>) -> Result<Connect> {
    Ok(Connect {
        version: u.arbitrary()?,
        name: text(u, 0, CLIENT_TEXT_BYTES_MAX)?,
        library: text(u, 0, CLIENT_TEXT_BYTES_MAX)?,
        library_version: text(u, 0, CLIENT_TEXT_BYTES_MAX)?,
        token: maybe(u, |u| bytes(u, 0, TOKEN_BYTES_MAX))?,
    })
}

fn create(u: &mut Choices<'_>) -> Result<Create> {
    Ok(Create {
        stream: name(u)?,
        content_type: maybe(u, |u| text(u, 1, CONTENT_TYPE_BYTES_MAX))?,
        ttl_seconds: u.arbitrary()?,
        expires_at: u.arbitrary()?,
        max_age_ms: u.arbitrary()?,
        max_records: u.arbitrary()?,
        max_bytes: u.arbitrary()?,
        storage: maybe(u, |u| Ok(*u.choose(Storage::ALL)?))?,
    })
}

fn append(u: &mut Choices<'_>) -> Result<Append> {
    let stream = name(u)?;
    let seq = maybe(u, |u| bytes(u, 1, SEQ_BYTES_MAX))?;
    let producer = maybe(u, |u| {
        let id = text(u, 1, PRODUCER_ID_BYTES_MAX)?;
        Ok(Producer {
            id,
            epoch: u.arbitrary()?,
            seq: u.arbitrary()?,
        })
    })?;
    let (expected_tail, no_confirm, close_after) = u.arbitrary()?;
    let block = block(u)?;
    Ok(Append {
        stream,
        seq,
        producer,
        expected_tail,
        no_confirm,
        close_after: close_after || block.is_empty(),
        count: block.count(),
        records: block.into_bytes(),
    })
}

fn start(u: &mut Choices<'_>) -> Result<Start> {
    let starts = [
        Start::Beginning,
        Start::Now,
        Start::Offset(u.arbitrary()?),
        Start::Time(u.arbitrary()?),
    ];
    Ok(*u.choose(&starts)?)
}

fn info(u: &mut Choices<'_>) -> Result<Info> {
    Ok(Info {
        server_id: text(u, 0, 100)?,
        server_version: text(u, 0, 100)?,
        version_min: u.arbitrary()?,
        version_max: u.arbitrary()?,
        heartbeat_ms: u.arbitrary()?,
        auth_required: u.arbitrary()?,
        limits: Limits {
            frame_bytes_max: u.arbitrary()?,
            record_bytes_max: u.arbitrary()?,
            batch_records_max: u.arbitrary()?,
            subscriptions_max: u.arbitrary()?,
            unauthenticated_frame_bytes_max: u.arbitrary()?,
        },
        features: maybe(u, |u| text(u, 0, 100))?,
    })
}

fn error(u: &mut Choices<'_>) -> Result<ErrorEvent> {
    Ok(ErrorEvent {
        code: u.arbitrary()?,
        message: text(u, 0, ERROR_MESSAGE_BYTES_MAX)?,
        fatal: u.arbitrary()?,
        expected_seq: u.arbitrary()?,
        current_epoch: u.arbitrary()?,
        tail: u.arbitrary()?,
        earliest: u.arbitrary()?,
        last_seq: maybe(u, |u| bytes(u, 0, SEQ_BYTES_MAX))?,
        retry_after_ms: u.arbitrary()?,
    })
}

fn status(u: &mut Choices<'_>) -> Result<Status> {
    Ok(Status {
        content_type: text(u, 0, CONTENT_TYPE_BYTES_MAX)?,
        created_at: u.arbitrary()?,
        closed: u.arbitrary()?,
        storage: *u.choose(Storage::ALL)?,
        earliest: u.arbitrary()?,
        earliest_byte: u.arbitrary()?,
        tail: u.arbitrary()?,
        tail_byte: u.arbitrary()?,
        ttl_seconds: u.arbitrary()?,
        expires_at: u.arbitrary()?,
        max_age_ms: u.arbitrary()?,
        max_records: u.arbitrary()?,
        max_bytes: u.arbitrary()?,
        last_seq: maybe(u, |u| bytes(u, 0, SEQ_BYTES_MAX))?,
        last_append_at: u.arbitrary()?,
    })
}

fn listed_stream(u: &mut Choices<'_>) -> Result<ListedStream> {
    let (tail, earliest, closed) = u.arbitrary()?;
    Ok(ListedStream {
        stream: name(u)?,
        tail,
        earliest,
        closed,
    })
}

fn confirm_entry(u: &mut Choices<'_>) -> Result<ConfirmEntry> {
    let (correlation, duplicate, closed, tail) = u.arbitrary()?;
    Ok(ConfirmEntry {
        correlation,
        duplicate,
        closed,
        tail,
    })
}

/// Runs back to back, as RECORDS and DELIVER hold them.
fn runs(u: &mut Choices<'_>) -> Result<Bytes> {
    let mut out = BytesMut::new();
    for run in some(u, 3, run)? {
        run.encode(&mut out);
    }
    Ok(out.freeze())
}

/// A run of at least one record at positions that leave room for it.
pub fn run(u: &mut Choices<'_>) -> Result<Run> {
    let mut payloads = some(u, 8, |u| bytes(u, 0, 60))?;
    payloads.push(bytes(u, 0, 60)?);
    let block = RecordBlock::from_payloads(payloads);
    let (first_offset, first_byte) = (u64::from(u.arbitrary::<u32>()?), u.arbitrary::<u32>()?);
    Ok(Run::new(
        &block,
        first_offset,
        first_byte.into(),
        u.arbitrary()?,
    ))
}

fn block(u: &mut Choices<'_>) -> Result<RecordBlock> {
    Ok(RecordBlock::from_payloads(some(u, 8, |u| {
        bytes(u, 0, 100)
    })?))
}

fn name(u: &mut Choices<'_>) -> Result<Str> {
    let name: String = text(u, 1, STREAM_NAME_BYTES_MAX)?
        .chars()
        .map(|char| if char.is_control() { '_' } else { char })
        .collect();
    Ok(Str::from(name))
}

/// Text of `min` to `max` bytes; mostly short, sometimes of exactly the limit.
fn text(u: &mut Choices<'_>, min: usize, max: usize) -> Result<Str> {
    let length = length(u, min, max)?;
    let mut text = String::new();
    while text.len() < length {
        let char = if u.ratio(1, 4)? {
            u.arbitrary()?
        } else {
            u.choose(&['a', '/', '0'])?.to_owned()
        };
        // A control character becomes an underscore in a name, which must not make it longer.
        let room = length - text.len();
        text.push(if char.len_utf8() <= room { char } else { 'x' });
    }
    Ok(Str::from(text))
}

fn bytes(u: &mut Choices<'_>, min: usize, max: usize) -> Result<Bytes> {
    let length = length(u, min, max)?;
    let mut bytes = vec![u.arbitrary()?; length];
    for byte in bytes.iter_mut().take(8) {
        *byte = u.arbitrary()?;
    }
    Ok(Bytes::from(bytes))
}

fn length(u: &mut Choices<'_>, min: usize, max: usize) -> Result<usize> {
    Ok(match u.int_in_range(0..=9)? {
        0 => min,
        1 => max,
        _ => u.int_in_range(min..=max.min(40))?,
    })
}

fn maybe<T>(
    u: &mut Choices<'_>,
    make: impl FnOnce(&mut Choices<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if u.arbitrary()? {
        make(u).map(Some)
    } else {
        Ok(None)
    }
}

fn some<T>(
    u: &mut Choices<'_>,
    most: usize,
    mut make: impl FnMut(&mut Choices<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=most)?).map(|_| make(u)).collect()
}
