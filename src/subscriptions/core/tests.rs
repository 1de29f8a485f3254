//! The rules of one subscription, without clock, store or network.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::types::{Offset, Position, StreamName, Timestamp};

const START: Timestamp = Timestamp(1_000_000_000);

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn at(records: u64) -> Position {
    Position::START.advanced(records, records * 10)
}

fn facts(records: u64) -> Option<Facts> {
    let found = Facts {
        tail: at(records),
        created_at: Timestamp(7),
    };
    (records > 0).then_some(found)
}

/// A subscription, with a clock and ids that tests move.
struct Bench {
    subscription: Subscription,
    now: Timestamp,
    wakes: u64,
}

impl Bench {
    fn new(delivery: Delivery) -> Self {
        let config = Config {
            delivery,
            pattern: Some("events/*".parse().unwrap()),
            streams: Vec::new(),
            lease_ttl_ms: 30_000,
            description: None,
        };
        let base = String::from("http://host/v1/stream");
        let links = Links::default();
        Self {
            subscription: Subscription::new("sub".into(), config, base, START, links),
            now: START,
            wakes: 0,
        }
    }

    fn webhook() -> Self {
        Self::new(Delivery::Webhook {
            url: "https://example.com/".into(),
        })
    }

    fn pull() -> Self {
        Self::new(Delivery::PullWake {
            wake_stream: name("wake"),
        })
    }

    fn input(&mut self, input: Input) -> Step {
        self.wakes += 1;
        let context = Context {
            now: self.now,
            wake_id: format!("w_{}", self.wakes),
            jitter: 0.0,
            links_max: 10,
        };
        let step = self.subscription.step(input, &context);
        if step.deliver {
            self.subscription.begin_delivery(self.now);
        }
        step
    }

    /// Records come to a stream.
    fn grow(&mut self, stream: &str, records: u64) -> Step {
        let stream = name(stream);
        self.subscription.observe(&stream, facts(records));
        self.input(Input::Proceed)
    }

    fn pass(&mut self, time: Duration) -> Step {
        self.now = self.now.after(time);
        self.input(Input::Proceed)
    }

    /// What the worker of the wake that is out shows.
    fn key(&self) -> WakeKey {
        let head = &self.subscription.head;
        let wake = head.wake.as_ref().expect("a wake is out");
        WakeKey {
            token_generation: head.generation,
            token_wake_id: wake.id.clone(),
            generation: head.generation,
            wake_id: wake.id.clone(),
        }
    }

    fn report(&mut self, key: WakeKey, acks: &[(&str, u64)], done: bool) -> Step {
        let ack = |(stream, records): &(&str, u64)| Ack {
            stream: name(stream),
            offset: Some(at(*records)),
        };
        let acks = acks.iter().map(ack).collect();
        self.input(Input::Acknowledge { key, acks, done })
    }

    fn delivered(&mut self, outcome: Outcome) -> Step {
        let wake_id = self.key().wake_id;
        self.input(Input::Delivered { wake_id, outcome })
    }

    fn acked(&self, stream: &str) -> Option<Position> {
        self.subscription.links.get(&name(stream)).unwrap().acked
    }

    fn claim(&mut self) -> Result<Claimed, Rejection> {
        let worker = String::from("worker-1");
        match self.input(Input::Claim { worker }).answer {
            Ok(Answer::Claimed(claimed)) => Ok(claimed),
            Ok(other) => panic!("{other:?}"),
            Err(rejection) => Err(rejection),
        }
    }
}

#[test]
fn pending_work_wakes_once_until_the_wake_is_over() {
    let mut bench = Bench::webhook();
    let step = bench.grow("events/a", 1);
    assert!(step.head && step.deliver);
    assert_eq!(bench.subscription.head.generation, 1);
    let step = bench.grow("events/b", 1);
    assert!(!step.deliver && step.is_volatile());
    let key = bench.key();
    let step = bench.report(key, &[("events/a", 1)], true);
    assert_eq!(step.answer, Ok(Answer::Acknowledged { next_wake: true }));
    assert!(step.deliver);
    assert_eq!(bench.subscription.head.generation, 2);
    let key = bench.key();
    let step = bench.report(key, &[("events/b", 1)], true);
    assert_eq!(step.answer, Ok(Answer::Acknowledged { next_wake: false }));
    assert_eq!(bench.subscription.head.wake, None);
    assert_eq!(bench.subscription.next_timer(), None);
}

#[test]
fn done_acknowledges_what_was_told_and_wakes_again_for_the_rest() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 1);
    let told = bench.subscription.infos();
    bench.grow("events/a", 3);
    let step = bench.delivered(Outcome::Done(told));
    assert_eq!(bench.acked("events/a"), Some(at(1)));
    assert!(step.deliver, "two records are left");
    let told = bench.subscription.infos();
    let step = bench.delivered(Outcome::Done(told));
    assert_eq!(bench.acked("events/a"), Some(at(3)));
    assert!(!step.deliver);
}

#[test]
fn done_does_not_acknowledge_another_incarnation() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 5);
    let told = bench.subscription.infos();
    let anew = Facts {
        tail: at(2),
        created_at: Timestamp(8),
    };
    let stream = name("events/a");
    bench.subscription.observe(&stream, Some(anew));
    let step = bench.delivered(Outcome::Done(told));
    assert_eq!(bench.acked("events/a"), None);
    assert!(step.deliver);
}

fn anew(records: u64) -> Facts {
    Facts {
        tail: at(records),
        created_at: START.after(Duration::from_secs(1)),
    }
}

#[test]
fn an_ack_of_a_stream_that_was_made_anew_since_moves_nothing() {
    for explicit in [true, false] {
        let mut bench = Bench::pull();
        let stream = name(if explicit { "manual/a" } else { "events/a" });
        if explicit {
            bench.input(Input::AddStreams(vec![(stream.clone(), None)]));
        }
        bench.grow(stream.as_str(), 5);
        bench.claim().unwrap();
        let key = bench.key();
        bench.subscription.observe(&stream, None);
        let gone = bench.report(key.clone(), &[(stream.as_str(), 5)], false);
        assert!(gone.answer.is_ok(), "{gone:?}");
        bench.subscription.observe(&stream, Some(anew(7)));
        let late = bench.report(key, &[(stream.as_str(), 5)], true);
        assert_eq!(late.answer, Ok(Answer::Acknowledged { next_wake: true }));
        assert_eq!(bench.acked(stream.as_str()), None, "records were skipped");
        bench.claim().unwrap();
        let key = bench.key();
        bench.report(key, &[(stream.as_str(), 6)], true);
        assert_eq!(bench.acked(stream.as_str()), Some(at(6)));
    }
}

#[test]
fn a_stream_made_anew_at_one_look_is_known_after_a_restart() {
    let mut bench = Bench::pull();
    bench.input(Input::AddStreams(vec![(name("manual/a"), None)]));
    bench.grow("manual/a", 5);
    bench.claim().unwrap();
    bench.subscription.observe(&name("manual/a"), Some(anew(7)));
    let stored = serde_json::to_string(bench.subscription.links.get(&name("manual/a")).unwrap());
    let link: Link = serde_json::from_str(&stored.unwrap()).unwrap();
    let mut links = Links::default();
    links.insert(name("manual/a"), link);
    bench.subscription = Subscription::revived(bench.subscription.head.clone(), links);
    bench.subscription.observe(&name("manual/a"), Some(anew(7)));
    let key = bench.key();
    assert!(bench.report(key, &[("manual/a", 5)], true).answer.is_ok());
    assert_eq!(bench.acked("manual/a"), None);
}

#[test]
fn an_ack_of_a_link_taken_away_since_moves_nothing() {
    let mut bench = Bench::webhook();
    bench.input(Input::AddStreams(vec![(name("manual/a"), None)]));
    bench.grow("manual/a", 1);
    assert!(bench.input(Input::RemoveStream(name("manual/a"))).head);
    let key = bench.key();
    assert!(bench.report(key, &[("manual/a", 1)], true).answer.is_ok());
}

#[test]
fn a_wake_that_waits_for_a_place_does_not_fail() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 1);
    let wake = bench.subscription.head.wake.as_mut().unwrap();
    wake.attempt = Attempt::Queued;
    for _ in 0..5 {
        let step = bench.pass(Duration::from_secs(30));
        assert!(step.head && !step.deliver && !step.stop);
    }
    let head = &bench.subscription.head;
    assert_eq!((head.generation, head.failures), (1, 0));
    bench.pass(Duration::from_secs(29));
    assert!(bench.subscription.begin_delivery(bench.now));
    let lease = bench.now.after(Duration::from_secs(30));
    assert_eq!(bench.subscription.next_timer(), Some(lease));
}

#[test]
fn a_callback_proves_that_the_worker_lives() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 1);
    bench.delivered(Outcome::Failed);
    let key = bench.key();
    bench.report(key.clone(), &[], false);
    assert_eq!(bench.subscription.status(), "active");
    assert!(!bench.pass(Duration::from_secs(20)).deliver);
    bench.grow("events/a", 2);
    let step = bench.report(key, &[("events/a", 1)], true);
    assert_eq!(step.answer, Ok(Answer::Acknowledged { next_wake: true }));
    assert!(step.deliver);
    let told = bench.subscription.infos();
    let key = bench.key();
    bench.report(key, &[], false);
    bench.delivered(Outcome::Failed);
    assert_eq!(bench.subscription.status(), "active");
    bench.delivered(Outcome::Done(told));
    assert_eq!(bench.acked("events/a"), Some(at(2)));
    assert_eq!(bench.subscription.head.wake, None);
}

#[test]
fn an_event_that_nobody_claims_on_is_written_again_later_and_later() {
    let mut bench = Bench::pull();
    bench.grow("events/a", 1);
    let created_at = Some(START);
    for wait in [30, 60, 60] {
        bench.delivered(Outcome::Written { created_at });
        let due = bench.now.after(Duration::from_secs(wait));
        assert_eq!(bench.subscription.next_timer(), Some(due));
        assert!(!bench.pass(Duration::from_secs(wait - 1)).deliver);
        assert!(bench.pass(Duration::from_secs(1)).deliver);
    }
    bench.delivered(Outcome::Written { created_at });
    assert_eq!(bench.subscription.head.generation, 1);
    bench.claim().unwrap();
    assert!(!bench.pass(Duration::from_secs(29)).deliver);
}

#[test]
fn an_event_that_went_with_its_wake_stream_is_written_again() {
    let mut bench = Bench::pull();
    bench.grow("events/a", 1);
    let created_at = Some(START);
    bench.delivered(Outcome::Written { created_at });
    let same = bench.input(Input::WakeStreamChanged { created_at });
    assert!(!same.deliver);
    let other = Some(START.after(Duration::from_secs(1)));
    let changed = Input::WakeStreamChanged { created_at: other };
    assert!(bench.input(changed).deliver);
}

#[test]
fn bytes_that_do_not_go_with_their_records_keep_nothing_pending() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 5);
    let key = bench.key();
    let ack = |records, bytes| Ack {
        stream: name("events/a"),
        offset: Some(Position::START.advanced(records, bytes)),
    };
    let mut report = |ack| {
        let (key, acks) = (key.clone(), vec![ack]);
        let done = false;
        bench.input(Input::Acknowledge { key, acks, done }).answer
    };
    assert!(report(ack(1, 51)).is_err());
    assert!(report(ack(1, 50)).is_ok());
    assert!(report(ack(4, 40)).is_ok());
    assert!(report(ack(5, 1)).is_ok());
    assert_eq!(bench.acked("events/a"), Some(at(5)));
}

#[test]
fn a_failed_delivery_is_retried_later_and_later() {
    let mut bench = Bench::webhook();
    bench.subscription.head.config.lease_ttl_ms = 600_000;
    bench.grow("events/a", 1);
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        let step = bench.delivered(Outcome::Failed);
        assert!(step.head && !step.deliver);
        assert_eq!(bench.subscription.status(), "failed");
        let due = bench.now.after(Duration::from_secs(wait));
        assert_eq!(bench.subscription.next_timer(), Some(due));
        assert!(!bench.pass(Duration::from_millis(wait * 1_000 - 1)).deliver);
        assert!(bench.pass(Duration::from_millis(1)).deliver);
    }
    assert_eq!(bench.subscription.head.generation, 1);
    bench.delivered(Outcome::Accepted);
    assert_eq!(bench.subscription.status(), "active");
}

#[test]
fn a_lease_that_runs_out_wakes_again_and_fences_the_old_worker() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 1);
    bench.delivered(Outcome::Accepted);
    let old = bench.key();
    assert_eq!(
        bench.subscription.next_timer(),
        Some(START.after(Duration::from_secs(30)))
    );
    let step = bench.pass(Duration::from_secs(30));
    assert!(step.deliver);
    assert_eq!(bench.subscription.head.generation, 2);
    let step = bench.report(old, &[("events/a", 1)], true);
    assert_eq!(step.answer, Err(Rejection::Fenced));
    assert_eq!(bench.acked("events/a"), None);
}

#[test]
fn a_lease_that_runs_out_during_a_delivery_counts_as_a_failure() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 1);
    let step = bench.pass(Duration::from_secs(30));
    assert!(step.stop && !step.deliver);
    assert_eq!(bench.subscription.status(), "failed");
    assert_eq!(bench.subscription.head.wake, None);
    let step = bench.pass(Duration::from_secs(1));
    assert!(step.deliver);
    assert_eq!(bench.subscription.head.generation, 2);
}

#[test]
fn the_end_of_a_lease_does_not_hasten_a_retry() {
    let mut bench = Bench::webhook();
    bench.subscription.head.failures = 6;
    bench.grow("events/a", 1);
    bench.delivered(Outcome::Failed);
    let due = START.after(Duration::from_secs(60));
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.subscription.head.wake, None);
    assert_eq!(bench.subscription.next_timer(), Some(due));
    assert!(!bench.pass(Duration::from_secs(29)).deliver);
    assert!(bench.pass(Duration::from_secs(1)).deliver);
}

#[test]
fn a_report_without_done_extends_the_lease() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 2);
    bench.delivered(Outcome::Accepted);
    bench.pass(Duration::from_secs(20));
    let key = bench.key();
    let step = bench.report(key.clone(), &[("events/a", 1)], false);
    assert_eq!(step.answer, Ok(Answer::Acknowledged { next_wake: false }));
    assert_eq!(step.links.len(), 1);
    bench.pass(Duration::from_secs(29));
    let step = bench.report(key, &[("events/a", 2)], true);
    assert!(step.answer.is_ok());
}

#[test]
fn an_ack_moves_forward_only_and_not_past_the_tail() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 5);
    let key = bench.key();
    bench.report(key.clone(), &[("events/a", 3)], false);
    let rejected = |step: Step| matches!(step.answer, Err(Rejection::InvalidOffset { .. }));
    let known = bench.report(key.clone(), &[("events/a", 2)], false);
    assert!(known.answer.is_ok() && known.links.is_empty());
    assert!(rejected(bench.report(
        key.clone(),
        &[("events/a", 6)],
        true
    )));
    assert!(rejected(bench.report(
        key.clone(),
        &[("others/b", 1)],
        true
    )));
    let whole = [("events/a", 4), ("events/a", 9)];
    assert!(rejected(bench.report(key.clone(), &whole, true)));
    assert_eq!(bench.acked("events/a"), Some(at(3)), "all acks or none");
    let beginning = Input::Acknowledge {
        key: key.clone(),
        acks: vec![Ack {
            stream: name("events/a"),
            offset: None,
        }],
        done: true,
    };
    assert!(rejected(bench.input(beginning)));
    assert!(
        bench
            .report(key, &[("events/a", 3), ("events/a", 5)], true)
            .answer
            .is_ok()
    );
}

#[test]
fn every_part_of_a_key_must_match() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 1);
    let good = bench.key();
    let other = || String::from("w_other");
    let wrong = [
        WakeKey {
            token_generation: 2,
            ..good.clone()
        },
        WakeKey {
            token_wake_id: other(),
            ..good.clone()
        },
        WakeKey {
            generation: 0,
            ..good.clone()
        },
        WakeKey {
            wake_id: other(),
            ..good.clone()
        },
    ];
    for key in wrong {
        let step = bench.report(key, &[("events/a", 1)], true);
        assert_eq!(step.answer, Err(Rejection::Fenced));
    }
    assert!(bench.report(good, &[("events/a", 1)], true).answer.is_ok());
}

#[test]
fn one_worker_holds_the_lease_of_a_pull_wake_subscription() {
    let mut bench = Bench::pull();
    assert_eq!(bench.claim(), Err(Rejection::NoPendingWork));
    assert!(bench.grow("events/a", 1).deliver);
    assert_eq!(bench.subscription.next_timer(), None, "unclaimed, it waits");
    bench.delivered(Outcome::Accepted);
    let claimed = bench.claim().unwrap();
    assert_eq!((claimed.generation, claimed.streams.len()), (1, 1));
    let busy = bench.claim().unwrap_err();
    assert!(
        matches!(busy, Rejection::AlreadyClaimed { generation: 1, .. }),
        "{busy:?}"
    );
    let key = bench.key();
    let step = bench.report(key, &[("events/a", 1)], true);
    assert_eq!(step.answer, Ok(Answer::Acknowledged { next_wake: false }));
    assert_eq!(bench.claim(), Err(Rejection::NoPendingWork));
}

#[test]
fn a_release_with_work_left_wakes_again() {
    let mut bench = Bench::pull();
    bench.grow("events/a", 1);
    bench.claim().unwrap();
    let key = bench.key();
    let step = bench.input(Input::Release { key: key.clone() });
    assert!(step.answer.is_ok() && step.deliver);
    assert_eq!(bench.subscription.head.generation, 2);
    let step = bench.input(Input::Release { key });
    assert_eq!(step.answer, Err(Rejection::Fenced));
}

#[test]
fn nobody_reports_for_a_wake_that_nobody_claimed() {
    let mut bench = Bench::pull();
    bench.grow("events/a", 1);
    let key = bench.key();
    let step = bench.report(key.clone(), &[("events/a", 1)], true);
    assert_eq!(step.answer, Err(Rejection::Fenced));
    assert_eq!(
        bench.input(Input::Release { key }).answer,
        Err(Rejection::Fenced)
    );
}

#[test]
fn a_claim_may_come_before_its_event_is_written() {
    let mut bench = Bench::pull();
    bench.grow("events/a", 1);
    bench.claim().unwrap();
    let step = bench.delivered(Outcome::Failed);
    assert!(!step.deliver, "the worker has it already");
    assert_eq!(bench.subscription.status(), "active");
}

#[test]
fn a_wake_whose_work_went_away_is_withdrawn() {
    let mut bench = Bench::pull();
    bench.grow("events/a", 1);
    bench.subscription.observe(&name("events/a"), None);
    let step = bench.input(Input::Proceed);
    assert!(step.head && step.stop);
    assert_eq!(bench.subscription.head.wake, None);
    assert!(bench.subscription.links.is_empty());
}

#[test]
fn an_event_that_could_not_be_written_is_when_the_wake_stream_changes() {
    let mut bench = Bench::pull();
    bench.grow("events/a", 1);
    assert!(!bench.delivered(Outcome::Failed).deliver);
    assert!(
        bench
            .input(Input::WakeStreamChanged {
                created_at: Some(START)
            })
            .deliver
    );
    assert!(
        !bench
            .input(Input::WakeStreamChanged {
                created_at: Some(START)
            })
            .deliver,
        "it is on its way"
    );
}

#[test]
fn explicit_links_begin_at_the_tail_and_others_at_the_start() {
    let mut bench = Bench::webhook();
    let added = vec![(name("manual/a"), facts(4)), (name("manual/b"), None)];
    let step = bench.input(Input::AddStreams(added));
    assert_eq!(step.links.len(), 2);
    assert!(!step.deliver, "what was there before is not replayed");
    let again = bench.input(Input::AddStreams(vec![(name("manual/a"), facts(4))]));
    assert!(again.is_volatile());
    assert!(bench.grow("manual/b", 1).deliver);
    assert_eq!(bench.acked("manual/a"), Some(at(4)));
    assert_eq!(bench.acked("manual/b"), None);
}

#[test]
fn removing_an_explicit_link_leaves_what_the_pattern_takes_in() {
    let mut bench = Bench::webhook();
    let added = vec![(name("manual/a"), facts(1)), (name("events/a"), facts(1))];
    bench.input(Input::AddStreams(added));
    bench.input(Input::RemoveStream(name("manual/a")));
    bench.input(Input::RemoveStream(name("events/a")));
    assert!(
        bench
            .input(Input::RemoveStream(name("manual/a")))
            .is_volatile()
    );
    let infos = bench.subscription.infos();
    let left: Vec<_> = infos
        .iter()
        .map(|info| (info.path.as_str(), info.link_type))
        .collect();
    assert_eq!(left, [("events/a", "glob")]);
}

#[test]
fn a_stream_that_was_made_anew_begins_at_its_start() {
    let mut bench = Bench::webhook();
    bench.input(Input::AddStreams(vec![(name("manual/a"), facts(4))]));
    let stream = name("manual/a");
    bench.subscription.observe(&stream, None);
    assert_eq!(bench.subscription.infos()[0].acked_offset, "-1");
    assert!(bench.grow("manual/a", 1).deliver);
}

#[test]
fn there_is_a_limit_to_streams() {
    let mut bench = Bench::webhook();
    let many = |from: u64| {
        (from..from + 6)
            .map(|n| (name(&n.to_string()), None))
            .collect()
    };
    assert!(bench.input(Input::AddStreams(many(0))).answer.is_ok());
    let step = bench.input(Input::AddStreams(many(6)));
    assert_eq!(step.answer, Err(Rejection::TooManyStreams { limit: 10 }));
    assert_eq!(bench.subscription.links.len(), 6);
    assert!(bench.input(Input::AddStreams(many(0))).answer.is_ok());
}

#[test]
fn a_stored_head_is_read_back_and_a_delivery_under_way_is_made_again() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 1);
    let stored = serde_json::to_vec(&bench.subscription.head).unwrap();
    let head: Head = serde_json::from_slice(&stored).unwrap();
    assert_eq!(head, bench.subscription.head);
    bench.subscription = Subscription::revived(head, bench.subscription.links.clone());
    let before = bench.key();
    assert!(bench.input(Input::Proceed).deliver);
    assert_eq!(bench.key(), before, "it is the same wake");
}

#[test]
fn a_configuration_is_the_same_in_any_order() {
    let config = |streams: &[&str]| {
        let mut config = Bench::webhook().subscription.head.config;
        config.streams = streams.iter().map(|text| name(text)).collect();
        config.normal()
    };
    assert_eq!(config(&["a", "b", "a"]).hash(), config(&["b", "a"]).hash());
    assert_ne!(config(&["a"]).hash(), config(&["b"]).hash());
}

#[test]
fn a_pattern_does_not_take_in_the_own_wake_stream() {
    let mut config = Bench::pull().subscription.head.config;
    config.pattern = Some("**".parse().unwrap());
    assert!(config.matches(&name("events/a")));
    assert!(!config.matches(&name("wake")));
}

#[test]
fn workers_are_told_of_pending_streams_first() {
    let mut links = Links::default();
    for n in 0..5 {
        links.insert(name(&format!("a{n}")), Link::at_tail(facts(1)));
    }
    links.observe(&name("z"), facts(1), true, None);
    let told = links.infos(2);
    let paths: Vec<_> = told.iter().map(|info| info.path.as_str()).collect();
    assert_eq!(paths, ["a0", "z"]);
}

/// Something that happens to a subscription.
#[derive(Clone, Debug)]
enum Happening {
    Grow(u8),
    Vanish(u8),
    Pass(u16),
    Claim,
    Report {
        fresh: bool,
        stream: u8,
        records: u64,
        done: bool,
    },
    Release,
    Delivered(u8),
    Add(u8),
    Remove(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0..3_u8).prop_map(Happening::Grow),
        (0..3_u8).prop_map(Happening::Vanish),
        (0..40_000_u16).prop_map(Happening::Pass),
        Just(Happening::Claim),
        (any::<bool>(), 0..3_u8, 0..6_u64, any::<bool>()).prop_map(
            |(fresh, stream, records, done)| Happening::Report {
                fresh,
                stream,
                records,
                done
            }
        ),
        Just(Happening::Release),
        (0..3_u8).prop_map(Happening::Delivered),
        (0..3_u8).prop_map(Happening::Add),
        (0..3_u8).prop_map(Happening::Remove),
    ]
}

fn happen(
    bench: &mut Bench,
    tails: &mut [u64; 3],
    last: &mut Option<WakeKey>,
    what: &Happening,
) -> Step {
    let stream = |n: u8| format!("events/{n}");
    match *what {
        Happening::Grow(n) => {
            tails[usize::from(n)] += 1;
            bench.grow(&stream(n), tails[usize::from(n)])
        }
        Happening::Vanish(n) => {
            tails[usize::from(n)] = 0;
            bench.subscription.observe(&name(&stream(n)), None);
            bench.input(Input::Proceed)
        }
        Happening::Pass(millis) => bench.pass(Duration::from_millis(millis.into())),
        Happening::Claim => bench.input(Input::Claim { worker: "w".into() }),
        Happening::Report {
            fresh,
            stream: n,
            records,
            done,
        } => {
            let current = bench.subscription.head.wake.is_some().then(|| bench.key());
            let key = if fresh { current.clone() } else { last.clone() };
            *last = current;
            match key {
                Some(key) => bench.report(key, &[(&stream(n), records)], done),
                None => bench.input(Input::Proceed),
            }
        }
        Happening::Release => match bench.subscription.head.wake.is_some().then(|| bench.key()) {
            Some(key) => bench.input(Input::Release { key }),
            None => bench.input(Input::Proceed),
        },
        Happening::Delivered(how) => {
            let told = bench.subscription.infos();
            let outcome = match how {
                0 => Outcome::Accepted,
                1 => Outcome::Done(told),
                _ => Outcome::Failed,
            };
            match &bench.subscription.head.wake {
                Some(_) => bench.delivered(outcome),
                None => bench.input(Input::Proceed),
            }
        }
        Happening::Add(n) => {
            let tail = tails[usize::from(n)];
            bench.input(Input::AddStreams(vec![(name(&stream(n)), facts(tail))]))
        }
        Happening::Remove(n) => bench.input(Input::RemoveStream(name(&stream(n)))),
    }
}

proptest! {
    #[test]
    fn the_invariants_hold_whatever_happens(pull in any::<bool>(), all in prop::collection::vec(happening(), 1..60)) {
        let mut bench = if pull { Bench::pull() } else { Bench::webhook() };
        let mut tails = [0; 3];
        let mut last = None;
        for what in &all {
            let before = bench.subscription.clone();
            let step = happen(&mut bench, &mut tails, &mut last, what);
            let (old, new) = (&before.head, &bench.subscription.head);
            prop_assert!(new.generation >= old.generation);
            let same_wake = old.wake.as_ref().map(|wake| &wake.id) == new.wake.as_ref().map(|wake| &wake.id);
            if new.wake.is_some() {
                prop_assert_eq!(same_wake, new.generation == old.generation, "a wake has its own generation");
            }
            // What is stored is what was said to be; only the lease begins anew with a delivery, and need not be stored for that.
            prop_assert!(step.head || (old.wake.as_ref().map(|wake| (&wake.id, &wake.holder, wake.lease_until.filter(|_| !step.deliver)))
                == new.wake.as_ref().map(|wake| (&wake.id, &wake.holder, wake.lease_until.filter(|_| !step.deliver)))
                && old.generation == new.generation && old.next_attempt_at == new.next_attempt_at));
            for (stream, link) in bench.subscription.links.iter() {
                prop_assert!(link.acked.is_none_or(|acked| acked <= link.tail));
                if let Some(earlier) = before.links.get(stream)
                    && earlier.created_at == link.created_at
                {
                    prop_assert!(link.acked >= earlier.acked, "a cursor went back");
                    prop_assert!(link.acked == earlier.acked || step.links.contains(stream));
                }
            }
            if step.deliver {
                prop_assert!(new.wake.as_ref().is_some_and(|wake| wake.attempt == Attempt::InFlight));
                prop_assert!(new.next_attempt_at.is_none_or(|at| at <= bench.now), "too early");
            }
            // Work never waits for nothing.
            let waits_for_delivery = new.wake.as_ref().is_some_and(|wake| wake.attempt == Attempt::InFlight);
            let waits_for_claim = pull && new.wake.as_ref().is_some_and(|wake| wake.attempt == Attempt::Accepted);
            if bench.subscription.links.first_pending().is_some() && !waits_for_delivery && !waits_for_claim {
                prop_assert!(bench.subscription.next_timer().is_some_and(|due| due > bench.now));
            }
        }
    }
}

#[test]
fn offsets_are_told_as_text() {
    let mut bench = Bench::webhook();
    bench.grow("events/a", 2);
    let told = serde_json::to_value(bench.subscription.infos()).unwrap();
    assert_eq!(
        told[0],
        serde_json::json!({
            "path": "events/a",
            "link_type": "glob",
            "acked_offset": "-1",
            "tail_offset": "0000000000000002_0000000000000020",
            "has_pending": true,
        })
    );
    assert_eq!(Offset(2), at(2).offset);
}
