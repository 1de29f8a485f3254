//! The first exchange on a connection: INFO from the server, CONNECT from us, CONNECTED or ERR back.
//!
//! Runs under the connect timeout of its caller and reads through the same buffer the reader goes on with, so bytes
//! that follow CONNECTED are not lost. Until CONNECTED a frame may only be as long as the smallest limit a server has.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use streamkeeper_protocol::command::Connect;
use streamkeeper_protocol::event::Info;
use streamkeeper_protocol::limits::{FRAME_BYTES_FLOOR, VERSION};
use streamkeeper_protocol::{Command, Event, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::Config;
use crate::transport::Transport;
use crate::{Error, Refusal, ServerInfo};

/// Shakes hands over `transport` and returns what the server said of itself.
pub(super) async fn run(
    transport: &mut Box<dyn Transport>,
    received: &mut BytesMut,
    config: &Config,
) -> Result<ServerInfo, Error> {
    let failed = |source| Error::Connect {
        address: config.address.clone(),
        source: Arc::new(source),
    };
    let info = match event(transport, received).await.map_err(failed)?? {
        Event::Info(info) => info,
        other => return Err(unexpected(other, "INFO")),
    };
    if info.version_min > VERSION || info.version_max < VERSION {
        return Err(Error::Version {
            server_min: info.version_min,
            server_max: info.version_max,
            client: VERSION,
        });
    }
    if info.auth_required && config.token.is_none() {
        return Err(Error::TokenMissing);
    }
    let connect = Command::Connect(Connect {
        version: VERSION,
        name: config.name.as_str().into(),
        library: env!("CARGO_PKG_NAME").into(),
        library_version: env!("CARGO_PKG_VERSION").into(),
        token: config.token.clone(),
    });
    send(transport, &connect, 0).await.map_err(failed)?;
    match event(transport, received).await.map_err(failed)?? {
        Event::Connected(connected) => Ok(server_info(&info, connected.session)),
        other => Err(unexpected(other, "CONNECTED")),
    }
}

/// Reads the next event that is no heartbeat; those are answered.
async fn event(
    transport: &mut Box<dyn Transport>,
    received: &mut BytesMut,
) -> io::Result<Result<Event, Error>> {
    loop {
        let frame = match frame::split(received, FRAME_BYTES_FLOOR) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                if transport.read_buf(received).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            Err(error) => return Ok(Err(error.into())),
        };
        match Event::decode(&frame) {
            Ok(Event::Ping) => send(transport, &Command::Pong, frame.header.correlation).await?,
            Ok(Event::Pong) => {}
            decoded => return Ok(decoded.map_err(Error::from)),
        }
    }
}

async fn send(
    transport: &mut Box<dyn Transport>,
    command: &Command,
    correlation: u32,
) -> io::Result<()> {
    let mut out = BytesMut::new();
    command.encode(correlation, &mut out);
    transport.write_all(&out).await?;
    transport.flush().await
}

/// The error for an event that is not the `wanted` one: the server's refusal, or a violation.
fn unexpected(event: Event, wanted: &str) -> Error {
    match event {
        Event::Err(error) => Refusal::from(error).into(),
        other => Error::Protocol {
            detail: format!("{} where {wanted} was due", other.kind().as_str()),
        },
    }
}

fn server_info(info: &Info, session: u64) -> ServerInfo {
    ServerInfo {
        id: info.server_id.to_string(),
        version: info.server_version.to_string(),
        session,
        heartbeat: Duration::from_millis(info.heartbeat_ms.into()),
        frame_bytes_max: info.limits.frame_bytes_max,
        record_bytes_max: info.limits.record_bytes_max,
        batch_records_max: info.limits.batch_records_max,
        subscriptions_max: info.limits.subscriptions_max,
        features: info
            .features
            .iter()
            .flat_map(|names| names.split(','))
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}
