//! The paths that are counted. Inputs are fixed; what is counted sits in functions of ours that are never inlined and hold no
//! closure, so that callgrind finds each under exactly one name.

use std::time::Duration;

use bytes::BytesMut;
use streamkeeper::rules::{self, Command, Context, RuleLimits, StreamState};
use streamkeeper::store::codec::RowBuilder;
use streamkeeper::types::{
    AppendOptions, CreateOptions, Position, RecordBlock, StreamId, Timestamp,
};
use streamkeeper_protocol::Event;
use streamkeeper_protocol::command::{Start, Subscribe};

use crate::http;
use crate::peer::{
    Peer, RECORD, appends, broker, counted_confirm, counted_deliver, counted_receive,
    let_others_rest,
};

/// One path.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) name: &'static str,
    pub(crate) scope: Scope,
    /// Operations of a round.
    pub(crate) operations: u64,
    /// Does so many rounds.
    pub(crate) run: fn(u64),
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope {
    /// What runs within this function.
    Function(&'static str),
    /// Everything, on all threads, that one more round takes.
    Process,
}

/// Appends of a round, all in one commit.
const APPENDS: u32 = 256;

/// Subscribers that a record is delivered to.
const SUBSCRIBERS: u32 = 100;

/// Records of a journal row: as many as fill one.
const ROW_RECORDS: u32 = 240;

pub(crate) const PATHS: &[Path] = &[
    Path {
        name: "receive",
        scope: Scope::Function("counted_receive"),
        operations: APPENDS as u64,
        run: append,
    },
    Path {
        name: "append",
        scope: Scope::Process,
        operations: APPENDS as u64,
        run: append,
    },
    Path {
        name: "confirm",
        scope: Scope::Function("counted_confirm"),
        operations: APPENDS as u64,
        run: append,
    },
    Path {
        name: "deliver",
        scope: Scope::Function("counted_deliver"),
        operations: SUBSCRIBERS as u64,
        run: deliver,
    },
    Path {
        name: "decide",
        scope: Scope::Function("counted_decide"),
        operations: APPENDS as u64,
        run: decide,
    },
    Path {
        name: "row",
        scope: Scope::Function("counted_row"),
        operations: ROW_RECORDS as u64,
        run: row,
    },
    Path {
        name: "http",
        scope: Scope::Function("counted_poll"),
        operations: http::POSTS,
        run: http::post,
    },
];

pub(crate) fn on_one_thread(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work);
}

fn append(rounds: u64) {
    on_one_thread(async {
        let (broker, _directory) = broker().await;
        let mut peer = Peer::connected(&broker).await;
        peer.create("orders").await;
        let frames = appends("orders", APPENDS);
        for _ in 0..rounds {
            let mut bytes = BytesMut::from(&frames[..]);
            let_others_rest();
            counted_receive(&mut peer.session, &mut bytes, &mut peer.out);
            peer.session.kick();
            peer.answered(counted_confirm).await;
        }
        broker.close_all().await;
    });
}

fn deliver(rounds: u64) {
    on_one_thread(async {
        let (broker, _directory) = broker().await;
        let mut publisher = Peer::connected(&broker).await;
        publisher.create("orders").await;
        let mut peer = Peer::connected(&broker).await;
        for subscription in 1..=SUBSCRIBERS {
            let subscribe = Subscribe {
                subscription,
                stream: "orders".into(),
                start: Start::Now,
                credit: u64::MAX / 2,
            };
            peer.ask(&streamkeeper_protocol::Command::Subscribe(subscribe));
            peer.until(|event| matches!(event, Event::Subscribed(_)))
                .await;
        }
        let frames = appends("orders", 1);
        for _ in 0..rounds {
            let mut bytes = BytesMut::from(&frames[..]);
            counted_receive(&mut publisher.session, &mut bytes, &mut publisher.out);
            publisher.session.kick();
            publisher
                .until(|event| matches!(event, Event::Confirm(_)))
                .await;
            let mut delivered = 0;
            while delivered < SUBSCRIBERS as usize {
                delivered += peer.events(counted_deliver).await.len();
            }
        }
        broker.close_all().await;
    });
}

fn context(next: u64) -> Context {
    Context {
        now: Timestamp(1_000_000_000),
        next_id: StreamId(next),
        limits: RuleLimits {
            producer_idle: Duration::from_secs(3600),
            ..RuleLimits::default()
        },
    }
}

fn decide(rounds: u64) {
    let mut state = None;
    let create = Command::create(CreateOptions::default());
    let decision = rules::decide(None, create, &context(1)).expect("created");
    for effect in &decision.effects {
        rules::apply(&mut state, effect);
    }
    let batch = RecordBlock::from_payloads([RECORD]);
    let context = context(2);
    for _ in 0..rounds * u64::from(APPENDS) {
        let command = Command::Append {
            batch: batch.clone(),
            options: AppendOptions::default(),
        };
        counted_decide(&mut state, command, &context);
    }
    assert_eq!(
        state.map(|state| state.tail.offset.0),
        Some(rounds * u64::from(APPENDS))
    );
}

#[inline(never)]
fn counted_decide(state: &mut Option<StreamState>, command: Command, context: &Context) {
    let decision = rules::decide(state.as_ref(), command, context).expect("accepted");
    for effect in &decision.effects {
        rules::apply(state, effect);
    }
}

fn row(rounds: u64) {
    let batch = RecordBlock::from_payloads([RECORD]);
    for _ in 0..rounds {
        let bytes = counted_row(&batch);
        assert!(bytes.len() > RECORD.len() * ROW_RECORDS as usize);
    }
}

#[inline(never)]
fn counted_row(batch: &RecordBlock) -> bytes::Bytes {
    let mut row = RowBuilder::with_capacity(64 << 10);
    row.begin_run(StreamId(1), Position::START, Timestamp(1_000_000_000));
    for _ in 0..ROW_RECORDS {
        row.push_records(batch);
    }
    row.end_run();
    row.finish()
}
