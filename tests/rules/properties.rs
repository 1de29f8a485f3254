//! Random command sequences: the rules and the oracle must agree after every step.
//!
//! What is checked at each step: the answer or the refusal; the metadata, expiry, producers and payloads after it; that
//! deciding and applying again gives the same; that the trim point is the oracle's. At the end, that replaying
//! all effects from nothing gives the same state.

use proptest::prelude::*;
use streamkeeper::rules::{self, Command, Context, Decision, Effect, StreamState};
use streamkeeper::types::{
    AppendOptions, Position, RecordBlock, Refusal, Run, StreamId, Timestamp,
};

use super::model::{Asked, Model};
use super::steps::{self, LIMITS, Step, Timed};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_agree_with_the_oracle(sequence in steps::sequence()) {
        let mut bench = Bench::new();
        for timed in &sequence {
            bench.step(timed)?;
        }
        bench.replay()?;
    }
}

/// The rules and the oracle side by side.
struct Bench {
    now: Timestamp,
    model: Model,
    state: Option<StreamState>,
    /// The stream's records, as an engine would keep them.
    runs: Vec<Run>,
    effects: Vec<Effect>,
    created: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            now: Timestamp(1_000_000_000_000),
            model: Model::new(LIMITS),
            state: None,
            runs: Vec::new(),
            effects: Vec::new(),
            created: 0,
        }
    }

    fn step(&mut self, timed: &Timed) -> Result<(), TestCaseError> {
        self.now = Timestamp(self.now.0 + timed.wait_us);
        let Some(asked) = steps::ask(&timed.step, self.state.as_ref(), self.now) else {
            return self.retain();
        };
        let (answer, effects) = match self.decide(&command(&asked, &self.model))? {
            Ok(decision) => (Ok(decision.answer), decision.effects.to_vec()),
            Err(refusal) => (Err(refusal), Vec::new()),
        };
        prop_assert_eq!(answer, self.model.run(&asked, self.now.0), "{:?}", timed);
        for effect in effects {
            let is_created = matches!(effect, Effect::Created { .. });
            prop_assert_eq!(
                is_created,
                self.state.is_none(),
                "{:?} came out of turn",
                effect
            );
            self.apply(effect);
        }
        self.compare(&timed.step)
    }

    /// Decides twice: equal inputs must give equal decisions and states.
    fn decide(&self, command: &Command) -> Result<Result<Decision, Refusal>, TestCaseError> {
        let next_id = StreamId(self.created + 1);
        let context = Context {
            now: self.now,
            next_id,
            limits: LIMITS,
        };
        let first = rules::decide(self.state.as_ref(), command.clone(), &context);
        let second = rules::decide(self.state.as_ref(), command.clone(), &context);
        match (&first, &second) {
            (Ok(first), Ok(second)) => {
                prop_assert_eq!(first.answer, second.answer);
                prop_assert_eq!(self.after(first), self.after(second));
            }
            (first, second) => prop_assert_eq!(first.as_ref().err(), second.as_ref().err()),
        }
        Ok(first)
    }

    fn after(&self, decision: &Decision) -> Option<StreamState> {
        let mut state = self.state.clone();
        decision
            .effects
            .iter()
            .for_each(|effect| rules::apply(&mut state, effect));
        state
    }

    fn apply(&mut self, effect: Effect) {
        let tail = self
            .state
            .as_ref()
            .map_or(Position::START, |stream| stream.tail);
        match &effect {
            Effect::Created { id, .. } => {
                self.created = id.0;
                self.runs.clear();
            }
            Effect::Deleted { .. } => self.runs.clear(),
            Effect::Appended { batch, at } => {
                self.runs
                    .push(Run::new(batch, tail.offset.0, tail.byte, at.0));
            }
            Effect::Trimmed { to } => {
                self.runs
                    .retain(|run| run.header.next_offset() > to.offset.0);
            }
            _ => {}
        }
        rules::apply(&mut self.state, &effect);
        self.effects.push(effect);
    }

    fn retain(&mut self) -> Result<(), TestCaseError> {
        let Some(stream) = &self.state else {
            return Ok(());
        };
        let retention = stream.options.retention;
        let (earliest, tail) = (stream.earliest, stream.tail);
        let point = rules::trim_point(&retention, earliest, tail, self.now, &self.runs);
        prop_assert_eq!(point, self.model.retention_point(self.now.0));
        let first = self
            .runs
            .first()
            .map(|run| Timestamp(run.header.committed_at));
        let is_due = rules::is_due(&retention, earliest, tail, self.now, first);
        prop_assert_eq!(
            is_due,
            point.is_some(),
            "cheap test and full answer disagree"
        );
        match point {
            Some(to) => {
                let step = Step::Trim(to.offset.0 - earliest.offset.0);
                self.step(&Timed { wait_us: 0, step })
            }
            None => Ok(()),
        }
    }

    fn compare(&self, step: &Step) -> Result<(), TestCaseError> {
        let state = self.state.as_ref();
        prop_assert_eq!(
            state.map(StreamState::metadata),
            self.model.metadata(),
            "{:?}",
            step
        );
        let expires_at = state.and_then(StreamState::expires_at).map(|at| at.0);
        prop_assert_eq!(expires_at, self.model.expires_at(), "{:?}", step);
        let mut producers: Vec<_> = state.map_or_else(Vec::new, |stream| {
            let producers = stream.producers.iter();
            producers
                .map(|(id, at)| (id.to_owned(), at.epoch, at.seq, at.at.0))
                .collect()
        });
        producers.sort();
        prop_assert_eq!(producers, self.model.producers(), "{:?}", step);
        prop_assert_eq!(self.kept(), self.model.kept(), "{:?}", step);
        Ok(())
    }

    /// The payloads from the earliest record on.
    fn kept(&self) -> Vec<Vec<u8>> {
        let earliest = self
            .state
            .as_ref()
            .map_or(0, |stream| stream.earliest.offset.0);
        let records = self.runs.iter().flat_map(Run::records).flatten();
        records
            .filter(|record| record.offset >= earliest)
            .map(|record| record.payload.to_vec())
            .collect()
    }

    fn replay(&self) -> Result<(), TestCaseError> {
        let mut state = None;
        self.effects
            .iter()
            .for_each(|effect| rules::apply(&mut state, effect));
        prop_assert_eq!(&state, &self.state);
        Ok(())
    }
}

fn command(asked: &Asked, model: &Model) -> Command {
    match asked {
        Asked::Create(options) => Command::create(options.clone()),
        Asked::Append { inputs, options } => Command::Append {
            batch: RecordBlock::from_payloads(inputs.iter().map(|input| &input.bytes)),
            options: AppendOptions::clone(options),
        },
        Asked::Close => Command::Close,
        Asked::Delete => Command::Delete,
        Asked::Touch => Command::Touch,
        Asked::Trim(to) => Command::Trim {
            to: model.position(*to),
        },
        Asked::Expire => Command::Expire,
    }
}
