//! Subscribers that read nothing once they are subscribed: on the socket, not for want of credit. The client library reads on its own, so
//! these speak frames.

use bytes::{Bytes, BytesMut};
use streamkeeper_protocol::command::{Connect, Start, Subscribe};
use streamkeeper_protocol::limits::VERSION;
use streamkeeper_protocol::{Command, Event, frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::broker::Broker;
use crate::cli::failure::Failure;

/// What the system keeps for one of them, so that little makes it stall.
const RECEIVE_BYTES: u32 = 4096;

/// More credit than is ever used.
const CREDIT: u64 = 1 << 40;

/// So many connections, each subscribed to `stream` from its beginning.
pub(super) async fn subscribe(
    broker: &Broker,
    stream: &str,
    number: u64,
) -> Result<Vec<TcpStream>, Failure> {
    let mut stalled = Vec::new();
    for _ in 0..number {
        stalled.push(subscribe_one(broker, stream).await?);
    }
    Ok(stalled)
}

async fn subscribe_one(broker: &Broker, stream: &str) -> Result<TcpStream, Failure> {
    let failed = |error| Failure::io("a subscriber that does not read", error);
    let mut addresses = lookup_host(broker.address()).await.map_err(failed)?;
    let address = addresses
        .next()
        .ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))?;
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let socket = socket.map_err(failed)?;
    socket.set_recv_buffer_size(RECEIVE_BYTES).map_err(failed)?;
    let mut socket = socket.connect(address).await.map_err(failed)?;
    let mut frames = BytesMut::new();
    for (correlation, command) in [(1, connect(broker)), (2, subscription(stream))] {
        command.encode(correlation, &mut frames);
    }
    socket.write_all(&frames).await.map_err(failed)?;
    let mut received = BytesMut::new();
    while !is_subscribed(&mut received)? {
        if socket.read_buf(&mut received).await.map_err(failed)? == 0 {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(socket)
}

/// Whether SUBSCRIBED is among what came.
fn is_subscribed(received: &mut BytesMut) -> Result<bool, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::io("what the broker said", error);
    while let Some(frame) = frame::split(received, u32::MAX).map_err(|error| wrong(&error))? {
        match Event::decode(&frame).map_err(|error| wrong(&error))? {
            Event::Subscribed(_) => return Ok(true),
            Event::Err(error) => return Err(wrong(&error.message)),
            _ => {}
        }
    }
    Ok(false)
}

fn connect(broker: &Broker) -> Command {
    Command::Connect(Connect {
        version: VERSION,
        name: "streamkeeper-bench".into(),
        library: "frames".into(),
        library_version: env!("CARGO_PKG_VERSION").into(),
        token: broker
            .token()
            .map(|token| Bytes::copy_from_slice(token.as_bytes())),
    })
}

fn subscription(stream: &str) -> Command {
    Command::Subscribe(Subscribe {
        subscription: 1,
        stream: stream.into(),
        start: Start::Beginning,
        credit: CREDIT,
    })
}
