//! A random load on a broker: commands of every kind on a few streams, in rounds, with the answers they must get.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use streamkeeper::broker::{Broker, PutRequest};
use streamkeeper::rules::{Answer, Command};
use streamkeeper::storage::Storage;
use streamkeeper::stream::{Completion, Reply, Submission};
use streamkeeper::types::{
    AppendOptions, CreateOptions, Error, Expiry, Fault, ForkRequest, ManualClock, Offset,
    ProducerStamp, RecordBlock, Retention, StorageKind, Str, Timestamp,
};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::disk::Disk;
use crate::found::{NAMES, name};
use crate::model::{self, Asked, Name, Op, Outcome, PRODUCERS, Seen, Step, Timeline, World};
use crate::random::Random;

/// Far beyond any expiry and age of the load.
const LONG: Duration = Duration::from_secs(1_000);

/// When streams end, and when records are old.
const SOON: Duration = Duration::from_secs(500);

/// Rounds of a hundred that fork a stream.
const FORKS: u64 = 12;

/// Longer than any answer takes on a disk in memory.
const PATIENCE: Duration = Duration::from_secs(30);

/// The load of one history, across all lives of its broker.
pub struct Load {
    pub random: Random,
    pub world: World,
    pub timeline: Timeline,
    pub now: Timestamp,
    pub clock: Arc<ManualClock>,
    /// Payloads are this large, now and then.
    pub large: u64,
    /// Commands of one round, at most.
    pub at_once: u64,
    /// No two of one round are to the same stream.
    pub apart: bool,
    written: u64,
}

/// What a single command met.
pub enum Met {
    Answer,
    Fault(Fault),
}

/// A round under way.
pub struct Round {
    step: usize,
    /// The answers that are to come, and what they must be.
    answers: Vec<(oneshot::Receiver<Reply>, Outcome)>,
}

impl Load {
    pub fn new(random: Random, now: Timestamp, clock: Arc<ManualClock>, large: u64) -> Self {
        Self {
            random,
            world: World::new(),
            timeline: Timeline::default(),
            now,
            clock,
            large,
            at_once: 6,
            apart: false,
            written: 0,
        }
    }

    /// Notes that this is how things stand: nothing is open any more.
    pub fn settle(&mut self, disk: &Disk, world: World) {
        self.world = world.clone();
        let step = Step::settled(disk.now(), self.now, world);
        self.timeline.0.push(step);
    }

    /// One round, to its end.
    pub async fn round(&mut self, broker: &Broker, disk: &Disk) -> Result<(), String> {
        let by = match self.random.below(100) {
            0..2 => LONG,
            _ => Duration::from_millis(self.random.between(1, 5)),
        };
        self.pass(by, disk);
        if self.random.chance(FORKS) {
            return match self.fork(broker, disk).await? {
                Met::Answer => Ok(()),
                Met::Fault(fault) => Err(format!("a fork meets {fault}")),
            };
        }
        let round = self.begin(broker, disk);
        self.end(round, broker, disk, false).await
    }

    /// A round on a disk that may be full, to its end. Answers how many commands there was no room for.
    pub async fn round_or_full(&mut self, broker: &Broker, disk: &Disk) -> Result<usize, String> {
        assert!(self.apart, "what follows a refusal depends on it");
        self.pass(Duration::from_millis(1), disk);
        if self.random.chance(FORKS) {
            return match self.fork(broker, disk).await? {
                Met::Answer => Ok(0),
                Met::Fault(Fault::StoreFull { .. }) => Ok(1),
                Met::Fault(fault) => Err(format!("a fork meets {fault}")),
            };
        }
        let round = self.begin(broker, disk);
        let mut refused = 0;
        for (index, (answer, outcome)) in round.answers.into_iter().enumerate() {
            let reply = self.wait(round.step, answer, broker, disk).await?;
            let reply = reply.ok_or("an answer was lost")?;
            let step = &mut self.timeline.0[round.step];
            let asked = &mut step.asked[index];
            if matches!(reply, Err(Error::Fault(Fault::StoreFull { .. }))) {
                asked.refused_at = Some(disk.now());
                model::put(&mut self.world, asked.name, step.before.get(asked.name));
                refused += 1;
            } else {
                check(asked, &reply, outcome)?;
                asked.confirmed_at = Some(disk.now());
            }
        }
        self.timeline.0[round.step].no_phantoms()?;
        Ok(refused)
    }

    /// One command, to its end. One that met a failed store may have happened; one that met another fault has not.
    pub async fn one(&mut self, broker: &Broker, disk: &Disk) -> Result<Met, String> {
        self.pass(Duration::from_millis(1), disk);
        if self.random.chance(FORKS) {
            return self.fork(broker, disk).await;
        }
        let round = self.begin(broker, disk);
        self.end_one(round, broker, disk).await
    }

    /// Deletes `stream`, as [`Load::one`] does what it does.
    pub async fn delete(
        &mut self,
        stream: Name,
        broker: &Broker,
        disk: &Disk,
    ) -> Result<Met, String> {
        self.pass(Duration::from_millis(1), disk);
        let mut round = self.nothing_yet(disk);
        self.ask(&mut round, stream, Op::Delete, broker);
        broker.kick();
        self.end_one(round, broker, disk).await
    }

    async fn end_one(
        &mut self,
        mut round: Round,
        broker: &Broker,
        disk: &Disk,
    ) -> Result<Met, String> {
        let Some((answer, outcome)) = round.answers.pop() else {
            return Ok(Met::Answer);
        };
        let reply = self.wait(round.step, answer, broker, disk).await?;
        let reply = reply.ok_or("an answer was lost")?;
        if let Err(Error::Fault(fault)) = reply {
            let met = self.met(fault, disk);
            self.timeline.0[round.step].no_phantoms()?;
            return Ok(met);
        }
        let step = &mut self.timeline.0[round.step];
        check(&step.asked[0], &reply, outcome)?;
        step.asked[0].confirmed_at = Some(disk.now());
        step.no_phantoms()?;
        Ok(Met::Answer)
    }

    /// Notes what the only command of the last step met.
    fn met(&mut self, fault: Fault, disk: &Disk) -> Met {
        let step = self.timeline.0.last_mut();
        if let Some(step) = step.filter(|_| !matches!(fault, Fault::StoreFaulted { .. })) {
            step.asked[0].refused_at = Some(disk.now());
            self.world = step.before.clone();
        }
        Met::Fault(fault)
    }

    fn pass(&mut self, by: Duration, disk: &Disk) {
        // Times before this moment are of the step before, times after it of this one.
        if by == LONG {
            model::pass(&mut self.world);
        }
        self.now = self.now.after(by);
        let world = self.world.clone();
        self.settle(disk, world);
        self.clock.advance(by);
    }

    /// Asks for a few things at once.
    pub fn begin(&mut self, broker: &Broker, disk: &Disk) -> Round {
        let mut round = self.nothing_yet(disk);
        for _ in 0..self.random.between(1, self.at_once) {
            let stream = NAMES[self.index(NAMES.len())];
            let op = self.choose(stream);
            // What touches two streams is asked alone.
            let related = |mirror: &model::Mirror| mirror.source.is_some() || mirror.forks > 0;
            let alone = matches!(op, Op::Delete) && self.world.get(stream).is_some_and(related);
            let asked = &self.timeline.0[round.step].asked;
            let again = self.apart && asked.iter().any(|asked| asked.name == stream);
            if again || alone && !asked.is_empty() {
                continue;
            }
            self.ask(&mut round, stream, op, broker);
            if alone {
                break;
            }
        }
        broker.kick();
        round
    }

    fn nothing_yet(&mut self, disk: &Disk) -> Round {
        let step = Step::settled(disk.now(), self.now, self.world.clone());
        self.timeline.0.push(step);
        Round {
            step: self.timeline.0.len() - 1,
            answers: Vec::new(),
        }
    }

    /// Queues a command of `round`, the last step.
    fn ask(&mut self, round: &mut Round, stream: Name, op: Op, broker: &Broker) {
        let outcome = model::act(&mut self.world, stream, &op, self.now);
        self.timeline.0[round.step].asked.push(Asked {
            name: stream,
            confirmed_at: None,
            refused_at: None,
            after: self.world.clone(),
        });
        round.answers.push((submit(broker, stream, op), outcome));
    }

    /// Waits for the answers, and looks at the streams meanwhile. A broker that has been cut off may fail to answer, but not answer
    /// wrongly.
    pub async fn end(
        &mut self,
        round: Round,
        broker: &Broker,
        disk: &Disk,
        cut: bool,
    ) -> Result<(), String> {
        for (index, (answer, outcome)) in round.answers.into_iter().enumerate() {
            let reply = match self.wait(round.step, answer, broker, disk).await? {
                None | Some(Err(Error::Fault(_))) if cut => continue,
                None => return Err("an answer was lost".to_owned()),
                Some(reply) => reply,
            };
            let asked = &mut self.timeline.0[round.step].asked[index];
            check(asked, &reply, outcome)?;
            asked.confirmed_at = Some(disk.now());
        }
        self.timeline.0[round.step].no_phantoms()
    }

    /// Waits for one answer; `None` if there will be none.
    async fn wait(
        &mut self,
        step: usize,
        mut answer: oneshot::Receiver<Reply>,
        broker: &Broker,
        disk: &Disk,
    ) -> Result<Option<Reply>, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match answer.try_recv() {
                Ok(reply) => return Ok(Some(reply)),
                Err(TryRecvError::Closed) => return Ok(None),
                Err(TryRecvError::Empty) if Instant::now() > deadline => {
                    return Err(format!("no answer in {PATIENCE:?}"));
                }
                Err(TryRecvError::Empty) => {}
            }
            let step = &mut self.timeline.0[step];
            let stream = step.asked[disk.now() % step.asked.len()].name;
            if let Ok(shown) = broker.get_metadata(&name(stream)).await {
                step.seen.push(Seen {
                    name: stream,
                    created_at: shown.created_at,
                    tail: usize::try_from(shown.tail.offset.0).expect("a small number"),
                    at: disk.now(),
                });
            }
            tokio::task::yield_now().await;
        }
    }

    /// Forks a stream, if there is one to fork and a name for it.
    async fn fork(&mut self, broker: &Broker, disk: &Disk) -> Result<Met, String> {
        let (fork, source) = (
            NAMES[self.index(NAMES.len())],
            NAMES[self.index(NAMES.len())],
        );
        let Some(mirror) = self.world.get(source) else {
            return Ok(Met::Answer);
        };
        let lasting =
            mirror.options.expiry == Expiry::Never && mirror.options.retention.max_age.is_none();
        if self.world.contains_key(fork) || mirror.gone || !lasting {
            return Ok(Met::Answer);
        }
        let kept = mirror.records.len() - mirror.earliest;
        let at = self.random.clone().below(kept as u64 + 1);
        let at = mirror.earliest + usize::try_from(at).expect("a small number");
        let into = into(mirror, at, self.random.fork(FORKS));
        let request = PutRequest {
            fork: Some(ForkRequest {
                source: name(source),
                offset: Some(mirror.position(at)),
                sub_offset: into as u64,
            }),
            ..PutRequest::default()
        };
        let before = self.world.clone();
        model::act(&mut self.world, fork, &Op::Fork(source, at, into), self.now);
        self.timeline.0.push(Step {
            at: disk.now(),
            now: self.now,
            before,
            asked: vec![Asked {
                name: fork,
                confirmed_at: None,
                refused_at: None,
                after: self.world.clone(),
            }],
            seen: Vec::new(),
        });
        let put = broker.put(&name(fork), request).await;
        match put {
            Ok(put) if !put.created.existed => {}
            Err(Error::Fault(fault)) => return Ok(self.met(fault, disk)),
            other => return Err(format!("{fork} off {source} at {at} and {into}: {other:?}")),
        }
        if let Some(step) = self.timeline.0.last_mut() {
            step.asked[0].confirmed_at = Some(disk.now());
        }
        Ok(Met::Answer)
    }

    /// Retries what producers and writers did last: nothing of it may be done again.
    pub async fn retry(&mut self, broker: &Broker) -> Result<(), String> {
        for (stream, mirror) in &self.world {
            if mirror.gone || mirror.closed {
                continue;
            }
            for (id, (epoch, seq)) in &mirror.producers {
                let options = AppendOptions {
                    producer: Some(stamp(id, *epoch, *seq)),
                    ..AppendOptions::default()
                };
                let batch = RecordBlock::from_payloads(["again"]);
                match broker.append(&name(stream), batch, options).await {
                    Ok(appended) if appended.duplicate && appended.producer_seq == Some(*seq) => {}
                    other => {
                        return Err(format!("{stream}: {id} {epoch}.{seq} again is {other:?}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn index(&mut self, length: usize) -> usize {
        index(&mut self.random, length)
    }

    fn choose(&mut self, stream: Name) -> Op {
        if !self.world.contains_key(stream) {
            return Op::Create(self.options());
        }
        match self.random.below(100) {
            0..5 => Op::Delete,
            5..7 => Op::Close,
            _ => self.append(stream),
        }
    }

    fn options(&mut self) -> CreateOptions {
        let random = &mut self.random;
        let mut retention = Retention::default();
        match random.below(10) {
            0 | 1 => retention.max_records = Some(random.between(1, 12)),
            2 => retention.max_bytes = Some(random.between(1, 9_000)),
            3 => retention.max_age = Some(SOON),
            _ => {}
        }
        let expiry = match random.below(8) {
            0 => Expiry::Ttl(100),
            1 => Expiry::At(self.now.after(SOON)),
            _ => Expiry::Never,
        };
        CreateOptions {
            content_type: Str::from("text/plain"),
            expiry,
            retention,
            storage: StorageKind::Durable,
        }
    }

    fn append(&mut self, stream: Name) -> Op {
        let mirror = self.world.get(stream).cloned();
        let tail = mirror.as_ref().map_or(0, |mirror| mirror.records.len()) as u64;
        let mut options = AppendOptions::default();
        match self.random.below(20) {
            0..6 => {
                let seq = if self.random.chance(85) {
                    self.written + 1
                } else {
                    0
                };
                options.seq = Some(Bytes::from(format!("{seq:08}")));
            }
            6..12 => {
                let id = PRODUCERS[self.index(PRODUCERS.len())];
                let known = mirror.and_then(|mirror| mirror.producers.get(id).copied());
                let (epoch, seq) = match (known, self.random.below(10)) {
                    (None, _) => (1, 0),
                    (Some((epoch, seq)), 0) => (epoch, seq),
                    (Some((epoch, seq)), 1) => (epoch, seq + 2),
                    (Some((epoch, _)), 2) => (epoch + 1, 0),
                    (Some((epoch, _)), 3) => (epoch - 1, 0),
                    (Some((epoch, seq)), _) => (epoch, seq + 1),
                };
                options.producer = Some(stamp(id, epoch, seq));
            }
            12 | 13 => {
                let off = u64::from(self.random.chance(20));
                options.expected_tail = Some(Offset(tail + off));
            }
            14 => options.close = self.random.chance(20),
            _ => {}
        }
        let count = self.random.between(1, 3);
        Op::Append((0..count).map(|_| self.payload()).collect(), options)
    }

    fn payload(&mut self) -> Bytes {
        self.written += 1;
        let length = match self.random.below(10) {
            0..7 => self.random.below(60),
            7 | 8 => self.random.below(3_000),
            _ => self.random.below(self.large),
        };
        let mut payload = format!("{}:", self.written).into_bytes();
        let fill = self.random.bits().to_le_bytes();
        let length = usize::try_from(length).expect("a small number");
        payload.extend(fill.into_iter().cycle().take(length));
        Bytes::from(payload)
    }
}

/// How many bytes of the record at `at` a fork takes along: mostly some, up to all.
fn into(source: &model::Mirror, at: usize, mut random: Random) -> usize {
    let record = source.records.get(at).filter(|_| random.chance(80));
    record.map_or(0, |record| index(&mut random, record.len() + 1))
}

/// One of `length` things; 0 if there are none.
pub fn index(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(length as u64)).expect("a small number")
}

fn stamp(id: &str, epoch: u64, seq: u64) -> ProducerStamp {
    ProducerStamp {
        id: Str::from(id),
        epoch,
        seq,
    }
}

/// Queues a command without waking the committer.
fn submit(broker: &Broker, stream: Name, op: Op) -> oneshot::Receiver<Reply> {
    let command = match op {
        Op::Create(options) => Command::create(options),
        Op::Append(payloads, options) => Command::Append {
            batch: RecordBlock::from_payloads(&payloads),
            options,
        },
        Op::Close => Command::Close,
        Op::Delete => Command::Delete,
        Op::Fork(..) => unreachable!("a fork is put"),
    };
    let (sender, receiver) = oneshot::channel();
    let handle = broker.stream(stream).expect("a valid name");
    let submission = Submission {
        command,
        completion: Completion::Once(sender),
        light: "aceg".contains(stream),
    };
    let queued = broker.try_submit(&handle, submission);
    assert!(queued.is_ok(), "the queue of a round is never full");
    receiver
}

fn check(asked: &Asked, reply: &Reply, outcome: Outcome) -> Result<(), String> {
    let tail = asked.after.get(asked.name).map(model::Mirror::tail);
    let right = match (reply, outcome) {
        (Ok(Answer::Appended(appended)), Outcome::Done) => {
            !appended.duplicate && Some(appended.tail) == tail
        }
        (Ok(Answer::Appended(appended)), Outcome::Duplicate) => appended.duplicate,
        (Ok(_), Outcome::Done) | (Err(Error::Refused(_)), Outcome::Refused) => true,
        _ => false,
    };
    if right {
        return Ok(());
    }
    let name = asked.name;
    Err(format!("{name} answers {reply:?} where {outcome:?} is due"))
}
