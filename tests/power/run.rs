//! A broker under load on a disk of its own, for tests that let that disk fail by plan.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use streamkeeper::broker::Broker;
use streamkeeper::store::Readiness;
use streamkeeper::types::{Clock, Fault};

use crate::disk::{Contents, Disk, Event};
use crate::found::{NAMES, judge};
use crate::history::{BEGIN, Setup, check};
use crate::image::Film;
use crate::load::{Load, Met, index};
use crate::model::{Allowed, World};
use crate::random::Random;

/// Longer than a broker takes to find that there is room again.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// A disk that a broker has left, and what must be on it.
pub struct Left {
    pub setup: Setup,
    pub trace: Vec<Event>,
    pub allowed: Allowed,
}

impl Left {
    /// The disk as its cache shows it. Not all of it need be durable.
    pub fn disk(&self) -> Disk {
        Disk::after(Contents::new(), &self.trace)
    }
}

/// A broker on a disk of its own, under load.
pub struct Run {
    pub setup: Setup,
    pub disk: Disk,
    pub clock: Clock,
    pub load: Load,
    pub broker: Broker,
}

impl Run {
    pub async fn new(seed: u64) -> Self {
        Self::with(seed, |setup| setup).await
    }

    /// With the setup of `seed`, changed.
    pub async fn with(seed: u64, change: impl FnOnce(Setup) -> Setup) -> Self {
        let mut random = Random::new(seed);
        let setup = change(Setup::of(&mut random));
        let (clock, hand) = Clock::manual(BEGIN);
        let disk = Disk::new(Contents::new());
        let mut load = Load::new(random, BEGIN, hand, setup.large);
        load.at_once = 1;
        let broker = setup.open(&disk, clock.clone()).await;
        let broker = broker.expect("it opens");
        load.settle(&disk, World::new());
        Self {
            setup,
            disk,
            clock,
            load,
            broker,
        }
    }

    /// One command: what it met.
    pub async fn one(&mut self) -> Result<(), Fault> {
        let met = self.load.one(&self.broker, &self.disk).await;
        match met.expect("the answer is right") {
            Met::Answer => Ok(()),
            Met::Fault(fault) => Err(fault),
        }
    }

    pub async fn load(&mut self, commands: usize) {
        for _ in 0..commands {
            self.one().await.expect("the disk works");
        }
    }

    /// The first fault that one of `commands` commands meets.
    pub async fn until_fault(&mut self, commands: usize) -> Option<Fault> {
        for _ in 0..commands {
            if let Err(fault) = self.one().await {
                return Some(fault);
            }
        }
        None
    }

    /// Deletes all streams, and waits until their segments are removed or the store fails. The fault that a command met, if one did.
    pub async fn empty(&mut self) -> Option<Fault> {
        for stream in NAMES {
            let met = self.load.delete(stream, &self.broker, &self.disk).await;
            if let Met::Fault(fault) = met.expect("the answer is right") {
                return Some(fault);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        let faulted = || matches!(self.broker.readiness(), Readiness::Faulted { .. });
        while self.disk.segments() > 1 && !faulted() {
            let is = self.broker.readiness();
            assert!(Instant::now() < deadline, "segments stay: {is:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        None
    }

    /// Waits until everything is in the store.
    pub async fn until_folded(&self) {
        let deadline = Instant::now() + PATIENCE;
        let folded = || {
            let report = self.broker.check(&mut |_| ControlFlow::Continue(()));
            // It is ended if the store is opened anew meanwhile.
            report.is_ok_and(|report| report.journal_rows == 0)
        };
        while !folded() {
            assert!(Instant::now() < deadline, "never folded");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&Readiness) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.broker.readiness()) {
            let is = self.broker.readiness();
            assert!(Instant::now() < deadline, "never {what}: {is:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Reads everything: it is what was confirmed.
    pub async fn compare(&self) {
        let allowed = self.load.timeline.allowed(usize::MAX);
        let judged = judge(&self.broker, &allowed).await;
        judged.expect("it reads as confirmed");
    }

    /// Loses power at random points from `begin` on.
    pub async fn cut(&self, begin: usize, seed: u64) {
        let trace = self.disk.trace();
        let contents = Contents::new();
        let mut film = Film::new(&contents, &trace);
        let mut random = Random::new(seed);
        let mut cuts: Vec<usize> = (0..6)
            .map(|_| begin + index(&mut random, trace.len() - begin + 1))
            .collect();
        cuts.sort_unstable();
        for cut in cuts {
            film.forward(cut);
            let image = film.image(&mut random);
            let allowed = self.load.timeline.allowed(cut);
            let random = random.fork(cut as u64);
            let checked = check(self.setup, &image, &allowed, random, &AtomicU64::new(0)).await;
            assert_eq!(checked, Ok(()), "seed {seed}, cut {cut}");
        }
    }

    /// Ends the broker, as its process ends or as it is killed: all that it was asked was answered.
    pub async fn leave(self, killed: bool) -> Left {
        let disk = self.disk.clone();
        if !killed {
            self.broker.close_all().await;
        }
        let (setup, allowed) = (self.setup, self.load.timeline.allowed(usize::MAX));
        self.close().await;
        Left {
            setup,
            trace: disk.trace(),
            allowed,
        }
    }

    pub async fn close(self) {
        self.disk.kill();
        self.broker.close_all().await;
    }
}
