//! Writers: appends, pipelined, between creates, closes, deletes and trims.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::commands::{Intent, Pending, Stamp, submit};
use crate::model::Slot;
use crate::random::Random;
use crate::run::{Kind, PATIENCE, Run, create_options};

/// One of several writers of one slot.
pub struct Writer {
    pub run: Run,
    pub kind: Kind,
    pub slot: Arc<Slot>,
    pub number: u16,
    pub random: Random,
}

impl Writer {
    /// Writes until told to end. Ends with every answer taken.
    pub async fn run(mut self) {
        let in_flight_max = self.random.between(1, 40);
        let mut in_flight = VecDeque::new();
        let mut left_of_burst = 0;
        while !self.run.writing.is_cancelled() {
            if self.kind == Kind::Bursty && left_of_burst == 0 {
                left_of_burst = self.random.between(1, 60);
                settle_all(&mut in_flight).await;
                self.rest().await;
            }
            left_of_burst = left_of_burst.saturating_sub(1);
            let intent = self.intent();
            if matches!(intent, Intent::Append { .. }) {
                self.run.counts.appends.fetch_add(1, Ordering::Relaxed);
            }
            in_flight.push_back(submit(&self.run.broker, &self.slot, &intent).await);
            if in_flight.len() as u64 >= in_flight_max {
                settle_first(&mut in_flight).await;
            }
        }
        settle_all(&mut in_flight).await;
    }

    /// A pause between bursts, in which the stream may leave memory.
    async fn rest(&mut self) {
        let pause = Duration::from_millis(self.random.between(5, 250));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.run.writing.cancelled() => {}
        }
    }

    fn intent(&mut self) -> Intent {
        let absent = self
            .slot
            .lives
            .lock()
            .last()
            .is_none_or(|life| life.deleted);
        // Mostly create what is not there; sometimes find out what happens otherwise.
        if absent && self.random.chance(80) {
            let options = create_options(self.kind, self.slot.storage, &mut self.random);
            return Intent::Create(options);
        }
        let roll = self.random.below(1000);
        match self.kind {
            Kind::Churning if roll < 8 => Intent::Delete,
            Kind::Churning if roll < 12 => Intent::Close,
            Kind::Churning if roll < 18 => self.append(true),
            Kind::Churning if roll < 24 => Intent::Create(create_options(
                self.kind,
                self.slot.storage,
                &mut self.random,
            )),
            Kind::Retained if roll < 2 => Intent::Delete,
            Kind::Trimmed if roll < 20 => Intent::Trim(self.random.below(1001)),
            Kind::Trimmed if roll < 21 => Intent::Delete,
            Kind::Bursty if roll < 3 => Intent::Delete,
            _ => self.append(false),
        }
    }

    fn append(&mut self, close: bool) -> Intent {
        let records = match self.random.below(100) {
            0..60 => 1,
            60..98 => self.random.between(1, 20),
            _ => self.random.between(20, 400),
        };
        let least = u64::from(!close);
        let lengths = (0..records.max(least))
            .map(|_| self.random.size())
            .collect();
        let stamp = match self.random.below(10) {
            0..5 => Stamp::None,
            5..8 => Stamp::Next,
            _ => Stamp::Again,
        };
        Intent::Append {
            writer: self.number,
            lengths,
            stamp,
            close,
        }
    }
}

async fn settle_first(in_flight: &mut VecDeque<Pending>) {
    if let Some(first) = in_flight.pop_front() {
        let settled = tokio::time::timeout(PATIENCE, first.settle()).await;
        settled.expect("a command is answered in time");
    }
}

async fn settle_all(in_flight: &mut VecDeque<Pending>) {
    while !in_flight.is_empty() {
        settle_first(in_flight).await;
    }
}
