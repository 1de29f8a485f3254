//! A TCP proxy in front of the broker that breaks connections, each at a place that its number and the seed decide.
//!
//! Its address stays when the broker takes another port, so clients that reconnect find their way. A connection is broken
//! after so many bytes of requests (in the middle of a frame), after so many bytes of answers (before an answer, or within
//! it), or goes deaf: requests still arrive and take effect, answers do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::random::Random;

/// No end of it.
const ENDLESS: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub struct Proxy {
    pub address: String,
    pub broken: Arc<AtomicU64>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
struct Fate {
    request_bytes: u64,
    answer_bytes: u64,
    /// How long requests go on when the last answer has come.
    deaf: Duration,
}

impl Fate {
    fn of(random: &mut Random) -> Self {
        let bytes = random.between(300, 30_000);
        let (request_bytes, answer_bytes) = match random.below(5) {
            0 => (ENDLESS, ENDLESS),
            1 | 2 => (bytes, ENDLESS),
            // Answers are short: so many are the answers to many requests.
            _ => (ENDLESS, 300 + bytes / 8),
        };
        let millis = if random.chance(50) {
            random.below(40)
        } else {
            0
        };
        Self {
            request_bytes,
            answer_bytes,
            deaf: Duration::from_millis(millis),
        }
    }
}

impl Proxy {
    /// Starts one in front of whatever broker `place` names.
    pub async fn start(place: watch::Receiver<Option<String>>, random: Random) -> Self {
        let bound = TcpListener::bind("127.0.0.1:0").await;
        let listener = bound.expect("a port is free");
        let address = listener
            .local_addr()
            .expect("it has an address")
            .to_string();
        let broken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&broken);
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                number += 1;
                let fate = Fate::of(&mut random.fork(number));
                let upstream = place.borrow().clone();
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    if let Some(upstream) = upstream
                        && let Ok(broker) = TcpStream::connect(&upstream).await
                        && serve(client, broker, fate).await == End::Spent
                    {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { address, broken }
    }
}

/// Why no more bytes go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// One side closed.
    Closed,
    /// As many went as were to go.
    Spent,
}

/// Passes bytes until the connection's fate is met. Both sides are closed then, by being dropped.
async fn serve(client: TcpStream, broker: TcpStream, fate: Fate) -> End {
    // Bytes are passed as they come; without this the proxy would be slow where the broker is not.
    client.set_nodelay(true).ok();
    broker.set_nodelay(true).ok();
    let (mut client_in, mut client_out) = client.into_split();
    let (mut broker_in, mut broker_out) = broker.into_split();
    let answers = async {
        let end = pass(&mut broker_in, &mut client_out, fate.answer_bytes).await;
        if end == End::Spent {
            // Answers that come now are taken from the broker and lost.
            let lost = swallow(&mut broker_in);
            timeout(fate.deaf, lost).await.ok();
        }
        end
    };
    let requests = async {
        let end = pass(&mut client_in, &mut broker_out, fate.request_bytes).await;
        if end == End::Spent && !fate.deaf.is_zero() {
            sleep(fate.deaf / 8).await;
        }
        end
    };
    tokio::select! {
        end = answers => end,
        end = requests => end,
    }
}

async fn pass(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, bytes: u64) -> End {
    let mut left = bytes;
    let mut buffer = vec![0; 16 << 10];
    while left > 0 {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return End::Closed;
        };
        let passed = usize::try_from(left).map_or(read, |left| left.min(read));
        let Some(piece) = buffer.get(..passed) else {
            return End::Closed;
        };
        if to.write_all(piece).await.is_err() {
            return End::Closed;
        }
        left -= passed as u64;
    }
    End::Spent
}

async fn swallow(from: &mut OwnedReadHalf) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(1..) = from.read(&mut buffer).await {}
}
