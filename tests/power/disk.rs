//! A simulated disk under both files of the store: it remembers every write, and when each was synced.
//!
//! The engine sees a disk that works. What the disk has done is a *trace*; where power would have been lost is chosen afterwards,
//! anywhere in the trace and as often as wanted (`image`). A *kill* makes the handles of one life of the engine useless, as the
//! end of its process would: what it wrote stays in the cache, synced or not, and the next life finds it there.
//!
//! Invariants: events are in the order in which they took effect; an event is noted before its caller goes on.

use std::backtrace::Backtrace;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;
use streamkeeper::store::Files;

const BLOCK: usize = 4096;

type Block = [u8; BLOCK];

/// The bytes of a file. Blocks are shared between copies; one that is not there is all zeros.
#[derive(Clone, Debug, Default)]
pub struct Content {
    blocks: Vec<Option<Arc<Block>>>,
    length: u64,
}

impl Content {
    fn index(at: u64) -> usize {
        usize::try_from(at / BLOCK as u64).expect("a small file")
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        if at + out.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut out) = (at, out);
        while !out.is_empty() {
            let within = usize::try_from(at % BLOCK as u64).expect("below a block");
            let (now, later) = out.split_at_mut(out.len().min(BLOCK - within));
            match self.blocks.get(Self::index(at)).and_then(Option::as_ref) {
                Some(block) => now.copy_from_slice(&block[within..within + now.len()]),
                None => now.fill(0),
            }
            at += now.len() as u64;
            out = later;
        }
        Ok(())
    }

    pub fn write(&mut self, at: u64, data: &[u8]) {
        self.length = self.length.max(at + data.len() as u64);
        self.blocks
            .resize(Self::index(self.length + BLOCK as u64 - 1), None);
        let (mut at, mut data) = (at, data);
        while !data.is_empty() {
            let within = usize::try_from(at % BLOCK as u64).expect("below a block");
            let (now, later) = data.split_at(data.len().min(BLOCK - within));
            let slot = &mut self.blocks[Self::index(at)];
            if now.iter().all(|byte| *byte == 0) && (now.len() == BLOCK || slot.is_none()) {
                *slot = None;
            } else {
                let block = slot.get_or_insert_with(|| Arc::new([0; BLOCK]));
                Arc::make_mut(block)[within..within + now.len()].copy_from_slice(now);
            }
            at += now.len() as u64;
            data = later;
        }
    }

    /// Changes one bit of the byte at `at`.
    pub fn flip(&mut self, at: u64, bit: u8) {
        let mut byte = [0];
        self.read(at, &mut byte).expect("within the file");
        self.write(at, &[byte[0] ^ 1 << bit]);
    }

    pub fn set_length(&mut self, length: u64) {
        self.blocks
            .resize(Self::index(length + BLOCK as u64 - 1), None);
        let within = usize::try_from(length % BLOCK as u64).expect("below a block");
        if let Some(Some(block)) = self.blocks.last_mut()
            && length < self.length
            && within > 0
        {
            Arc::make_mut(block)[within..].fill(0);
        }
        self.length = length;
    }
}

/// The files by name.
pub type Contents = BTreeMap<Arc<str>, Content>;

/// What the disk was told.
#[derive(Clone, Debug)]
pub enum Event {
    Created(Arc<str>),
    Removed(Arc<str>),
    Written(Arc<str>, u64, Arc<[u8]>),
    Resized(Arc<str>, u64),
    Synced(Arc<str>),
    /// A sync failed: what was written before it stays in the cache, and is never written down.
    NotSynced(Arc<str>),
    NamesSynced,
}

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Of a file, or its length.
    Read,
    Write,
    Resize,
    Sync,
    Create,
    Open,
    Remove,
    /// Giving back parts of a file.
    Punch,
    /// Making names durable.
    SyncNames,
    /// Listing them.
    Names,
    /// The length of a file by its name.
    Length,
}

/// Something that the disk was asked.
#[derive(Clone, Debug)]
pub struct Tried {
    pub act: Act,
    pub name: Arc<str>,
    /// Where in the file, of a read or a write.
    pub at: u64,
}

/// A failure to come.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// `None` is any.
    pub act: Option<Act>,
    /// How the names of the files begin that it is about.
    pub files: &'static str,
    /// So many go well before.
    pub after: usize,
    pub error: io::ErrorKind,
    /// It goes on until the plan is taken back.
    pub lasts: bool,
}

impl Plan {
    /// Whatever is asked after `number` operations fails, once.
    pub fn at(number: usize, error: io::ErrorKind) -> Self {
        Self {
            act: None,
            files: "",
            after: number,
            error,
            lasts: false,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    contents: Contents,
    /// Removed, and read by those that have them open.
    removed: Contents,
    trace: Vec<Event>,
    /// Handles of an earlier life are dead.
    life: u64,
    /// This life ends instead of this event.
    ends_at: Option<usize>,
    plan: Option<Plan>,
    /// As a file system that was mounted to be read from.
    only_reads: bool,
    /// Where a read met the plan last.
    met_at: Option<Backtrace>,
    /// Of a disk that can be full.
    room: Option<Room>,
    /// Everything that was tried, of disks that note it.
    tried: Option<Vec<Tried>>,
}

/// See the module. Copies are handles of the same disk, of the life they were made in.
#[derive(Clone, Debug)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl Disk {
    /// A disk that holds `contents`, all durable.
    pub fn new(contents: Contents) -> Self {
        let state = State {
            contents,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            life: 0,
        }
    }

    /// A disk that held `contents` before it was told what is in `trace`: none of that need be durable.
    pub fn after(mut contents: Contents, trace: &[Event]) -> Self {
        for event in trace {
            match event {
                Event::Created(name) => drop(contents.insert(Arc::clone(name), Content::default())),
                Event::Removed(name) => drop(contents.remove(name)),
                Event::Written(name, at, data) => {
                    // Nothing is left of one that was removed while it was open.
                    if let Some(content) = contents.get_mut(name) {
                        content.write(*at, data);
                    }
                }
                Event::Resized(name, length) => {
                    if let Some(content) = contents.get_mut(name) {
                        content.set_length(*length);
                    }
                }
                Event::Synced(_) | Event::NotSynced(_) | Event::NamesSynced => {}
            }
        }
        let disk = Self::new(contents);
        disk.state.lock().trace = trace.to_vec();
        disk
    }

    /// The file called `name`, which is there.
    pub fn file(&self, name: &str) -> impl StorageBackend {
        Handle {
            disk: self.clone(),
            name: Arc::from(name),
        }
    }

    /// How many events there were.
    pub fn now(&self) -> usize {
        self.state.lock().trace.len()
    }

    /// Lets this life end by itself after so many more events: in the middle of what the engine does then.
    pub fn kill_after(&self, events: usize) {
        let mut state = self.state.lock();
        state.ends_at = Some(state.trace.len() + events);
    }

    /// Ends this life, if it has not ended: whatever holds its handles cannot reach the disk any more. Answers a handle of the next.
    pub fn kill(&self) -> Self {
        let mut state = self.state.lock();
        state.ends_at = None;
        state.life = self.life + 1;
        Self {
            state: Arc::clone(&self.state),
            life: state.life,
        }
    }

    /// Leaves room for `bytes` bytes more than the files are long.
    pub fn leave_room(&self, bytes: u64) {
        let mut state = self.state.lock();
        let mut room = Room::boundless();
        for (name, content) in &state.contents {
            room.take(name, 0..content.length());
        }
        room.most = room.blocks() + bytes / BLOCK as u64;
        state.room = Some(room);
    }

    /// Lets something fail from now on, or nothing any more.
    pub fn plan(&self, plan: Option<Plan>) {
        self.state.lock().plan = plan;
    }

    /// From now on nothing can be changed, nor be opened to be.
    pub fn only_read(&self) {
        self.state.lock().only_reads = true;
    }

    /// Whether a failure is still to come.
    pub fn is_planned(&self) -> bool {
        self.state.lock().plan.is_some()
    }

    /// Whether the read that met the planned failure last was asked for by what is in this file of the broker's.
    pub fn met_in(&self, file: &str) -> bool {
        let state = self.state.lock();
        let at = state.met_at.as_ref().map(Backtrace::to_string);
        at.is_some_and(|frames| frames.contains(file))
    }

    /// Notes everything that is tried from now on.
    pub fn note_tries(&self) {
        self.state.lock().tried = Some(Vec::new());
    }

    /// What was tried since, in order.
    pub fn tried(&self) -> Vec<Tried> {
        self.state.lock().tried.take().unwrap_or_default()
    }

    /// What the files hold now.
    pub fn contents(&self) -> Contents {
        self.state.lock().contents.clone()
    }

    /// How many segments there are. What a fold leaves that fails is empty.
    pub fn segments(&self) -> usize {
        let state = self.state.lock();
        let files = state.contents.iter();
        let segments = files.filter(|(name, _)| name.starts_with("chunks"));
        segments.filter(|(_, content)| content.length() > 0).count()
    }

    /// Everything that happened.
    pub fn trace(&self) -> Vec<Event> {
        self.state.lock().trace.clone()
    }

    /// As [`Disk::alive`], for what fails whole if it fails by plan.
    fn whole<T>(
        &self,
        what: Act,
        name: &str,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.alive(|state| {
            state.fails(what, name, 0)?;
            act(state)
        })
    }

    fn alive<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        if state.ends_at.is_some_and(|end| state.trace.len() >= end) {
            state.life = self.life + 1;
        }
        if state.life != self.life {
            return Err(io::Error::other("this life has ended"));
        }
        act(&mut state)
    }
}

impl Files for Disk {
    fn place(&self) -> &Path {
        Path::new("simulated")
    }

    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let name: Arc<str> = Arc::from(name);
        self.whole(Act::Create, &name, |state| {
            if !state.contents.contains_key(&name) {
                state.contents.insert(Arc::clone(&name), Content::default());
                state.trace.push(Event::Created(Arc::clone(&name)));
            }
            Ok(())
        })?;
        let disk = self.clone();
        Ok(Box::new(Handle { disk, name }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let name: Arc<str> = Arc::from(name);
        // In one step: between a look and a creation the file could be removed.
        self.whole(Act::Open, &name, |state| {
            let there = state.contents.contains_key(&name);
            there.then_some(()).ok_or(io::ErrorKind::NotFound.into())
        })?;
        let disk = self.clone();
        Ok(Box::new(Handle { disk, name }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.whole(Act::Remove, name, |state| {
            state.room.iter_mut().for_each(|room| room.leave(name, 0));
            let gone = state.contents.remove(name);
            let gone = gone.ok_or(io::ErrorKind::NotFound)?;
            state.removed.insert(Arc::from(name), gone);
            state.trace.push(Event::Removed(Arc::from(name)));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.whole(Act::SyncNames, "", |state| {
            state.trace.push(Event::NamesSynced);
            Ok(())
        })
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.whole(Act::Names, "", |state| {
            Ok(state.contents.keys().map(ToString::to_string).collect())
        })
    }

    fn punch(&self, name: &str, ranges: &[Range<u64>]) -> io::Result<()> {
        self.whole(Act::Punch, name, |state| {
            for range in ranges {
                let content = state.contents.get_mut(name);
                let content = content.ok_or(io::ErrorKind::NotFound)?;
                let length = usize::try_from(range.end - range.start).expect("a small number");
                let zeros: Arc<[u8]> = Arc::from(vec![0; length]);
                content.write(range.start, &zeros);
                let name: Arc<str> = Arc::from(name);
                state
                    .room
                    .iter_mut()
                    .for_each(|room| room.punch(&name, range));
                state.trace.push(Event::Written(name, range.start, zeros));
            }
            Ok(())
        })
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.whole(Act::Length, name, |state| {
            let content = state.contents.get(name);
            Ok(content.ok_or(io::ErrorKind::NotFound)?.length())
        })
    }
}

/// The blocks that files take, and how many there are. A file that grows by its length alone takes none.
#[derive(Debug)]
struct Room {
    taken: BTreeMap<Arc<str>, BTreeSet<u64>>,
    most: u64,
}

impl Room {
    fn boundless() -> Self {
        Self {
            taken: BTreeMap::new(),
            most: u64::MAX,
        }
    }

    fn blocks(&self) -> u64 {
        self.taken.values().map(|blocks| blocks.len() as u64).sum()
    }

    /// Takes the blocks of `bytes`, all or none. Answers whether there was room.
    fn take(&mut self, name: &Arc<str>, bytes: Range<u64>) -> bool {
        let left = self.most - self.blocks();
        let taken = self.taken.entry(Arc::clone(name)).or_default();
        let blocks = bytes.start / BLOCK as u64..bytes.end.div_ceil(BLOCK as u64);
        let fresh: Vec<u64> = blocks.filter(|block| !taken.contains(block)).collect();
        let fits = fresh.len() as u64 <= left;
        taken.extend(fresh.into_iter().filter(|_| fits));
        fits
    }

    /// Follows what is done to a file. Answers whether there is room for it.
    fn changes(&mut self, name: &Arc<str>, act: Act, at: u64, bytes: usize) -> bool {
        match act {
            Act::Write => return self.take(name, at..at + bytes as u64),
            Act::Resize => self.leave(name, at),
            _ => {}
        }
        true
    }

    /// Lets go of all behind `length`.
    fn leave(&mut self, name: &str, length: u64) {
        if let Some(taken) = self.taken.get_mut(name) {
            drop(taken.split_off(&length.div_ceil(BLOCK as u64)));
        }
    }

    fn punch(&mut self, name: &str, bytes: &Range<u64>) {
        let blocks = bytes.start.div_ceil(BLOCK as u64)..bytes.end / BLOCK as u64;
        if let Some(taken) = self.taken.get_mut(name) {
            taken.retain(|block| !blocks.contains(block));
        }
    }
}

#[derive(Debug)]
struct Handle {
    disk: Disk,
    name: Arc<str>,
}

impl State {
    /// The error that `act` on the file `name` meets, by plan.
    fn fails(&mut self, act: Act, name: &str, at: u64) -> io::Result<()> {
        if let Some(tried) = &mut self.tried {
            tried.push(Tried {
                act,
                name: Arc::from(name),
                at,
            });
        }
        let reads = matches!(act, Act::Read | Act::Open | Act::Names | Act::Length);
        if self.only_reads && !reads {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let Some(plan) = &mut self.plan else {
            return Ok(());
        };
        if plan.act.is_some_and(|only| only != act) || !name.starts_with(plan.files) {
            return Ok(());
        }
        if plan.after > 0 {
            plan.after -= 1;
            return Ok(());
        }
        self.met_at = (act == Act::Read).then(Backtrace::force_capture);
        let error = plan.error;
        if !plan.lasts {
            self.plan = None;
        }
        Err(error.into())
    }
}

impl Handle {
    /// Does something to the file. What fails by plan is done by half, as `partly` says.
    fn with<T>(
        &self,
        (what, at, bytes): (Act, u64, usize),
        partly: impl FnOnce(&mut Content, &mut Vec<Event>),
        act: impl FnOnce(&mut Content, &mut Vec<Event>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.disk.alive(|state| {
            let fails = state.fails(what, &self.name, at);
            let content = state.contents.get_mut(&self.name);
            let content = content.or_else(|| state.removed.get_mut(&self.name));
            let content = content.expect("what is open was created");
            if let Err(error) = fails {
                // What fails for long fails whole.
                if state.plan.is_none() && !state.only_reads {
                    partly(content, &mut state.trace);
                }
                return Err(error);
            }
            if let Some(room) = &mut state.room
                && !room.changes(&self.name, what, at, bytes)
            {
                return Err(io::ErrorKind::StorageFull.into());
            }
            act(content, &mut state.trace)
        })
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        let length = |content: &mut Content, _: &mut Vec<Event>| Ok(content.length());
        self.with((Act::Read, 0, 0), |_, _| {}, length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = |content: &mut Content, _: &mut Vec<Event>| content.read(offset, out);
        self.with((Act::Read, offset, 0), |_, _| {}, read)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let resize = |content: &mut Content, trace: &mut Vec<Event>| {
            content.set_length(len);
            trace.push(Event::Resized(Arc::clone(&self.name), len));
            Ok(())
        };
        self.with((Act::Resize, len, 0), |_, _| {}, resize)
    }

    fn sync_data(&self) -> io::Result<()> {
        let sync = |_: &mut Content, trace: &mut Vec<Event>| {
            trace.push(Event::Synced(Arc::clone(&self.name)));
            Ok(())
        };
        let not_synced = |_: &mut Content, trace: &mut Vec<Event>| {
            trace.push(Event::NotSynced(Arc::clone(&self.name)));
        };
        self.with((Act::Sync, 0, 0), not_synced, sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let write = |data: &[u8], content: &mut Content, trace: &mut Vec<Event>| {
            content.write(offset, data);
            let name = Arc::clone(&self.name);
            trace.push(Event::Written(name, offset, Arc::from(data)));
        };
        // All but the end, so that what is left of a frame may be all of it that counts.
        let most = data.len() - data.len().min(64);
        self.with(
            (Act::Write, offset, data.len()),
            |content, trace| write(&data[..most], content, trace),
            |content, trace| {
                write(data, content, trace);
                Ok(())
            },
        )
    }
}
