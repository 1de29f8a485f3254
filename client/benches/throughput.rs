//! How fast the hot paths are, in records per second of processor time.
//!
//! `cargo bench -p streamkeeper-client`
//!
//! The client runs on one thread of its own with a single-threaded runtime, whose processor time the kernel tells; a
//! plain thread plays a server that only reads and confirms. Wall time is shown too, but means little on a busy
//! machine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "measurements report, and fail when they fail"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use streamkeeper_client::{Client, SubscribeOptions};
use streamkeeper_protocol::command::Storage;
use streamkeeper_protocol::event::{
    ConfirmEntry, Connected, Deliver, Info, Status, Subscribed, confirm,
};
use streamkeeper_protocol::limits::{FRAME_BYTES_MAX, Limits, VERSION};
use streamkeeper_protocol::{Command, Event, RecordBlock, Run, frame};

const RECORD_BYTES: usize = 256;

/// A server that reads, confirms and delivers.
#[derive(Default)]
struct Server {
    tail: u64,
    feed: Feed,
}

impl Server {
    /// Answers one connection until it ends.
    fn serve(mut self, mut socket: TcpStream) {
        socket.set_nodelay(true).unwrap();
        let mut out = BytesMut::new();
        Event::Info(info()).encode(0, &mut out);
        socket.write_all(&out).unwrap();
        let mut received = BytesMut::new();
        let mut chunk = vec![0; 1 << 18];
        let mut entries = Vec::new();
        loop {
            let Ok(read @ 1..) = socket.read(&mut chunk) else {
                return;
            };
            received.put_slice(chunk.get(..read).unwrap());
            out.clear();
            while let Some(frame) = frame::split(&mut received, FRAME_BYTES_MAX).unwrap() {
                let command = Command::decode(&frame).unwrap();
                entries.extend(self.answer(frame.header.correlation, command, &mut out));
            }
            confirm::encode(&entries, &mut out);
            entries.clear();
            self.feed.fill(&mut out);
            if socket.write_all(&out).is_err() {
                return;
            }
        }
    }

    fn answer(
        &mut self,
        correlation: u32,
        command: Command,
        out: &mut BytesMut,
    ) -> Option<ConfirmEntry> {
        match command {
            Command::Connect(_) => {
                let connected = Connected {
                    session: 1,
                    version: VERSION,
                };
                Event::Connected(connected).encode(0, out);
            }
            Command::Stat(_) => Event::Status(status()).encode(correlation, out),
            Command::Append(append) => {
                self.tail += u64::from(append.count);
                let tail = self.tail;
                return Some(ConfirmEntry {
                    correlation,
                    duplicate: false,
                    closed: false,
                    tail,
                });
            }
            Command::Subscribe(subscribe) => {
                let subscription = subscribe.subscription;
                let reply = Subscribed {
                    subscription,
                    next: 0,
                    tail: 0,
                };
                Event::Subscribed(reply).encode(correlation, out);
                self.feed.credit = i64::try_from(subscribe.credit).unwrap();
                self.feed.subscription = subscription;
            }
            Command::Credit(credit) => self.feed.credit += i64::try_from(credit.bytes).unwrap(),
            _ => {}
        }
        None
    }
}

fn info() -> Info {
    Info {
        server_id: "s".into(),
        server_version: "0".into(),
        version_min: VERSION,
        version_max: VERSION,
        heartbeat_ms: 60_000,
        auth_required: false,
        limits: Limits::default(),
        features: None,
    }
}

fn status() -> Status {
    Status {
        content_type: "text/plain".into(),
        created_at: 0,
        closed: false,
        storage: Storage::Memory,
        earliest: 0,
        earliest_byte: 0,
        tail: 0,
        tail_byte: 0,
        ttl_seconds: None,
        expires_at: None,
        max_age_ms: None,
        max_records: None,
        max_bytes: None,
        last_seq: None,
        last_append_at: None,
    }
}

/// Deliveries without end, within credit.
struct Feed {
    subscription: u32,
    credit: i64,
    next: u64,
    block: RecordBlock,
}

impl Default for Feed {
    fn default() -> Self {
        let block = RecordBlock::from_payloads(vec![[7; RECORD_BYTES]; 240]);
        Self {
            subscription: 0,
            credit: 0,
            next: 0,
            block,
        }
    }
}

impl Feed {
    fn fill(&mut self, out: &mut BytesMut) {
        while self.credit > 0 {
            let run = Run::new(&self.block, self.next, self.next * RECORD_BYTES as u64, 1);
            let mut runs = BytesMut::new();
            run.encode(&mut runs);
            self.credit -= i64::try_from(runs.len()).unwrap();
            self.next = run.header.next_offset();
            let (subscription, runs) = (self.subscription, runs.freeze());
            Event::Deliver(Deliver { subscription, runs }).encode(0, out);
        }
    }
}

fn server() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (
        address,
        std::thread::spawn(move || Server::default().serve(listener.accept().unwrap().0)),
    )
}

/// Processor time of this thread so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// Runs `work` over `records` records and reports.
fn measure(name: &str, records: u64, work: impl AsyncFnOnce(Client)) {
    let (address, server) = server();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Client::builder()
            .in_flight_requests_max(16_384)
            .connect(&address);
        let client = client.await.unwrap();
        let (cpu, wall) = (processor_time(), Instant::now());
        work(client).await;
        let (cpu, wall) = (processor_time().saturating_sub(cpu), wall.elapsed());
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = |time: Duration| records as f64 / time.as_secs_f64();
        println!(
            "{name}: {:.0} records/s of processor time, {:.0} records/s of wall time",
            rate(cpu),
            rate(wall)
        );
        // A tenth of the goal: fails only if something is badly wrong.
        assert!(rate(cpu) > 50_000.0);
    });
    drop(runtime);
    server.join().unwrap();
}

fn producer() {
    const RECORDS: u64 = 2_000_000;
    measure("producer", RECORDS, async |client| {
        let producer = client.producer("orders").open().await.unwrap();
        let payload = [7; RECORD_BYTES];
        for _ in 0..RECORDS {
            producer.send(&payload).await.unwrap();
        }
        producer.close().await.unwrap();
    });
}

fn pipeline() {
    const RECORDS: u64 = 1_000_000;
    measure("pipeline", RECORDS, async |client| {
        let (pipeline, mut confirms) = client.pipeline("orders", 8_192);
        let payload = [7; RECORD_BYTES];
        let send = async {
            for n in 0..RECORDS {
                pipeline.append(&payload, n).await.unwrap();
            }
            drop(pipeline);
        };
        let take = async {
            let mut outcomes = Vec::new();
            while confirms.take(&mut outcomes).await > 0 {
                outcomes.clear();
            }
        };
        tokio::join!(send, take);
    });
}

fn tickets() {
    const RECORDS: u64 = 1_000_000;
    measure("tickets", RECORDS, async |client| {
        let stream = streamkeeper_client::Str::from("orders");
        let payload = [7; RECORD_BYTES];
        let mut waiting = std::collections::VecDeque::new();
        for _ in 0..RECORDS {
            if waiting.len() == 8_192 {
                let ticket: streamkeeper_client::Ticket = waiting.pop_front().unwrap();
                ticket.await.unwrap();
            }
            waiting.push_back(
                client
                    .append_pipelined(stream.clone(), &payload)
                    .await
                    .unwrap(),
            );
        }
        for ticket in waiting {
            ticket.await.unwrap();
        }
    });
}

fn subscription() {
    const RECORDS: u64 = 2_000_000;
    measure("subscription", RECORDS, async |client| {
        let mut subscription = client
            .subscribe("orders", SubscribeOptions::new())
            .await
            .unwrap();
        for _ in 0..RECORDS {
            subscription.next().await.unwrap().unwrap();
        }
    });
}

fn main() {
    producer();
    pipeline();
    tickets();
    subscription();
}
