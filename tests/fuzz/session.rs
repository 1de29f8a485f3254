//! The session as a state machine: whatever a peer sends, in whatever order, every request is answered once, or the connection
//! ends with one fatal ERR as its last frame.
//!
//! The real connection and session over a real broker; only the socket is a pipe in memory. Bytes of the case choose the
//! frames: requests on a few streams that meet each other, and now and then frames that are broken.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bytes::BytesMut;
use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::connection::{Connection, ConnectionOptions};
use streamkeeper::session::{Session, SessionContext, SessionOptions};
use streamkeeper_protocol::command::{CommandKind, Connect, Start};
use streamkeeper_protocol::{Command, Event, Frame, frame};
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
            let opened = Broker::open(BrokerOptions::in_directory(directory.path())).await;
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

fn script(bytes: &[u8]) -> Script {
    let mut script = Script::default();
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
        if choices.is_empty() || script.step(correlation, &mut choices).is_err() {
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
