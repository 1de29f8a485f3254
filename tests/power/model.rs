//! What the streams must hold: a naive mirror of each, and which mirrors are allowed after a cut.
//!
//! Every stream has a copy of everything; rules are applied to it in the order in which commands were queued. A [`Timeline`]
//! tells, for each point of a trace, what had been asked and what had been confirmed by then: a confirmed command has happened, one
//! that was not asked yet has not, and one in between may have, as long as those before it on its stream have too.

use std::collections::BTreeMap;

use bytes::Bytes;
use streamkeeper::types::{
    AppendOptions, CreateOptions, Expiry, Offset, Position, ProducerStamp, Timestamp,
};

pub type Name = &'static str;

/// A stream as it must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    pub options: CreateOptions,
    pub created_at: Timestamp,
    pub records: Vec<Bytes>,
    pub earliest: usize,
    /// Up to here age may have trimmed.
    pub aged: usize,
    pub closed: bool,
    pub last_seq: Option<Bytes>,
    /// Epoch and last seq of each producer.
    pub producers: BTreeMap<&'static str, (u64, u64)>,
    pub source: Option<Name>,
    pub forks: usize,
    /// Kept for its forks only.
    pub gone: bool,
}

pub type World = BTreeMap<Name, Mirror>;

/// A command to one stream.
#[derive(Clone, Debug)]
pub enum Op {
    Create(CreateOptions),
    Append(Vec<Bytes>, AppendOptions),
    Close,
    Delete,
    /// Of the named stream at that offset, and so many bytes into the record there.
    Fork(Name, usize, usize),
}

/// What a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Duplicate,
    Refused,
}

impl Mirror {
    pub fn new(options: CreateOptions, now: Timestamp) -> Self {
        Self {
            options,
            created_at: now,
            records: Vec::new(),
            earliest: 0,
            aged: 0,
            closed: false,
            last_seq: None,
            producers: BTreeMap::new(),
            source: None,
            forks: 0,
            gone: false,
        }
    }

    pub fn position(&self, offset: usize) -> Position {
        let bytes: usize = self.records.iter().take(offset).map(Bytes::len).sum();
        Position {
            offset: Offset(offset as u64),
            byte: bytes as u64,
        }
    }

    pub fn tail(&self) -> Position {
        self.position(self.records.len())
    }

    fn append(&mut self, payloads: &[Bytes], options: &AppendOptions) -> Outcome {
        if self.gone {
            return Outcome::Refused;
        }
        if self.closed {
            // A retry of what was appended before the close is still told so.
            let judged = options.producer.as_ref().map(|stamp| self.judge(stamp));
            return match judged {
                Some(Outcome::Duplicate) => Outcome::Duplicate,
                _ => Outcome::Refused,
            };
        }
        let tail = self.records.len() as u64;
        if options
            .expected_tail
            .is_some_and(|expected| expected.0 != tail)
        {
            return Outcome::Refused;
        }
        if options.seq.is_some() && options.seq <= self.last_seq {
            return Outcome::Refused;
        }
        if let Some(stamp) = &options.producer {
            match self.judge(stamp) {
                Outcome::Done => {}
                other => return other,
            }
            let id = producer(stamp.id.as_ref());
            self.producers.insert(id, (stamp.epoch, stamp.seq));
        }
        if options.seq.is_some() {
            self.last_seq.clone_from(&options.seq);
        }
        self.records.extend_from_slice(payloads);
        self.closed |= options.close;
        self.retain();
        Outcome::Done
    }

    /// What the producer's state says of an append.
    fn judge(&self, stamp: &ProducerStamp) -> Outcome {
        let id = producer(stamp.id.as_ref());
        let known = self.producers.get(id).copied();
        match known {
            Some((epoch, _)) if stamp.epoch < epoch => Outcome::Refused,
            Some((epoch, seq)) if stamp.epoch == epoch && stamp.seq <= seq => Outcome::Duplicate,
            Some((epoch, seq)) if stamp.epoch == epoch && stamp.seq == seq + 1 => Outcome::Done,
            Some((epoch, _)) if stamp.epoch == epoch => Outcome::Refused,
            _ if stamp.seq == 0 => Outcome::Done,
            _ => Outcome::Refused,
        }
    }

    fn retain(&mut self) {
        let retention = &self.options.retention;
        let count = self.records.len();
        if let Some(max) = retention.max_records {
            let max = usize::try_from(max).expect("a small number");
            self.earliest = self.earliest.max(count.saturating_sub(max));
        }
        if let Some(max) = retention.max_bytes {
            let kept = |from: usize| self.tail().byte - self.position(from).byte;
            let fits = |from: &usize| from + 1 >= count || kept(*from) <= max;
            self.earliest = (self.earliest..count).find(fits).unwrap_or(count);
        }
    }
}

/// Producers of the load.
pub const PRODUCERS: [&str; 2] = ["left", "right"];

fn producer(id: &str) -> &'static str {
    let known = PRODUCERS.into_iter().find(|known| *known == id);
    known.expect("a producer of the load")
}

/// Does `op` to the stream called `name`.
pub fn act(world: &mut World, name: Name, op: &Op, now: Timestamp) -> Outcome {
    match (op, world.get_mut(name)) {
        (Op::Create(options), None) => {
            world.insert(name, Mirror::new(options.clone(), now));
            Outcome::Done
        }
        (Op::Append(payloads, options), Some(mirror)) => mirror.append(payloads, options),
        (Op::Close, Some(mirror)) if !mirror.gone => {
            mirror.closed = true;
            Outcome::Done
        }
        (Op::Delete, Some(mirror)) if !mirror.gone => {
            mirror.gone = true;
            collect(world, name);
            Outcome::Done
        }
        (Op::Fork(source, at, into), None) => fork(world, name, source, (*at, *into), now),
        _ => Outcome::Refused,
    }
}

fn fork(
    world: &mut World,
    name: Name,
    source: Name,
    (at, into): (usize, usize),
    now: Timestamp,
) -> Outcome {
    let Some(mirror) = world.get_mut(source).filter(|mirror| !mirror.gone) else {
        return Outcome::Refused;
    };
    mirror.forks += 1;
    let mut forked = Mirror::new(
        CreateOptions {
            retention: streamkeeper::types::Retention::default(),
            ..mirror.options.clone()
        },
        now,
    );
    forked.records = mirror.records.iter().take(at).cloned().collect();
    let part = mirror.records.get(at).filter(|_| into > 0);
    forked
        .records
        .extend(part.map(|record| record.slice(..into)));
    forked.earliest = mirror.earliest;
    forked.source = Some(source);
    world.insert(name, forked);
    Outcome::Done
}

/// Drops a stream that is gone and has no forks, and what it was the last fork of.
fn collect(world: &mut World, name: Name) {
    let mut next = Some(name);
    while let Some(name) = next.take() {
        let dead = |mirror: &Mirror| mirror.gone && mirror.forks == 0;
        if !world.get(name).is_some_and(dead) {
            return;
        }
        next = world.remove(name).and_then(|mirror| mirror.source);
        if let Some(mirror) = next.and_then(|source| world.get_mut(source)) {
            mirror.forks -= 1;
        }
    }
}

/// Makes `mirror` what `world` has of the stream called `name`.
pub fn put(world: &mut World, name: Name, mirror: Option<&Mirror>) {
    match mirror {
        Some(mirror) => drop(world.insert(name, mirror.clone())),
        None => drop(world.remove(name)),
    }
}

/// Time has passed that ends all that expires, and makes all records old.
pub fn pass(world: &mut World) {
    world.retain(|_, mirror| mirror.options.expiry == Expiry::Never);
    for mirror in world.values_mut() {
        if mirror.options.retention.max_age.is_some() {
            mirror.aged = mirror.records.len();
        }
    }
}

/// A command that was asked, and what it leaves.
#[derive(Clone, Debug)]
pub struct Asked {
    pub name: Name,
    /// Events of the trace before its answer was seen.
    pub confirmed_at: Option<usize>,
    /// The same, if the answer was that there is no room for it.
    pub refused_at: Option<usize>,
    /// The world after this command and those before it.
    pub after: World,
}

/// Commands that were asked at once.
#[derive(Clone, Debug)]
pub struct Step {
    /// Events of the trace before they were asked.
    pub at: usize,
    pub now: Timestamp,
    pub before: World,
    /// Those on different streams do not depend on each other, unless there is only one.
    pub asked: Vec<Asked>,
    pub seen: Vec<Seen>,
}

/// What a reader was shown.
#[derive(Clone, Debug)]
pub struct Seen {
    pub name: Name,
    pub created_at: Timestamp,
    /// How many records there were.
    pub tail: usize,
    /// Events of the trace before it was shown.
    pub at: usize,
}

impl Step {
    /// Nothing was asked: this is how things stand.
    pub fn settled(at: usize, now: Timestamp, before: World) -> Self {
        Self {
            at,
            now,
            before,
            asked: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// No reader was shown a tail that the stream had neither before nor after any command that was not refused.
    pub fn no_phantoms(&self) -> Result<(), String> {
        let was = |seen: &Seen| {
            let own = self.asked.iter().filter(|asked| asked.name == seen.name);
            let after = own.filter(|asked| asked.refused_at.is_none());
            let worlds = after.map(|asked| &asked.after).chain([&self.before]);
            worlds
                .filter_map(|world| world.get(seen.name))
                .any(|mirror| {
                    mirror.created_at == seen.created_at && mirror.records.len() == seen.tail
                })
        };
        match self.seen.iter().find(|seen| !was(seen)) {
            None => Ok(()),
            Some(Seen { name, tail, .. }) => Err(format!(
                "{name}: a reader was shown the tail {tail}, which it never had"
            )),
        }
    }

    /// Takes out of `choices`, in the order of commands, those in which what was seen before `cut` has not happened.
    fn heed_readers(&self, cut: usize, choices: &mut [World]) {
        for seen in self.seen.iter().filter(|seen| seen.at <= cut) {
            let shows = |world: &World| {
                let mirror = world.get(seen.name);
                mirror.is_some_and(|mirror| {
                    mirror.created_at == seen.created_at && mirror.records.len() >= seen.tail
                })
            };
            // What a confirmed command took away again is in none: that it was there once was for `no_phantoms` to say.
            let Some(first) = choices.iter().position(shows) else {
                continue;
            };
            let since = choices[first].get(seen.name).cloned();
            for world in &mut choices[..first] {
                world.extend(since.clone().map(|mirror| (seen.name, mirror)));
            }
        }
    }
}

/// What was asked and answered, in order.
#[derive(Clone, Debug, Default)]
pub struct Timeline(pub Vec<Step>);

/// Worlds that are allowed at some point.
#[derive(Clone, Debug)]
pub struct Allowed {
    pub now: Timestamp,
    /// Either of these as a whole; or, of several commands, for each stream one of these.
    pub choices: Vec<World>,
    pub by_stream: bool,
}

impl Allowed {
    /// Nothing but `world`.
    pub fn only(now: Timestamp, world: World) -> Self {
        Self {
            now,
            choices: vec![world],
            by_stream: false,
        }
    }

    /// The choices for one stream.
    pub fn of(&self, name: Name) -> impl Iterator<Item = Option<&Mirror>> {
        self.choices.iter().map(move |world| world.get(name))
    }
}

impl Timeline {
    /// What is allowed if power is lost after `cut` events.
    pub fn allowed(&self, cut: usize) -> Allowed {
        let step = self.0.iter().rev().find(|step| step.at <= cut);
        let step = step.expect("a timeline begins with the trace");
        let confirmed = |asked: &Asked| asked.confirmed_at.is_some_and(|at| at <= cut);
        if let [only] = &step.asked[..] {
            let mut choices = vec![step.before.clone(), only.after.clone()];
            if confirmed(only) {
                choices.remove(0);
            }
            if only.refused_at.is_some_and(|at| at <= cut) {
                choices.truncate(1);
            }
            step.heed_readers(cut, &mut choices);
            return Allowed {
                now: step.now,
                choices,
                by_stream: false,
            };
        }
        // Of each stream, the worlds in which all of its commands that are confirmed have happened: a world after another stream's
        // command says nothing new of it.
        let mut choices = Vec::new();
        for count in 0..=step.asked.len() {
            choices.push(match count.checked_sub(1) {
                None => step.before.clone(),
                Some(last) => step.asked[last].after.clone(),
            });
        }
        for (index, asked) in step.asked.iter().enumerate() {
            if confirmed(asked) {
                for world in choices.iter_mut().take(index + 1) {
                    put(world, asked.name, asked.after.get(asked.name));
                }
            }
            // No other command of the round is to the same stream.
            if asked.refused_at.is_some_and(|at| at <= cut) {
                for world in &mut choices {
                    put(world, asked.name, step.before.get(asked.name));
                }
            }
        }
        step.heed_readers(cut, &mut choices);
        Allowed {
            now: step.now,
            choices,
            by_stream: true,
        }
    }
}

#[test]
fn a_reader_who_saw_a_tail_that_never_was_makes_the_history_wrong() {
    let now = Timestamp(7);
    let mut world = World::new();
    world.insert("a", Mirror::new(CreateOptions::default(), now));
    let mut step = Step::settled(0, now, world.clone());
    let append = Op::Append(vec![Bytes::from_static(b"x"); 2], AppendOptions::default());
    act(&mut world, "a", &append, now);
    step.asked.push(Asked {
        name: "a",
        confirmed_at: Some(2),
        refused_at: None,
        after: world,
    });
    let wrong = |tail: usize, created_at: Timestamp, refused_at: Option<usize>| {
        let mut step = step.clone();
        step.asked[0].refused_at = refused_at;
        step.seen.push(Seen {
            name: "a",
            created_at,
            tail,
            at: 1,
        });
        step.no_phantoms().is_err()
    };
    assert!(!wrong(0, now, None) && !wrong(2, now, None));
    assert!(wrong(1, now, None), "half of a batch");
    assert!(wrong(3, now, None), "more than there was");
    assert!(wrong(2, Timestamp(8), None), "of another stream");
    assert!(wrong(2, now, Some(2)), "what was refused");
}
