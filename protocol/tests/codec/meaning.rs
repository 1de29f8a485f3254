//! From the meaning of a golden frame, as JSON, to the value it stands for.
//!
//! Follows `vectors/README.md`: a name is looked up under the name it has in SPEC.md, 64-bit numbers are decimal
//! strings, bytes are hex. A meaning that lacks something fails the test that asked for it.

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use streamkeeper_protocol::command::{
    Append, Close, Connect, Create, Credit, Delete, List, Producer, Read, Start, Stat, Storage,
    Subscribe, Unsubscribe,
};
use streamkeeper_protocol::event::{
    Closed, Confirm, ConfirmEntry, Connected, Created, Deliver, Draining, End, EndReason,
    ErrorEvent, Info, Listed, ListedStream, Records, Status, Subscribed,
};
use streamkeeper_protocol::limits::Limits;
use streamkeeper_protocol::{Command, ErrorCode, Event, RecordBlock, Run, Str};

/// One object of a vector file.
#[derive(Clone, Copy)]
pub(crate) struct Meaning<'a>(pub(crate) &'a Value);

impl<'a> Meaning<'a> {
    pub(crate) fn get(self, name: &str) -> Self {
        Self(
            self.0
                .get(name)
                .unwrap_or_else(|| panic!("{name} is missing in {}", self.0)),
        )
    }

    fn maybe<T>(self, name: &str, read: impl FnOnce(Self, &str) -> T) -> Option<T> {
        self.0.get(name).map(|_| read(self, name))
    }

    pub(crate) fn string(self, name: &str) -> &'a str {
        self.get(name)
            .0
            .as_str()
            .unwrap_or_else(|| panic!("{name} is text"))
    }

    fn str(self, name: &str) -> Str {
        Str::from(self.string(name))
    }

    pub(crate) fn small<T: TryFrom<u64>>(self, name: &str) -> T {
        let number = self
            .get(name)
            .0
            .as_u64()
            .and_then(|number| T::try_from(number).ok());
        number.unwrap_or_else(|| panic!("{name} is a number in range"))
    }

    fn u64(self, name: &str) -> u64 {
        self.string(name).parse().unwrap()
    }

    pub(crate) fn hex(self, name: &str) -> Bytes {
        unhex(self.string(name))
    }

    pub(crate) fn list(self, name: &str) -> impl Iterator<Item = Self> + 'a {
        self.get(name)
            .0
            .as_array()
            .expect("a list")
            .iter()
            .map(Meaning)
    }

    fn flag(self, name: &str) -> bool {
        self.list("flags").any(|flag| flag.0 == name)
    }

    fn start(self) -> Start {
        let start = self.get("start");
        match start.string("at") {
            "beginning" => Start::Beginning,
            "now" => Start::Now,
            "offset" => Start::Offset(start.u64("value")),
            "time" => Start::Time(start.u64("value")),
            other => panic!("{other} is no start"),
        }
    }

    fn records(self) -> RecordBlock {
        let payloads = self
            .list("records")
            .map(|hex| unhex(hex.0.as_str().expect("hex")));
        RecordBlock::from_payloads(payloads)
    }

    fn runs(self) -> Bytes {
        let mut out = BytesMut::new();
        for run in self.list("runs") {
            let (offset, byte) = (run.u64("first_offset"), run.u64("first_byte"));
            Run::new(&run.records(), offset, byte, run.u64("committed_at")).encode(&mut out);
        }
        out.freeze()
    }

    fn storage(self) -> Storage {
        Storage::of(self.small("storage")).expect("a storage")
    }
}

/// Bytes of pairs of hexadecimal digits.
pub(crate) fn unhex(hex: &str) -> Bytes {
    assert!(hex.len().is_multiple_of(2), "pairs of digits");
    let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// Pairs of hexadecimal digits for bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    })
}

/// The command a golden frame means.
pub(crate) fn command(frame: Meaning<'_>) -> Command {
    let it = frame.get("fields");
    match frame.string("kind") {
        "CONNECT" => Command::Connect(Connect {
            version: it.small("version"),
            name: it.str("name"),
            library: it.str("library"),
            library_version: it.str("library_version"),
            token: it.maybe("token", Meaning::hex),
        }),
        "PING" => Command::Ping,
        "PONG" => Command::Pong,
        "CREATE" => Command::Create(Create {
            stream: it.str("stream"),
            content_type: it.maybe("content_type", Meaning::str),
            ttl_seconds: it.maybe("ttl_seconds", Meaning::u64),
            expires_at: it.maybe("expires_at", Meaning::u64),
            max_age_ms: it.maybe("max_age_ms", Meaning::u64),
            max_records: it.maybe("max_records", Meaning::u64),
            max_bytes: it.maybe("max_bytes", Meaning::u64),
            storage: it.maybe("storage", |it, _| it.storage()),
        }),
        "DELETE" => Command::Delete(Delete {
            stream: it.str("stream"),
        }),
        "CLOSE" => Command::Close(Close {
            stream: it.str("stream"),
        }),
        "STAT" => Command::Stat(Stat {
            stream: it.str("stream"),
        }),
        "LIST" => Command::List(List {
            prefix: it.str("prefix"),
            after: it.str("after"),
            limit: it.small("limit"),
        }),
        "APPEND" => Command::Append(append(frame, it)),
        "READ" => Command::Read(Read {
            stream: it.str("stream"),
            start: it.start(),
            max_bytes: it.small("max_bytes"),
            max_records: it.small("max_records"),
            wait_ms: it.small("wait_ms"),
        }),
        "SUBSCRIBE" => Command::Subscribe(Subscribe {
            subscription: it.small("subscription"),
            stream: it.str("stream"),
            start: it.start(),
            credit: it.u64("credit"),
        }),
        "CREDIT" => Command::Credit(Credit {
            subscription: it.small("subscription"),
            bytes: it.u64("bytes"),
        }),
        "UNSUBSCRIBE" => Command::Unsubscribe(Unsubscribe {
            subscription: it.small("subscription"),
        }),
        other => panic!("{other} is no command"),
    }
}

fn append(frame: Meaning<'_>, it: Meaning<'_>) -> Append {
    let block = it.records();
    Append {
        stream: it.str("stream"),
        seq: it.maybe("seq", Meaning::hex),
        producer: it.maybe("producer", |it, name| {
            let it = it.get(name);
            Producer {
                id: it.str("id"),
                epoch: it.u64("epoch"),
                seq: it.u64("seq"),
            }
        }),
        expected_tail: it.maybe("expected_tail", Meaning::u64),
        close_after: frame.flag("CLOSE_AFTER"),
        no_confirm: frame.flag("NO_CONFIRM"),
        count: block.count(),
        records: block.into_bytes(),
    }
}

/// The event a golden frame means.
pub(crate) fn event(frame: Meaning<'_>) -> Event {
    let it = frame.get("fields");
    match frame.string("kind") {
        "PING" => Event::Ping,
        "PONG" => Event::Pong,
        "INFO" => Event::Info(info(it)),
        "CONNECTED" => Event::Connected(Connected {
            session: it.u64("session"),
            version: it.small("version"),
        }),
        "ERR" => Event::Err(error(frame, it)),
        "CREATED" => Event::Created(Created {
            exists: frame.flag("EXISTS"),
            tail: it.u64("tail"),
        }),
        "DELETED" => Event::Deleted,
        "CLOSED" => Event::Closed(Closed {
            tail: it.u64("tail"),
        }),
        "STATUS" => Event::Status(status(it)),
        "LISTED" => Event::Listed(Listed {
            more: frame.flag("MORE"),
            streams: it.list("streams").map(listed_stream).collect(),
        }),
        "CONFIRM" => Event::Confirm(Confirm {
            entries: it.list("entries").map(confirm_entry).collect(),
        }),
        "RECORDS" => Event::Records(Records {
            more: frame.flag("MORE"),
            closed: frame.flag("CLOSED"),
            next: it.u64("next"),
            next_byte: it.u64("next_byte"),
            tail: it.u64("tail"),
            runs: it.runs(),
        }),
        "SUBSCRIBED" => Event::Subscribed(Subscribed {
            subscription: it.small("subscription"),
            next: it.u64("next"),
            tail: it.u64("tail"),
        }),
        "DELIVER" => Event::Deliver(Deliver {
            subscription: it.small("subscription"),
            runs: it.runs(),
        }),
        "END" => Event::End(end(it)),
        "DRAINING" => Event::Draining(Draining {
            grace_ms: it.small("grace_ms"),
        }),
        other => panic!("{other} is no event"),
    }
}

fn info(it: Meaning<'_>) -> Info {
    Info {
        server_id: it.str("server_id"),
        server_version: it.str("server_version"),
        version_min: it.small("version_min"),
        version_max: it.small("version_max"),
        heartbeat_ms: it.small("heartbeat_ms"),
        auth_required: it.small::<u8>("auth_required") == 1,
        limits: Limits {
            frame_bytes_max: it.small("frame_bytes_max"),
            record_bytes_max: it.small("record_bytes_max"),
            batch_records_max: it.small("batch_records_max"),
            subscriptions_max: it.small("subscriptions_max"),
            unauthenticated_frame_bytes_max: it.small("unauthenticated_frame_bytes_max"),
        },
        features: it.maybe("features", Meaning::str),
    }
}

fn error(frame: Meaning<'_>, it: Meaning<'_>) -> ErrorEvent {
    let code = it.small("code");
    let name = ErrorCode::try_from(code).ok().map(ErrorCode::as_str);
    assert_eq!(it.maybe("code_name", Meaning::string), name);
    ErrorEvent {
        code,
        message: it.str("message"),
        fatal: frame.flag("FATAL"),
        expected_seq: it.maybe("expected_seq", Meaning::u64),
        current_epoch: it.maybe("current_epoch", Meaning::u64),
        tail: it.maybe("tail", Meaning::u64),
        earliest: it.maybe("earliest", Meaning::u64),
        last_seq: it.maybe("last_seq", Meaning::hex),
        retry_after_ms: it.maybe("retry_after_ms", Meaning::u64),
    }
}

fn status(it: Meaning<'_>) -> Status {
    Status {
        content_type: it.str("content_type"),
        created_at: it.u64("created_at"),
        closed: it.flag("CLOSED"),
        storage: it.storage(),
        earliest: it.u64("earliest"),
        earliest_byte: it.u64("earliest_byte"),
        tail: it.u64("tail"),
        tail_byte: it.u64("tail_byte"),
        ttl_seconds: it.maybe("ttl_seconds", Meaning::u64),
        expires_at: it.maybe("expires_at", Meaning::u64),
        max_age_ms: it.maybe("max_age_ms", Meaning::u64),
        max_records: it.maybe("max_records", Meaning::u64),
        max_bytes: it.maybe("max_bytes", Meaning::u64),
        last_seq: it.maybe("last_seq", Meaning::hex),
        last_append_at: it.maybe("last_append_at", Meaning::u64),
    }
}

fn listed_stream(it: Meaning<'_>) -> ListedStream {
    ListedStream {
        stream: it.str("stream"),
        tail: it.u64("tail"),
        earliest: it.u64("earliest"),
        closed: it.small::<u8>("closed") == 1,
    }
}

fn confirm_entry(it: Meaning<'_>) -> ConfirmEntry {
    ConfirmEntry {
        correlation: it.small("correlation"),
        duplicate: it.flag("DUPLICATE"),
        closed: it.flag("CLOSED"),
        tail: it.u64("tail"),
    }
}

fn end(it: Meaning<'_>) -> End {
    let reason = EndReason::of(it.small("reason")).expect("a reason");
    assert_eq!(it.string("reason_name"), reason.as_str());
    End {
        subscription: it.small("subscription"),
        reason,
        next: it.u64("next"),
        earliest: it.maybe("earliest", Meaning::u64),
    }
}
