//! The session as a state machine: whatever a peer sends, in whatever order, every request is answered once, or the connection
//! ends with one fatal ERR as its last frame.
//!
//! The real connection and session over a real broker; only the socket is a pipe in memory. Bytes of the case choose the
//! frames: requests on a few streams that meet each other, and now and then frames that are broken.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bytes::BytesMut;
use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::connection::{Connection, ConnectionOptions};
use streamkeeper::session::{Session, SessionContext, SessionOptions};
use streamkeeper_protocol::command::{
    Append, Close, CommandKind, Connect, Create, Credit, Delete, List, Producer, Read, Start, Stat,
    Storage, Subscribe, Unsubscribe,
};
use streamkeeper_protocol::{Command, Event, Frame, RecordBlock, Str, frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::corpus::Corpus;
use crate::frames;
use crate::random::seeds;

/// Mangled cases of each seed.
const CASES: u64 = 3_000;
/// Requests of one case.
const REQUESTS_MAX: u32 = 80;
/// Of the PING behind all other requests.
const LAST: u32 = u32::MAX;
/// Only a bug takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a request may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Once,
    AtMostOnce,
}

/// What is sent, and what is to come of it.
#[derive(Debug, Default)]
struct Script {
    bytes: BytesMut,
    expected: HashMap<u32, (Answers, Command)>,
    /// Something was sent that may be no frame: how far it is understood is not known.
    broken: bool,
    /// Any bytes were sent: they may be any frames.
    garbage: bool,
}

#[test]
fn every_request_is_answered_once_whatever_comes_in_whatever_order() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    for seed in seeds(&[1]) {
        println!("STREAMKEEPER_SEED={seed}");
        let directory = tempfile::tempdir().expect("a directory");
        runtime.block_on(async {
            let opened = Broker::open(options(directory.path())).await;
            let context = Arc::new(SessionContext {
                broker: opened.expect("it opens"),
                options: SessionOptions::default(),
            });
            let (mut cases, mut fatal, mut frames) = (0_u64, 0_u64, 0_u64);
            for case in Corpus::of("session").cases(seed, CASES) {
                let script = script(&case.bytes);
                let ended = timeout(PATIENCE, converse(&context, &script));
                let tally = ended.await.expect("the connection ends");
                fatal += u64::from(judge(&script, &tally));
                cases += 1;
                frames += tally.frames;
            }
            println!("{cases} conversations, {fatal} of them ended by the broker; {frames} frames from it");
            context.broker.close_all().await;
        });
    }
}

/// Of a broker that folds all the time: what a few requests ago was in memory is read from the store.
fn options(directory: &Path) -> BrokerOptions {
    BrokerOptions {
        fold_bytes: 4 << 10,
        fold_interval: Duration::from_millis(2),
        ..BrokerOptions::in_directory(directory)
    }
}

/// What the bytes say. Cases that begin with a plus are made of short requests that are mostly right.
fn script(bytes: &[u8]) -> Script {
    let mut script = Script::default();
    let (bytes, right) = match bytes.strip_prefix(b"+") {
        Some(bytes) => (bytes, true),
        None => (bytes, false),
    };
    let mut choices = Unstructured::new(bytes);
    let connect = Command::Connect(Connect {
        version: 1,
        name: "fuzz".into(),
        library: "fuzz".into(),
        library_version: "1".into(),
        token: None,
    });
    // One in 32 begins without CONNECT.
    if !choices.ratio(1, 32).unwrap_or(false) {
        script.send(1, &connect);
    }
    for correlation in 2..REQUESTS_MAX {
        // When the choices are used up, the rest would all be the same.
        if choices.is_empty() {
            break;
        }
        let step = if right {
            right_command(&mut choices).map(|command| script.send(correlation, &command))
        } else {
            script.step(correlation, &mut choices)
        };
        if step.is_err() {
            break;
        }
    }
    script.send(LAST, &Command::Ping);
    script
}

impl Script {
    fn send(&mut self, correlation: u32, command: &Command) {
        command.encode(correlation, &mut self.bytes);
        let answers = match command {
            Command::Pong => return,
            // A refusal is answered even so.
            Command::Credit(_) => Answers::AtMostOnce,
            Command::Append(append) if append.no_confirm => Answers::AtMostOnce,
            _ => Answers::Once,
        };
        self.expected
            .insert(correlation, (answers, command.clone()));
    }

    fn step(&mut self, correlation: u32, choices: &mut Unstructured<'_>) -> Result<()> {
        match choices.int_in_range(0..=63)? {
            0 => {
                (self.broken, self.garbage) = (true, true);
                let length = choices.int_in_range(0..=40)?;
                self.bytes.extend_from_slice(choices.bytes(length)?);
            }
            1 => {
                self.broken = true;
                let mut bytes = BytesMut::new();
                // One byte changed does not make this the correlation of another.
                command(choices)?.encode(0x7070_7000 | correlation, &mut bytes);
                let at = choices.choose_index(bytes.len())?;
                let value = choices.arbitrary()?;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
                self.bytes.extend_from_slice(&bytes);
            }
            _ => {
                let command = command(choices)?;
                self.send(correlation, &command);
            }
        }
        Ok(())
    }
}

/// A command on one of a few streams, with small numbers, so that commands concern each other.
fn command(choices: &mut Unstructured<'_>) -> Result<Command> {
    let mut kind = *choices.choose(CommandKind::ALL)?;
    if kind == CommandKind::Connect && !choices.ratio(1, 20)? {
        kind = CommandKind::Append;
    }
    let mut command = frames::command(kind, choices)?;
    if choices.ratio(1, 12)? {
        if let Command::Read(read) = &mut command {
            read.wait_ms %= 20;
        }
        return Ok(command);
    }
    let stream = (*choices.choose(&["a", "b", "c"])?).into();
    let small: u64 = choices.int_in_range(0..=5)?;
    match &mut command {
        Command::Create(create) => {
            create.stream = stream;
            if small > 1 {
                (create.ttl_seconds, create.expires_at) = (None, None);
                (create.content_type, create.storage) = (None, None);
            }
        }
        Command::Delete(delete) => delete.stream = stream,
        Command::Close(close) => close.stream = stream,
        Command::Stat(stat) => stat.stream = stream,
        Command::Append(append) => {
            append.stream = stream;
            append.expected_tail = append.expected_tail.map(|_| small);
            append.close_after &= small == 0;
            if let Some(producer) = &mut append.producer {
                producer.id = "p".into();
                producer.epoch %= 2;
                producer.seq = small;
            }
        }
        Command::Read(read) => {
            read.stream = stream;
            read.wait_ms %= 20;
            if let Start::Offset(offset) = &mut read.start {
                *offset = small;
            }
        }
        Command::Subscribe(subscribe) => {
            subscribe.stream = stream;
            subscribe.subscription %= 4;
            if let Start::Offset(offset) = &mut subscribe.start {
                *offset = small;
            }
        }
        Command::Credit(credit) => credit.subscription %= 4,
        Command::Unsubscribe(unsubscribe) => unsubscribe.subscription %= 4,
        _ => {}
    }
    Ok(command)
}

/// A command that the broker may well do, of few bytes.
fn right_command(choices: &mut Unstructured<'_>) -> Result<Command> {
    let kind = choices.int_in_range(0..=17)?;
    let stream: Str = (*choices.choose(&["a", "b", "c"])?).into();
    let small: u64 = choices.int_in_range(0..=5)?;
    let subscription = u32::try_from(small % 3).unwrap_or(0);
    Ok(match kind {
        0 | 1 => Command::Create(Create {
            stream,
            content_type: choices
                .choose(&[None, Some("application/json"), Some("text/plain")])?
                .map(Str::from),
            ttl_seconds: *choices.choose(&[None, None, Some(1), Some(60)])?,
            expires_at: None,
            max_age_ms: *choices.choose(&[None, None, Some(1), Some(60_000)])?,
            max_records: *choices.choose(&[None, None, Some(1), Some(3)])?,
            max_bytes: *choices.choose(&[None, None, Some(1), Some(1_000)])?,
            storage: *choices.choose(&[None, Some(Storage::Memory), Some(Storage::Durable)])?,
        }),
        2..=6 => Command::Append(right_append(stream, small, choices)?),
        7 | 8 => Command::Read(Read {
            stream,
            start: right_start(small, choices)?,
            max_bytes: *choices.choose(&[0, 1, 100, u32::MAX])?,
            max_records: *choices.choose(&[0, 1, 2, u32::MAX])?,
            wait_ms: *choices.choose(&[0, 0, 1, 10])?,
        }),
        9 | 10 => Command::Subscribe(Subscribe {
            subscription,
            stream,
            start: right_start(small, choices)?,
            credit: *choices.choose(&[0, 1, 1_000, u64::MAX])?,
        }),
        11 => Command::Credit(Credit {
            subscription,
            bytes: *choices.choose(&[0, 1, 1_000, u64::MAX])?,
        }),
        12 => Command::Unsubscribe(Unsubscribe { subscription }),
        13 => Command::Stat(Stat { stream }),
        14 => Command::List(List {
            prefix: (*choices.choose(&["", "a", "z"])?).into(),
            after: (*choices.choose(&["", "a", "b"])?).into(),
            limit: *choices.choose(&[0, 1, 2, u32::MAX])?,
        }),
        15 => Command::Close(Close { stream }),
        16 => Command::Delete(Delete { stream }),
        _ => match small {
            0 => Command::Pong,
            1 => Command::Connect(Connect {
                version: choices.int_in_range(0..=2)?,
                name: "again".into(),
                library: "fuzz".into(),
                library_version: "1".into(),
                token: None,
            }),
            _ => Command::Ping,
        },
    })
}

fn right_append(stream: Str, small: u64, choices: &mut Unstructured<'_>) -> Result<Append> {
    let payloads = [
        &b"1"[..],
        b"[1,{}]",
        b"{",
        b"",
        &[b'x'; 700],
        &[b'y'; 16_000],
    ];
    let mut records = Vec::new();
    for _ in 0..choices.int_in_range(0..=3)? {
        records.push(*choices.choose(&payloads)?);
    }
    let block = RecordBlock::from_payloads(records);
    let (count, mut records) = (block.count(), block.into_bytes());
    let options: u8 = choices.arbitrary()?;
    let with = |bit: u8| options & (1 << bit) != 0;
    if with(0) && with(1) && with(2) {
        // A record that is not what its checksum says.
        let mut broken = BytesMut::from(&records[..]);
        if let Some(byte) = broken.last_mut() {
            *byte ^= 1;
        }
        records = broken.freeze();
    }
    Ok(Append {
        stream,
        seq: with(3).then(|| vec![b'0' + options % 4].into()),
        producer: with(4).then(|| Producer {
            id: "p".into(),
            epoch: u64::from(with(5)),
            seq: small,
        }),
        expected_tail: (with(6) && with(7)).then_some(small),
        close_after: count == 0 || (with(0) && with(6)),
        no_confirm: with(2) && with(7),
        count,
        records,
    })
}

fn right_start(small: u64, choices: &mut Unstructured<'_>) -> Result<Start> {
    let starts = [
        Start::Beginning,
        Start::Now,
        Start::Offset(small),
        Start::Time(small),
        Start::Time(u64::MAX >> 1),
    ];
    Ok(*choices.choose(&starts)?)
}

/// Sends all of it, takes every answer, and then whatever comes until the connection is closed.
async fn converse(context: &Arc<SessionContext>, script: &Script) -> Tally {
    let (near, far) = tokio::io::duplex(16 << 10);
    let session = Session::new(1, Arc::clone(context));
    let options = Arc::new(ConnectionOptions::default());
    let connection = Connection::new(near, session, options, Duration::ZERO);
    let (mut incoming, mut outgoing) = tokio::io::split(far);
    let answered = CancellationToken::new();
    let sending = async {
        // The broker may have closed already, with reason.
        outgoing.write_all(&script.bytes).await.ok();
        // What a broken frame asked for is not known, and so not how many answers there are.
        if !script.broken {
            timeout(PATIENCE / 2, answered.cancelled()).await.ok();
        }
        outgoing.shutdown().await.ok();
    };
    let receiving = async {
        let (mut tally, mut said) = (Tally::default(), BytesMut::new());
        while let Ok(1..) = incoming.read_buf(&mut said).await {
            while let Some(frame) = frame::split(&mut said, u32::MAX).expect("whole frames") {
                tally.take(&frame);
            }
            if tally.fatal || script.unanswered(&tally).is_none() {
                answered.cancel();
            }
        }
        assert!(said.is_empty(), "half a frame at the end");
        tally
    };
    let (_, (), tally) = tokio::join!(connection.run(), sending, receiving);
    tally
}

/// What the broker said.
#[derive(Debug, Default)]
struct Tally {
    answers: HashMap<u32, u32>,
    frames: u64,
    fatal: bool,
}

impl Tally {
    fn take(&mut self, frame: &Frame) {
        assert!(!self.fatal, "{frame:?} after a fatal ERR");
        let event = Event::decode(frame).expect("an event");
        let is_info = matches!(event, Event::Info(_));
        assert_eq!(self.frames == 0, is_info, "{event:?}");
        self.frames += 1;
        match event {
            Event::Confirm(confirm) => {
                for entry in confirm.entries {
                    *self.answers.entry(entry.correlation).or_default() += 1;
                }
            }
            Event::Deliver(deliver) => {
                for run in deliver.runs() {
                    let run = run.expect("a run");
                    assert!(run.records_verified().all(|record| record.is_ok()));
                }
            }
            event => {
                self.fatal |= matches!(&event, Event::Err(err) if err.fatal);
                *self.answers.entry(frame.header.correlation).or_default() += 1;
            }
        }
    }

    fn count(&self, correlation: u32) -> u32 {
        self.answers.get(&correlation).copied().unwrap_or(0)
    }
}

impl Script {
    /// A request that is to be answered and is not.
    fn unanswered(&self, tally: &Tally) -> Option<&Command> {
        let missing = self.expected.iter().find(|(correlation, (answers, _))| {
            *answers == Answers::Once && tally.count(**correlation) == 0
        });
        missing.map(|(_, (_, command))| command)
    }
}

/// Whether the broker ended it; panics if what it said is not what it promises.
fn judge(script: &Script, tally: &Tally) -> bool {
    for (correlation, (_, command)) in &script.expected {
        let count = tally.count(*correlation);
        assert!(
            count <= 1 || script.garbage,
            "{command:?} was answered {count} times"
        );
    }
    // A broken frame may have swallowed the ones behind it.
    if !tally.fatal && !script.broken {
        let missing = script.unanswered(tally);
        assert!(missing.is_none(), "{missing:?} was not answered");
    }
    tally.fatal
}
