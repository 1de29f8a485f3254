//! From JSON bodies to what the subscriptions take. Fields that are not known are passed over.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::render::Failure;
use crate::subscriptions::Report;
use crate::subscriptions::core::{Ack, Config, Delivery, Pattern};
use crate::types::{Position, StreamName};

/// Longest `description`.
const DESCRIPTION_BYTES_MAX: usize = 4_096;
/// Longest name of a worker.
const WORKER_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
struct Put {
    #[serde(rename = "type")]
    kind: Kind,
    pattern: Option<String>,
    streams: Option<Vec<String>>,
    webhook: Option<Webhook>,
    wake_stream: Option<String>,
    lease_ttl_ms: Option<u64>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Webhook,
    PullWake,
}

#[derive(Deserialize)]
struct Webhook {
    url: String,
}

#[derive(Deserialize)]
struct Streams {
    streams: Vec<String>,
}

#[derive(Deserialize)]
struct Claim {
    worker: String,
}

#[derive(Deserialize)]
struct Reported {
    wake_id: String,
    generation: u64,
    #[serde(default)]
    acks: Vec<Acked>,
    #[serde(default)]
    done: bool,
}

#[derive(Deserialize)]
struct Acked {
    #[serde(alias = "path")]
    stream: String,
    offset: String,
}

fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::invalid(&format!("the body: {error}")))
}

/// The body of a create.
pub(super) fn config(body: &[u8]) -> Result<Config, Failure> {
    let put: Put = object(body)?;
    let missing = |field: &str| Failure::invalid(&format!("{field} is required"));
    let delivery = match put.kind {
        Kind::Webhook => Delivery::Webhook {
            url: put.webhook.ok_or_else(|| missing("webhook.url"))?.url,
        },
        Kind::PullWake => Delivery::PullWake {
            wake_stream: stream(&put.wake_stream.ok_or_else(|| missing("wake_stream"))?)?,
        },
    };
    let pattern = put.pattern.map(|text| {
        text.parse::<Pattern>()
            .map_err(|error| Failure::invalid(&format!("pattern: {error}")))
    });
    if put
        .description
        .as_ref()
        .is_some_and(|text| text.len() > DESCRIPTION_BYTES_MAX)
    {
        let text = format!("description has more than {DESCRIPTION_BYTES_MAX} bytes");
        return Err(Failure::invalid(&text));
    }
    Ok(Config {
        delivery,
        pattern: pattern.transpose()?,
        streams: names(&put.streams.unwrap_or_default())?,
        lease_ttl_ms: put.lease_ttl_ms.unwrap_or(Config::LEASE_TTL_MS_DEFAULT),
        description: put.description,
    })
}

/// The body of a request to link streams.
pub(super) fn streams(body: &[u8]) -> Result<Vec<StreamName>, Failure> {
    let Streams { streams } = object(body)?;
    if streams.is_empty() {
        return Err(Failure::invalid("streams must not be empty"));
    }
    names(&streams)
}

fn names(texts: &[String]) -> Result<Vec<StreamName>, Failure> {
    texts.iter().map(|text| stream(text)).collect()
}

/// The path of a stream below the root of all; slashes around it do not count.
pub(super) fn stream(text: &str) -> Result<StreamName, Failure> {
    let invalid = |error| Failure::invalid(&format!("stream {text:?}: {error}"));
    StreamName::of_client(text.trim_matches('/')).map_err(invalid)
}

/// The body of a claim.
pub(super) fn worker(body: &[u8]) -> Result<String, Failure> {
    let Claim { worker } = object(body)?;
    if worker.is_empty() || worker.len() > WORKER_BYTES_MAX {
        let text = format!("worker has 1 to {WORKER_BYTES_MAX} bytes");
        return Err(Failure::invalid(&text));
    }
    Ok(worker)
}

/// The body of a callback, an ack or a release.
pub(super) fn report(body: &[u8]) -> Result<Report, Failure> {
    let Reported {
        wake_id,
        generation,
        acks,
        done,
    } = object(body)?;
    let acks = acks.iter().map(ack).collect::<Result<_, _>>()?;
    Ok(Report {
        wake_id,
        generation,
        acks,
        done,
    })
}

fn ack(acked: &Acked) -> Result<Ack, Failure> {
    let offset = match acked.offset.as_str() {
        "-1" => None,
        text => {
            let invalid = |error| Failure::invalid(&format!("acks: {error}"));
            Some(text.parse::<Position>().map_err(invalid)?)
        }
    };
    let stream = stream(&acked.stream)?;
    Ok(Ack { stream, offset })
}
