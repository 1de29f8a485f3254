//! A session with its broker, driven as a connection drives it, but for the socket.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::session::{SLICES_MAX, Session, SessionContext, SessionOptions, WriteBuffer};
use streamkeeper_protocol::command::{Append, Connect, Create};
use streamkeeper_protocol::{Command, Event, RecordBlock, frame};

pub(crate) const RECORD: [u8; 256] = [0x5A; 256];

/// More than any turn of a session writes here.
const ROOM_BYTES: usize = 64 << 10;

/// A broker with its files in a fresh directory. It folds when there is enough to fold: how often it does so by the clock depends on how
/// fast the machine is just then.
pub(crate) async fn broker() -> (Broker, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = BrokerOptions::in_directory(directory.path());
    options.fold_interval = Duration::from_secs(3_600);
    (Broker::open(options).await.expect("opened"), directory)
}

/// Lets other threads run until they wait: valgrind runs one at a time, so each has had its turn after some of these. The
/// committer must be at rest before appends are laid before it, or it would take them in more than one commit.
pub(crate) fn let_others_rest() {
    for _ in 0..100 {
        std::thread::yield_now();
    }
}

/// See the module.
pub(crate) struct Peer {
    pub(crate) session: Session,
    pub(crate) out: WriteBuffer,
}

impl Peer {
    pub(crate) async fn connected(broker: &Broker) -> Self {
        let context = SessionContext {
            broker: broker.clone(),
            options: SessionOptions::default(),
        };
        let mut peer = Self {
            session: Session::new(1, Arc::new(context)),
            out: WriteBuffer::default(),
        };
        peer.session.greet(&mut peer.out);
        let connect = Connect {
            version: streamkeeper_protocol::limits::VERSION,
            name: "counted".into(),
            library: "counted".into(),
            library_version: "0".into(),
            token: None,
        };
        peer.ask(&Command::Connect(connect));
        peer.until(|event| matches!(event, Event::Connected(_)))
            .await;
        peer
    }

    pub(crate) async fn create(&mut self, stream: &str) {
        let create = Create {
            stream: stream.into(),
            ..Create::default()
        };
        self.ask(&Command::Create(create));
        self.until(|event| matches!(event, Event::Created(_))).await;
    }

    /// Sends one command.
    pub(crate) fn ask(&mut self, command: &Command) {
        let mut bytes = BytesMut::new();
        command.encode(1, &mut bytes);
        let frame = frame::split(&mut bytes, u32::MAX)
            .expect("a frame")
            .expect("a whole one");
        self.session
            .receive(&frame, &mut self.out)
            .expect("accepted");
        self.session.kick();
    }

    /// Waits until an event is as wanted.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Event) -> bool) {
        while !self.events(Session::settle).await.iter().any(&wanted) {}
    }

    /// The next events, made by `settle`, which is [`Session::settle`] or a counted name of it.
    pub(crate) async fn events(&mut self, settle: Settle) -> Vec<Event> {
        self.settled(settle).await;
        let mut received = BytesMut::new();
        self.written(|slice| received.extend_from_slice(slice));
        let mut events = Vec::new();
        while let Some(frame) = frame::split(&mut received, u32::MAX).expect("whole frames") {
            events.push(Event::decode(&frame).expect("an event"));
        }
        events
    }

    /// Waits until all that was submitted is answered, and takes the answers as written.
    pub(crate) async fn answered(&mut self, settle: Settle) {
        while self.session.completed() < self.session.submitted() {
            self.settled(settle).await;
            self.written(|_| ());
        }
    }

    /// Waits until there is something to write. There is room for it beforehand: what it takes to grow a buffer depends on
    /// what lies behind it on the heap, which other threads decide, and that moved a count by 4 %.
    async fn settled(&mut self, settle: Settle) {
        std::future::poll_fn(|cx| {
            self.session.outbox().register(cx.waker());
            self.out.tail().reserve(ROOM_BYTES);
            settle(&mut self.session, &mut self.out);
            if self.out.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    /// Takes what there is to write.
    fn written(&mut self, mut take: impl FnMut(&[u8])) {
        while !self.out.is_empty() {
            let mut slices = [std::io::IoSlice::new(&[]); SLICES_MAX];
            let slices = self.out.slices(&mut slices);
            for slice in slices {
                take(slice);
            }
            let written = slices.iter().map(|slice| slice.len()).sum();
            self.out.advance(written);
        }
    }
}

/// [`Session::settle`], or a counted name of it.
pub(crate) type Settle = fn(&mut Session, &mut WriteBuffer);

/// Frames of `count` appends of one record each.
pub(crate) fn appends(stream: &str, count: u32) -> Bytes {
    let block = RecordBlock::from_payloads([RECORD]);
    let mut bytes = BytesMut::new();
    for correlation in 1..=count {
        let append = Append {
            stream: stream.into(),
            seq: None,
            producer: None,
            expected_tail: None,
            close_after: false,
            no_confirm: false,
            count: 1,
            records: block.bytes().clone(),
        };
        Command::Append(append).encode(correlation, &mut bytes);
    }
    bytes.freeze()
}

/// From bytes to the write queue.
#[inline(never)]
pub(crate) fn counted_receive(session: &mut Session, bytes: &mut BytesMut, out: &mut WriteBuffer) {
    while let Some(frame) = frame::split(bytes, u32::MAX).expect("whole frames") {
        session.receive(&frame, out).expect("accepted");
    }
}

/// From the outbox to bytes.
#[inline(never)]
pub(crate) fn counted_confirm(session: &mut Session, out: &mut WriteBuffer) {
    session.settle(out);
}

/// From cursors to bytes: the same, under a name of its own.
#[inline(never)]
pub(crate) fn counted_deliver(session: &mut Session, out: &mut WriteBuffer) {
    std::hint::black_box(&session);
    session.settle(out);
}
