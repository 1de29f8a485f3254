//! One round of load: clients with their streams, shared streams and subscribers, until the broker is killed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use streamkeeper_client::{
    Client, EndReason, Error, ErrorCode, Reconnect, Start, SubscribeOptions,
};
use tokio::task::JoinSet;

use crate::door::Door;
use crate::found::fail;
use crate::history::{Delivered, Written};
use crate::http::Http;
use crate::owned::{Owned, usize_of};
use crate::random::Random;
use crate::shared::Shared;
use crate::writer::Lost;

/// What subscribers were given in one round, by stream.
pub type Deliveries = Arc<Mutex<HashMap<String, Vec<Delivered>>>>;

/// Subscribers of each client.
const SUBSCRIBERS: u64 = 6;

/// A load that runs until its connections are lost.
#[derive(Debug)]
pub struct Load {
    writers: JoinSet<Owned>,
    others: JoinSet<()>,
    deliveries: Deliveries,
}

/// A client that does not reconnect: with its connection its round ends.
pub async fn connect(address: &str) -> Client {
    let client = Client::builder().reconnect(Reconnect::never());
    client.connect(address).await.expect("the broker accepts")
}

/// A connection over HTTP.
pub async fn connect_http(address: &str) -> Http {
    let connected = Http::connect(address).await;
    connected.expect("the broker accepts")
}

impl Load {
    /// Starts `clients` connections over TCP that share the streams among themselves. Of the writers some take HTTP
    /// instead, each on a connection of its own.
    pub async fn start(
        address: &str,
        http: &str,
        clients: u16,
        owned: Vec<Owned>,
        shared: &[Arc<Shared>],
        random: &Random,
    ) -> Self {
        let mut load = Self {
            writers: JoinSet::new(),
            others: JoinSet::new(),
            deliveries: Deliveries::default(),
        };
        let names: Vec<String> = owned.iter().map(|stream| stream.name.clone()).collect();
        let mut connected = Vec::new();
        for _ in 0..clients {
            connected.push(connect(address).await);
        }
        for (mut stream, client) in owned.into_iter().zip(connected.iter().cycle().cloned()) {
            let mut random = random.fork(u64::from(stream.number));
            let by_http = Door::Http(connect_http(http).await);
            let takes_http = random.chance(50) && stream.can_resume_with(by_http.records_max());
            let door = if takes_http {
                by_http
            } else {
                Door::Tcp(client)
            };
            load.writers.spawn(async move {
                let Lost = stream.write(&door, &mut random).await;
                stream
            });
        }
        for (writer, client) in (0..).zip(&connected) {
            for stream in shared {
                let doors = [
                    Door::Tcp(client.clone()),
                    Door::Http(connect_http(http).await),
                ];
                for (writer, door) in [writer, clients + writer].into_iter().zip(doors) {
                    let random =
                        random.fork(1 << 20 | u64::from(stream.number) << 8 | u64::from(writer));
                    let stream = Arc::clone(stream);
                    load.others.spawn(stream.write(door, writer, random));
                }
            }
            for number in 0..SUBSCRIBERS {
                let mut random = random.fork(1 << 30 | u64::from(writer) << 8 | number);
                let mut all = names.iter().chain(shared.iter().map(|stream| &stream.name));
                let at = random.below((names.len() + shared.len()) as u64);
                let name = all.nth(usize_of(at)).cloned();
                let subscriber = Subscriber {
                    name: name.expect("drawn below the length"),
                    client: client.clone(),
                    deliveries: Arc::clone(&load.deliveries),
                };
                load.others.spawn(subscriber.run(random));
            }
        }
        load
    }

    /// Waits until every task saw its connection lost. Answers the streams, and what subscribers were given.
    pub async fn end(mut self) -> (Vec<Owned>, HashMap<String, Vec<Delivered>>) {
        while let Some(ended) = self.others.join_next().await {
            ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
        let mut streams = Vec::new();
        while let Some(ended) = self.writers.join_next().await {
            let stream =
                ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            streams.push(stream);
        }
        streams.sort_by_key(|stream| stream.number);
        (streams, std::mem::take(&mut *self.deliveries.lock()))
    }
}

/// Follows one stream again and again, and remembers what it was given.
struct Subscriber {
    name: String,
    client: Client,
    deliveries: Deliveries,
}

impl Subscriber {
    async fn run(self, mut random: Random) {
        loop {
            let from = if random.chance(50) {
                Start::Beginning
            } else {
                Start::Now
            };
            let options = SubscribeOptions::new()
                .from(from)
                .window_bytes(random.between(1, 1 << 18));
            let subscription = self.client.subscribe(self.name.as_str(), options).await;
            let mut records = match subscription {
                Ok(records) => records,
                Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    continue;
                }
                Err(error) => {
                    assert!(error.refusal().is_none(), "{}: {error}", self.name);
                    return;
                }
            };
            let mut given = Delivered {
                first: records.next_offset(),
                ..Delivered::default()
            };
            let end = loop {
                match records.next().await {
                    Some(Ok(record)) => self.take(&mut given, record.offset, &record.payload),
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            };
            let over = self.note_end(&mut given, end.as_ref());
            self.keep(given);
            if over {
                return;
            }
        }
    }

    fn take(&self, given: &mut Delivered, offset: u64, payload: &[u8]) {
        let name = &self.name;
        assert_eq!(offset, given.tail(), "{name}: a gap or a duplicate");
        let written = Written::of(payload);
        let written =
            written.unwrap_or_else(|| fail(&format!("{name}@{offset}: {payload:?} is torn")));
        let life = given.life().unwrap_or(written.tag.life);
        assert_eq!(
            life, written.tag.life,
            "{name}@{offset}: of another incarnation"
        );
        given.records.push(written);
    }

    /// Notes why it ended. True if nothing more is to be followed.
    fn note_end(&self, given: &mut Delivered, end: Option<&Error>) -> bool {
        match end {
            None => given.closed = true,
            Some(Error::Ended { reason, .. }) => match reason {
                EndReason::Deleted => given.deleted = true,
                EndReason::TrimmedPast => {}
                _ => fail(&format!("{}: {end:?}", self.name)),
            },
            Some(error) => {
                let broken = matches!(error, Error::Corrupt { .. } | Error::Protocol { .. });
                assert!(
                    !broken && error.refusal().is_none(),
                    "{}: {error}",
                    self.name
                );
                return true;
            }
        }
        // A closed stream would be read again for ever.
        given.closed
    }

    fn keep(&self, given: Delivered) {
        if given.life().is_some() {
            let mut deliveries = self.deliveries.lock();
            deliveries.entry(self.name.clone()).or_default().push(given);
        }
    }
}
