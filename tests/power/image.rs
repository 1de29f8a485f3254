//! What a disk may hold after power was lost: everything synced, and of the rest whatever a seed says.
//!
//! What was not synced is kept or dropped write by write, or sector by sector; a dropped write behind which a later one is kept is
//! a reordering, a write kept in part is torn. A sector of 512 bytes is written whole or not at all. Lengths are as writes; a
//! file whose name was not synced may be missing.

use std::sync::Arc;

use crate::disk::{Content, Contents, Disk, Event};
use crate::random::Random;

const SECTOR: usize = 512;

/// A trace, and how far it has been followed.
pub struct Film<'a> {
    trace: &'a [Event],
    at: usize,
    files: Vec<File>,
}

struct File {
    name: Arc<str>,
    /// Its name outlives a cut.
    named: bool,
    /// It was removed, which may not outlive a cut.
    removed: bool,
    durable: Content,
    pending: Vec<Event>,
}

/// How much of what was not synced survives.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// The first so many events, and some sectors of the next.
    First(usize),
    /// The last so many events: all before were delayed.
    Last(usize),
    /// Whole events, this many in a hundred.
    Events(u64),
    /// Sectors, this many in a hundred.
    Sectors(u64),
}

impl<'a> Film<'a> {
    /// Of a disk that held `contents` when it began.
    pub fn new(contents: &Contents, trace: &'a [Event]) -> Self {
        let files = contents.iter().map(|(name, content)| File {
            name: Arc::clone(name),
            named: true,
            removed: false,
            durable: content.clone(),
            pending: Vec::new(),
        });
        Self {
            trace,
            at: 0,
            files: files.collect(),
        }
    }

    /// Goes on to where `cut` events have happened; never back.
    pub fn forward(&mut self, cut: usize) {
        for event in &self.trace[self.at..cut] {
            self.happen(event);
        }
        self.at = cut;
    }

    fn happen(&mut self, event: &Event) {
        let name = match event {
            Event::NamesSynced => {
                self.files.retain(|file| !file.removed);
                self.files.iter_mut().for_each(|file| file.named = true);
                return;
            }
            Event::Created(name) => {
                self.files.push(File {
                    name: Arc::clone(name),
                    named: false,
                    removed: false,
                    durable: Content::default(),
                    pending: Vec::new(),
                });
                return;
            }
            Event::Written(name, ..)
            | Event::Resized(name, _)
            | Event::Synced(name)
            | Event::NotSynced(name)
            | Event::Removed(name) => name,
        };
        let mut files = self.files.iter_mut();
        let file = files.find(|file| file.name == *name && !file.removed);
        let file = file.expect("it was created");
        if matches!(event, Event::Removed(_)) {
            file.removed = true;
        } else if matches!(event, Event::NotSynced(_)) {
            file.pending.clear();
        } else if matches!(event, Event::Synced(_)) {
            for event in file.pending.drain(..) {
                whole(&mut file.durable, &event);
            }
        } else {
            file.pending.push(event.clone());
        }
    }

    /// What is there if power is lost now.
    pub fn image(&self, random: &mut Random) -> Contents {
        let mut contents = Contents::new();
        for file in &self.files {
            if (!file.named || file.removed) && random.chance(50) {
                continue;
            }
            contents.insert(Arc::clone(&file.name), file.survives(random));
        }
        contents
    }
}

/// What there is after all that `disk` was told, which held `contents` before: half of the time the process ended, else power was lost.
pub fn left(contents: &Contents, disk: &Disk, random: &mut Random) -> Contents {
    if random.chance(50) {
        return disk.contents();
    }
    let trace = disk.trace();
    let mut film = Film::new(contents, &trace);
    film.forward(trace.len());
    film.image(random)
}

impl File {
    fn survives(&self, random: &mut Random) -> Content {
        let mut content = self.durable.clone();
        let count = self.pending.len();
        let some = usize::try_from(random.below(count as u64 + 1)).expect("a small number");
        let kept = match random.below(8) {
            0 => Kept::First(0),
            1 => Kept::First(count),
            2 | 3 => Kept::First(some),
            4 => Kept::Last(some),
            5 => Kept::Events(random.between(1, 99)),
            _ => Kept::Sectors(random.between(1, 99)),
        };
        for (index, event) in self.pending.iter().enumerate() {
            match kept {
                Kept::First(first) if index < first => whole(&mut content, event),
                Kept::First(first) if index == first && count > first => {
                    let end = random.below(9);
                    apply(&mut content, event, |sector| sector < end);
                }
                Kept::Last(last) if index + last >= count => whole(&mut content, event),
                Kept::First(_) | Kept::Last(_) => {}
                Kept::Events(percent) => {
                    let keep = random.chance(percent);
                    apply(&mut content, event, |_| keep);
                }
                Kept::Sectors(percent) => apply(&mut content, event, |_| random.chance(percent)),
            }
        }
        content
    }
}

fn whole(content: &mut Content, event: &Event) {
    match event {
        Event::Written(_, at, data) => content.write(*at, data),
        other => apply(content, other, |_| true),
    }
}

/// Lets those sectors of an event reach the disk that `keep` says, counted from where it begins.
fn apply(content: &mut Content, event: &Event, mut keep: impl FnMut(u64) -> bool) {
    match event {
        Event::Resized(_, length) => {
            if keep(0) {
                content.set_length(*length);
            }
        }
        Event::Written(_, at, data) => {
            let (mut at, mut data, mut sector) = (*at, &data[..], 0);
            while !data.is_empty() {
                let within = usize::try_from(at % SECTOR as u64).expect("below a sector");
                let (now, later) = data.split_at(data.len().min(SECTOR - within));
                if keep(sector) {
                    content.write(at, now);
                }
                at += now.len() as u64;
                data = later;
                sector += 1;
            }
        }
        Event::Created(_)
        | Event::Removed(_)
        | Event::Synced(_)
        | Event::NotSynced(_)
        | Event::NamesSynced => {}
    }
}
