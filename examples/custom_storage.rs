//! How to write a storage backend: streams in memory, and every effect on them a line of JSON in one file.
//!
//! `cargo run --example custom_storage` holds it to the contract suite, prints a line per case and exits with 1 if one
//! fails. Three things make a backend:
//!
//! 1. [`Kept::execute`]: ask [`decide`] what a command does, make the effects durable, apply them, publish, answer. In
//!    that order: nobody sees what could still vanish. No rule is written here; they all are in `decide`.
//! 2. [`Kept::settle`]: what time does by itself, expiry and retention. Here, whenever a stream is next used.
//! 3. Reading, and waiting for more: `custom_storage/page.rs`.
//!
//! Simple on purpose: all data stays in memory, each append syncs the file by itself, the file is never rewritten
//! (`custom_storage/line.rs` says what is in it).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use streamkeeper::rules::{
    Answer, Command, Context, Effect, RuleLimits, StreamState, apply, decide, trim_point,
};
use streamkeeper::storage::contract::{Subject, run_all};
use streamkeeper::storage::{Changes, Notification, ReadLimits, Storage};
use streamkeeper::types::{
    AppendOptions, Appended, Clock, Closed, CreateOptions, Created, Data, Error, Fault, Messages,
    Metadata, Position, RecordBlock, Refusal, Run, Start, StreamId, StreamName, Timestamp,
};
use tokio::sync::watch;

#[path = "custom_storage/line.rs"]
mod line;
#[path = "custom_storage/page.rs"]
mod page;

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
    /// Replays a log: the same effects make the same state again.
    fn replay(log: File, lines: Vec<line::Change>) -> Self {
        let mut kept = Self {
            log,
            fault: None,
            streams: HashMap::new(),
            next_id: 0,
        };
        for (stream, effects) in lines {
            for effect in &effects {
                kept.apply(&stream, effect);
            }
        }
        kept
    }

    /// Decides, makes durable, applies, publishes, answers: every change of a stream goes this way.
    fn execute(
        &mut self,
        name: &StreamName,
        command: Command,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let (next_id, limits) = (StreamId(self.next_id), RuleLimits::default());
        let state = self
            .streams
            .get(name)
            .and_then(|stream| stream.state.as_ref());
        let decision = decide(
            state,
            command,
            &Context {
                now,
                next_id,
                limits,
            },
        )?;
        if !decision.effects.is_empty() {
            self.write(&line::encode(name, &decision.effects))?;
            for effect in &decision.effects {
                self.apply(name, effect);
            }
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
            let reason = error.to_string();
            self.fault.insert(Fault::StoreFaulted { reason }).clone()
        })
    }

    /// Folds one effect into records and state.
    fn apply(&mut self, name: &StreamName, effect: &Effect) {
        let stream = self.streams.entry(name.clone()).or_default();
        let runs = &mut stream.runs;
        match effect {
            Effect::Created { id, .. } => self.next_id = self.next_id.max(id.0.saturating_add(1)),
            Effect::Appended { batch, at } => {
                let tail = stream
                    .state
                    .as_ref()
                    .map_or(Position::START, |state| state.tail);
                runs.push(Run::new(batch, tail.offset.0, tail.byte, at.0));
            }
            Effect::Trimmed { to } => {
                *runs = runs
                    .iter()
                    .filter_map(|run| run.starting_at(to.offset.0))
                    .collect();
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

    /// Lets those who wait see the state, after all effects of a command.
    fn publish(&self, name: &StreamName) {
        if let Ok((stream, state)) = self.found(name) {
            stream.view.send_modify(|view| {
                view.tail = state.tail;
                view.closed = state.closed;
                view.expires_at = state.expires_at();
            });
        }
    }

    /// What time does to a stream: it expires, and its old records are trimmed.
    fn settle(&mut self, name: &StreamName, now: Timestamp) -> Result<(), Error> {
        self.execute(name, Command::Expire, now)?;
        let due = self.found(name).ok().and_then(|(stream, state)| {
            let retention = &state.options.retention;
            trim_point(retention, state.earliest, state.tail, now, &stream.runs)
        });
        if let Some(to) = due {
            self.execute(name, Command::Trim { to }, now)?;
        }
        Ok(())
    }

    fn found(&self, name: &StreamName) -> Result<(&Stream, &StreamState), Refusal> {
        let stream = self.streams.get(name).ok_or(Refusal::NotFound)?;
        Ok((stream, stream.state.as_ref().ok_or(Refusal::NotFound)?))
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
        let (log, lines) = line::open(&path)?;
        let kept = Arc::new(Mutex::new(Kept::replay(log, lines)));
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
    ) -> Result<page::Page, Error> {
        let deadline = self.clock.now().after(limits.wait);
        let mut touch = Some(Command::Touch);
        loop {
            let touch = touch.take();
            let read = move |kept: &mut Kept, name: &StreamName, now| {
                let mut page = page::of(kept.found(name)?, from, limits)?;
                if let Some(touch) = touch {
                    kept.execute(name, touch, now)?;
                    page.view.mark_unchanged();
                }
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
        let Answer::Created(created) = self.execute(name, Command::create(options)).await? else {
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
        self.on(name, |kept, name, _now| Ok(kept.found(name)?.1.metadata()))
            .await
    }

    async fn read(
        &self,
        name: &StreamName,
        from: Start,
        limits: ReadLimits,
    ) -> Result<Data, Error> {
        self.wait_for_page(name, from, limits)
            .await
            .map(page::Page::into_data)
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
        let view = self.on(name, |kept, name, _now| {
            Ok(kept.found(name)?.0.view.subscribe())
        });
        let view = view.await?;
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
#[expect(clippy::print_stdout, reason = "the report is the output")]
async fn main() -> io::Result<ExitCode> {
    let report = run_all(&LogFiles::new()?).await;
    println!("{report}");
    Ok(ExitCode::from(u8::from(!report.is_success())))
}
