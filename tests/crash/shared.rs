//! A stream with many writers on several connections: only the broker knows their order.
//!
//! What must hold: a confirmed batch lies where its confirm said, whole; whatever else is there is a whole batch that was
//! sent and not confirmed; the batches of one writer are in its order, and none of a round is missing before one that is there.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use streamkeeper_client::Client;

use crate::door::{Door, Ticket};
use crate::found::{Found, find};
use crate::history::{Batch, Delivered, Written};
use crate::owned::{Settings, usize_of};
use crate::payload::Tag;
use crate::random::Random;
use crate::writer::{Lost, lost};

/// See the module.
#[derive(Debug)]
pub struct Shared {
    pub number: u16,
    pub name: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Confirmed batches, by their first offset.
    confirmed: BTreeMap<u64, Vec<Written>>,
    /// Batches sent and not confirmed, by writer, in order.
    pending: HashMap<u16, VecDeque<Vec<Written>>>,
    counters: HashMap<u16, u32>,
}

impl Shared {
    pub fn new(number: u16) -> Self {
        Self {
            number,
            name: format!("Shared-{number}"),
            known: Mutex::default(),
        }
    }

    /// Confirmed batches of the writers that are asked for.
    pub fn confirmed(&self, of: impl Fn(u16) -> bool) -> usize {
        let known = self.known.lock();
        let writers = known.confirmed.values().filter_map(|batch| batch.first());
        writers.filter(|record| of(record.tag.writer)).count()
    }

    /// Writes as `writer` until the connection is lost.
    pub async fn write(self: Arc<Self>, door: Door, writer: u16, mut random: Random) {
        let name = self.name.as_str();
        if door.create(name, Settings::default()).await.is_err() {
            return;
        }
        let window = usize_of(random.between(1, 24));
        let mut tickets: VecDeque<Ticket> = VecDeque::new();
        loop {
            while tickets.len() >= window {
                if self.take(writer, &mut tickets).await.is_err() {
                    return;
                }
            }
            let batch = Batch {
                records: self.batch(writer, door.records_max(), &mut random),
                seq: None,
                stamp: None,
                close: false,
            };
            match door.append(name, &batch).await {
                Ok(ticket) => tickets.push_back(ticket),
                Err(no) => {
                    lost(name, no);
                    while self.take(writer, &mut tickets).await.is_ok() && !tickets.is_empty() {}
                    return;
                }
            }
            if random.chance(30) {
                tokio::time::sleep(Duration::from_millis(random.between(1, 6))).await;
            }
        }
    }

    /// The next batch, noted as pending.
    fn batch(&self, writer: u16, records_max: usize, random: &mut Random) -> Vec<Written> {
        let mut known = self.known.lock();
        let counter = known.counters.entry(writer).or_default();
        let count = if random.chance(60) {
            1
        } else {
            random.between(1, records_max as u64)
        };
        let batch: Vec<Written> = (0..count)
            .map(|_| {
                let tag = Tag {
                    slot: self.number,
                    life: 1,
                    writer,
                    counter: *counter,
                };
                *counter += 1;
                let length = random.size().clamp(12, 40_000);
                Written { tag, length }
            })
            .collect();
        known
            .pending
            .entry(writer)
            .or_default()
            .push_back(batch.clone());
        batch
    }

    async fn take(&self, writer: u16, tickets: &mut VecDeque<Ticket>) -> Result<(), Lost> {
        let Some(ticket) = tickets.pop_front() else {
            return Err(Lost);
        };
        let confirmed = ticket.outcome().await;
        let confirmed = confirmed.map_err(|no| lost(&self.name, no))?;
        let mut known = self.known.lock();
        let pending = known.pending.entry(writer).or_default();
        let batch = pending
            .pop_front()
            .expect("only what was sent is confirmed");
        let first = confirmed.tail - batch.len() as u64;
        let before = known.confirmed.insert(first, batch);
        assert!(before.is_none(), "{}@{first}: confirmed twice", self.name);
        Ok(())
    }

    /// After a crash: holds what is there against what was sent, confirmed and delivered.
    pub async fn check(&self, client: &Client, delivered: &[Delivered]) {
        let name = &self.name;
        let found = find(client, name).await;
        let mut known = self.known.lock();
        let Some(found) = found else {
            assert!(known.confirmed.is_empty(), "{name}: gone");
            return;
        };
        assert_eq!(found.first, 0, "{name}: trimmed");
        let known = &mut *known;
        let mut offset = 0;
        while offset < found.tail() {
            let batch = match known.confirmed.get(&offset) {
                Some(batch) => batch,
                None => known.claim(name, offset, &found),
            };
            for (at, record) in (offset..).zip(batch) {
                assert_eq!(found.at(at), Some(record), "{name}@{at}: not what was sent");
            }
            offset += batch.len() as u64;
        }
        let end = known.confirmed.last_key_value();
        let end = end.map_or(0, |(first, batch)| first + batch.len() as u64);
        assert_eq!(end, found.tail(), "{name}: confirmed records are missing");
        known.pending.clear();
        for given in delivered {
            for (at, record) in (given.first..).zip(&given.records) {
                assert_eq!(
                    found.at(at),
                    Some(record),
                    "{name}@{at}: delivered, and gone"
                );
            }
        }
    }
}

impl Known {
    /// Takes the batch that begins at `offset` as stored although nobody learnt of it: its writer's oldest pending one.
    fn claim(&mut self, name: &str, offset: u64, found: &Found) -> &Vec<Written> {
        let record = found.at(offset).expect("below the tail");
        let pending = self.pending.get_mut(&record.tag.writer);
        let batch = pending.and_then(VecDeque::pop_front);
        assert!(
            batch.as_ref().and_then(|batch| batch.first()) == Some(record),
            "{name}@{offset}: {record:?}, where {batch:?} is next of its writer"
        );
        self.confirmed
            .entry(offset)
            .or_insert(batch.unwrap_or_default())
    }
}
