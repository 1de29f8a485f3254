//! How to write a storage backend: streams in memory, every effect a line of JSON in one append-only file.
//!
//! Run it with `cargo run --example custom_storage`: it holds the backend to the contract suite, prints a line per
//! case and exits with 1 if one fails. Three things make a backend:
//!
//! 1. [`Kept::execute`]: ask [`decide`] what a command does, make the effects durable, `apply` them, publish, answer.
//!    In that order: nobody sees what could still vanish. There are no rules here; they all are in `decide`.
//! 2. [`Kept::settle`]: what time does by itself, expiry and retention. Here it is done when a stream is next used.
//! 3. [`Kept::page`] and the waiting around it: reading.
//!
//! Kept simple: all data stays in memory, every append syncs the file by itself, the file is never rewritten.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use streamkeeper::rules::{
    Answer, Command, Context, Effect, RuleLimits, StreamState, apply, decide, trim_point,
};
use streamkeeper::storage::contract::{Subject, run_all};
use streamkeeper::storage::{Changes, Notification, ReadLimits, Storage};
use streamkeeper::types::{
    AppendOptions, Appended, Clock, Closed, CreateOptions, Created, Data, Error, Fault, Message,
    Messages, Metadata, Offset, Position, RecordBlock, Refusal, Run, Start, StreamId, StreamName,
    Timestamp,
};
use tokio::sync::watch;

#[path = "custom_storage/line.rs"]
mod line;

/// What waiting readers and subscribers watch of a stream.
#[derive(Clone, Copy, Default)]
struct View {
    tail: Position,
    closed: bool,
    deleted: bool,
    expires_at: Option<Timestamp>,
}

/// One stream: what the rules know of it, its records, and who watches it.
#[derive(Default)]
struct Stream {
    state: Option<StreamState>,
    runs: Vec<Run>,
    view: watch::Sender<View>,
}

/// Everything kept, behind one lock.
struct Kept {
    log: File,
    /// The first failure to write. After it, what the file holds is unknown, so nothing is written any more.
    fault: Option<Fault>,
    streams: HashMap<StreamName, Stream>,
    next_id: u64,
}

impl Kept {
    /// Opens the log and replays it: the same effects make the same state again.
    fn open(path: &Path) -> io::Result<Self> {
        let (log, lines) = line::open(path)?;
        let mut kept = Self {
            log,
            fault: None,
            streams: HashMap::new(),
            next_id: 0,
        };
        for (stream, effects) in lines {
            effects
                .iter()
                .for_each(|effect| kept.apply(&stream, effect));
        }
        Ok(kept)
    }

    /// Decides, makes durable, applies, publishes, answers: every change of a stream goes this way.
    fn execute(
        &mut self,
        name: &StreamName,
        command: Command,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let next_id = StreamId(self.next_id);
        let context = Context {
            now,
            next_id,
            limits: RuleLimits::default(),
        };
        let decision = decide(self.state(name), command, &context)?;
        if !decision.effects.is_empty() {
            self.write(&line::encode(name, &decision.effects))?;
            decision
                .effects
                .iter()
                .for_each(|effect| self.apply(name, effect));
            self.publish(name);
        }
        Ok(decision.answer)
    }

    /// One line for all effects of a command: they become durable together.
    fn write(&mut self, line: &[u8]) -> Result<(), Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let written = self.log.write_all(line).and_then(|()| self.log.sync_data());
        written.map_err(|error| {
            self.fault
                .insert(Fault::StoreFaulted {
                    reason: error.to_string(),
                })
                .clone()
        })
    }

    /// Folds one effect into records and state.
    fn apply(&mut self, name: &StreamName, effect: &Effect) {
        let stream = self.streams.entry(name.clone()).or_default();
        let tail = stream
            .state
            .as_ref()
            .map_or(Position::START, |state| state.tail);
        match effect {
            Effect::Created { id, .. } => self.next_id = self.next_id.max(id.0.saturating_add(1)),
            Effect::Appended { batch, at } => {
                stream
                    .runs
                    .push(Run::new(batch, tail.offset.0, tail.byte, at.0));
            }
            Effect::Trimmed { to } => {
                let runs = stream
                    .runs
                    .iter()
                    .filter_map(|run| run.starting_at(to.offset.0));
                stream.runs = runs.collect();
            }
            Effect::Deleted { .. } => {
                stream.view.send_modify(|view| view.deleted = true);
                self.streams.remove(name);
                return;
            }
            _ => {}
        }
        apply(&mut stream.state, effect);
    }

    /// Lets those who wait see the state after all effects of a command.
    fn publish(&self, name: &StreamName) {
        if let Some(stream) = self.streams.get(name)
            && let Some(state) = &stream.state
        {
            let expires_at = state.expires_at();
            let view = View {
                tail: state.tail,
                closed: state.closed,
                deleted: false,
                expires_at,
            };
            stream.view.send_replace(view);
        }
    }

    /// What time does to a stream: it expires, and its old records are trimmed.
    fn settle(&mut self, name: &StreamName, now: Timestamp) -> Result<(), Error> {
        self.execute(name, Command::Expire, now)?;
        let due = self.streams.get(name).and_then(|stream| {
            let state = stream.state.as_ref()?;
            let retention = &state.options.retention;
            trim_point(retention, state.earliest, state.tail, now, &stream.runs)
        });
        if let Some(to) = due {
            self.execute(name, Command::Trim { to }, now)?;
        }
        Ok(())
    }

    fn state(&self, name: &StreamName) -> Option<&StreamState> {
        self.streams.get(name)?.state.as_ref()
    }

    fn found(&self, name: &StreamName) -> Result<(&Stream, &StreamState), Error> {
        let found = self
            .streams
            .get(name)
            .and_then(|s| Some((s, s.state.as_ref()?)));
        found.ok_or(Error::Refused(Refusal::NotFound))
    }

    fn metadata(&self, name: &StreamName) -> Result<Metadata, Error> {
        Ok(self.found(name)?.1.metadata())
    }

    /// The records from `from` on within `limits`, as they are now.
    fn page(&self, name: &StreamName, from: Start, limits: ReadLimits) -> Result<Page, Error> {
        let (stream, state) = self.found(name)?;
        let begin = begin(stream, state, from)?;
        let (mut messages, mut next, mut bytes) = (Vec::new(), state.tail, 0);
        'full: for run in stream
            .runs
            .iter()
            .filter_map(|run| run.starting_at(begin.0))
        {
            for record in run.records() {
                let record = record.map_err(|error| Fault::Read {
                    reason: error.to_string(),
                })?;
                let position = Position {
                    offset: Offset(record.offset),
                    byte: record.byte,
                };
                bytes += record.payload.len();
                let full =
                    bytes > limits.max_bytes || messages.len() >= limits.max_records as usize;
                if full && !messages.is_empty() {
                    next = position;
                    break 'full;
                }
                let committed_at = Timestamp(record.committed_at);
                messages.push(Message {
                    position,
                    committed_at,
                    payload: record.payload,
                });
            }
        }
        let has_more = next < state.tail;
        let read = Messages {
            messages,
            next,
            has_more,
            closed: state.closed && !has_more,
        };
        Ok(Page {
            read,
            json: state.is_json(),
            view: stream.view.subscribe(),
        })
    }
}

/// The offset that `from` means now.
fn begin(stream: &Stream, state: &StreamState, from: Start) -> Result<Offset, Refusal> {
    let (earliest, tail) = (state.earliest.offset, state.tail.offset);
    match from {
        Start::Beginning => Ok(earliest),
        Start::Now => Ok(tail),
        Start::At(offset) if offset < earliest => Err(Refusal::Trimmed { earliest }),
        Start::At(offset) if offset > tail => Err(Refusal::PastTail { tail }),
        Start::At(offset) => Ok(offset),
        Start::Time(time) => {
            let first = stream
                .runs
                .iter()
                .find(|run| run.header.committed_at >= time.0);
            Ok(first.map_or(tail, |run| Offset(run.header.first_offset)))
        }
    }
}

/// What a read answers, and what it takes to wait for more.
struct Page {
    read: Messages,
    json: bool,
    view: watch::Receiver<View>,
}

impl Page {
    /// The payloads joined: back to back, or in JSON mode as an array.
    fn into_data(self) -> Data {
        let Messages {
            messages,
            next,
            has_more,
            closed,
        } = self.read;
        let payloads: Vec<&[u8]> = messages
            .iter()
            .map(|message| &message.payload[..])
            .collect();
        let bytes = match self.json {
            true => [b"[", &payloads.join(&b","[..])[..], b"]"].concat(),
            false => payloads.concat(),
        };
        Data {
            bytes: bytes.into(),
            next,
            has_more,
            closed,
        }
    }
}

/// The backend: a handle that may be cloned.
#[derive(Clone)]
pub(crate) struct LogStorage {
    kept: Arc<Mutex<Kept>>,
    clock: Clock,
    path: PathBuf,
}

impl LogStorage {
    fn open(path: PathBuf, clock: Clock) -> io::Result<Self> {
        let kept = Arc::new(Mutex::new(Kept::open(&path)?));
        Ok(Self { kept, clock, path })
    }

    /// Does `work` on a settled stream, off the async threads, since it may sync a file.
    async fn on<T: Send + 'static>(
        &self,
        name: &StreamName,
        work: impl FnOnce(&mut Kept, &StreamName, Timestamp) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (storage, name) = (self.clone(), name.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut kept = storage
                .kept
                .lock()
                .expect("nothing panics while it holds the lock");
            let now = storage.clock.now();
            kept.settle(&name, now)?;
            work(&mut kept, &name, now)
        });
        done.await.expect("the work does not panic")
    }

    async fn execute(&self, name: &StreamName, command: Command) -> Result<Answer, Error> {
        self.on(name, |kept, name, now| kept.execute(name, command, now))
            .await
    }

    /// Reads one page; at the tail of an open stream waits for it.
    async fn wait_for_page(
        &self,
        name: &StreamName,
        mut from: Start,
        limits: ReadLimits,
    ) -> Result<Page, Error> {
        let deadline = self.clock.now().after(limits.wait);
        loop {
            let read = move |kept: &mut Kept, name: &StreamName, now| {
                let page = kept.page(name, from, limits)?;
                kept.execute(name, Command::Touch, now)?;
                Ok(page)
            };
            let mut page = self.on(name, read).await?;
            let found = !page.read.messages.is_empty() || page.read.closed;
            if found || self.clock.now() >= deadline {
                return Ok(page);
            }
            from = Start::At(page.read.next.offset);
            let expiry = page.view.borrow().expires_at.unwrap_or(deadline);
            tokio::select! {
                _changed = page.view.changed() => {}
                () = self.clock.sleep_until(deadline.min(expiry)) => {}
            }
        }
    }
}

impl Storage for LogStorage {
    type Changes = LogChanges;

    async fn create(&self, name: &StreamName, options: CreateOptions) -> Result<Created, Error> {
        let Answer::Created(created) = self.execute(name, Command::Create(options)).await? else {
            unreachable!("decide answers each command in kind")
        };
        Ok(created)
    }

    async fn append(
        &self,
        name: &StreamName,
        batch: RecordBlock,
        options: AppendOptions,
    ) -> Result<Appended, Error> {
        let Answer::Appended(appended) = self
            .execute(name, Command::Append { batch, options })
            .await?
        else {
            unreachable!("decide answers each command in kind")
        };
        Ok(appended)
    }

    async fn close(&self, name: &StreamName) -> Result<Closed, Error> {
        let Answer::Closed(closed) = self.execute(name, Command::Close).await? else {
            unreachable!("decide answers each command in kind")
        };
        Ok(closed)
    }

    async fn delete(&self, name: &StreamName) -> Result<(), Error> {
        self.execute(name, Command::Delete).await.map(|_answer| ())
    }

    async fn current_offset(&self, name: &StreamName) -> Result<Position, Error> {
        self.get_metadata(name).await.map(|metadata| metadata.tail)
    }

    async fn get_metadata(&self, name: &StreamName) -> Result<Metadata, Error> {
        self.on(name, |kept, name, _now| kept.metadata(name)).await
    }

    async fn read(
        &self,
        name: &StreamName,
        from: Start,
        limits: ReadLimits,
    ) -> Result<Data, Error> {
        self.wait_for_page(name, from, limits)
            .await
            .map(Page::into_data)
    }

    async fn read_messages(
        &self,
        name: &StreamName,
        from: Start,
        limits: ReadLimits,
    ) -> Result<Messages, Error> {
        self.wait_for_page(name, from, limits)
            .await
            .map(|page| page.read)
    }

    async fn subscribe(&self, name: &StreamName) -> Result<LogChanges, Error> {
        let subscribe =
            |kept: &mut Kept, name: &StreamName, _| Ok(kept.found(name)?.0.view.subscribe());
        let view = self.on(name, subscribe).await?;
        let told = *view.borrow();
        Ok(LogChanges {
            storage: self.clone(),
            name: name.clone(),
            view,
            told,
        })
    }
}

/// A subscription: what was told last, compared with what is.
pub(crate) struct LogChanges {
    storage: LogStorage,
    name: StreamName,
    view: watch::Receiver<View>,
    told: View,
}

impl Changes for LogChanges {
    async fn next(&mut self) -> Notification {
        loop {
            let view = *self.view.borrow_and_update();
            let told = std::mem::replace(&mut self.told, view);
            if view.deleted {
                return Notification::Deleted;
            }
            if view.closed && !told.closed {
                return Notification::Closed(view.tail);
            }
            if view.tail > told.tail {
                return Notification::Appended(view.tail);
            }
            let expiry = view.expires_at.unwrap_or(Timestamp(u64::MAX));
            tokio::select! {
                _changed = self.view.changed() => {}
                // Looking at the stream settles it; whether that works out is seen in the view.
                () = self.storage.clock.sleep_until(expiry) => {
                    self.storage.get_metadata(&self.name).await.ok();
                }
            }
        }
    }
}

/// The backend as the contract suite opens it: each store is a file in a temporary directory.
pub(crate) struct LogFiles {
    directory: tempfile::TempDir,
    opened: AtomicU64,
}

impl LogFiles {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            directory: tempfile::tempdir()?,
            opened: AtomicU64::new(0),
        })
    }
}

impl Subject for LogFiles {
    type Storage = LogStorage;

    async fn open(&self, clock: Clock) -> LogStorage {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.path().join(format!("{number}.log"));
        LogStorage::open(path, clock).expect("a new log can be written")
    }

    async fn reopen(&self, storage: LogStorage, clock: Clock) -> Option<LogStorage> {
        let path = storage.path.clone();
        drop(storage);
        Some(LogStorage::open(path, clock).expect("the log can be read again"))
    }
}

#[tokio::main]
#[expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]
async fn main() -> io::Result<ExitCode> {
    let report = run_all(&LogFiles::new()?).await;
    println!("{report}");
    Ok(if report.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
