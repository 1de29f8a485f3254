//! The workloads over HTTP: the same questions as over TCP, asked the way a Durable Streams client asks them.
//!
//! The load is lean on purpose, since it shares the cores with the broker: requests are formatted by hand, answers are
//! parsed no further than needed, and one thread does it all ([`connection`], [`events`]) but for the appends beside readers of
//! events. It says nothing about what a comfortable HTTP client costs.

mod append;
mod connection;
mod events;
mod sse;

use clap::{Args, Subcommand};

use super::broker::{Broker, Face};
use super::{WithCommon, run};
use crate::cli::failure::Failure;
use connection::Connection;

/// Load the broker's HTTP port (with --server: HOST:PORT of it)
#[derive(Debug, Args)]
pub(super) struct Http {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    Append(WithCommon<append::Append>),
    Sse(WithCommon<sse::Sse>),
}

impl Http {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.workload {
            Workload::Append(WithCommon { workload, common }) => {
                run(common, Face::Http, async |b| workload.clone().run(b).await).await
            }
            Workload::Sse(WithCommon { workload, common }) => {
                run(common, Face::Http, async |b| workload.clone().run(b).await).await
            }
        }
    }
}

/// What goes before each request of a run.
#[derive(Debug)]
struct Requests {
    host: String,
    authorization: String,
}

impl Requests {
    fn to(broker: &Broker) -> Self {
        let authorization = broker
            .token()
            .map(|token| format!("Authorization: Bearer {token}\r\n"));
        Self {
            host: broker.address().to_owned(),
            authorization: authorization.unwrap_or_default(),
        }
    }

    /// A request with a body of `content_type`; `more` headers end in CRLF each.
    fn with_body(
        &self,
        method: &str,
        stream: &str,
        content_type: &str,
        more: &str,
        body: &[u8],
    ) -> Vec<u8> {
        let length = body.len();
        let more = format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n{more}");
        let mut request = self.without_body(method, stream, "", &more);
        request.extend_from_slice(body);
        request
    }

    fn without_body(&self, method: &str, stream: &str, query: &str, more: &str) -> Vec<u8> {
        let Self {
            host,
            authorization,
        } = self;
        format!(
            "{method} /v1/stream/{stream}{query} HTTP/1.1\r\nHost: {host}\r\n{authorization}{more}\r\n"
        )
        .into_bytes()
    }
}

/// A stream of a run on a broker that goes on after it is gone an hour after its last use, should the run be broken off.
const LEFT_BEHIND: &str = "Stream-TTL: 3600\r\n";

/// Creates streams, or deletes those of a broker that goes on after the run.
async fn each(broker: &Broker, requests: impl Iterator<Item = Vec<u8>>) -> Result<(), Failure> {
    let mut connection = Connection::open(broker.address()).await?;
    for request in requests {
        connection.send(&request).await?;
        connection.answer().await?;
    }
    Ok(())
}

async fn create(
    broker: &Broker,
    requests: &Requests,
    content_type: &str,
    storage: &str,
    names: &[String],
) -> Result<(), Failure> {
    let left_behind = if broker.is_spawned() { "" } else { LEFT_BEHIND };
    let more = format!("{storage}{left_behind}");
    let create = |name: &String| requests.with_body("PUT", name, content_type, &more, b"");
    each(broker, names.iter().map(create)).await
}

async fn delete(broker: &Broker, requests: &Requests, names: &[String]) -> Result<(), Failure> {
    if broker.is_spawned() {
        return Ok(());
    }
    let delete = |name: &String| requests.without_body("DELETE", name, "", "");
    each(broker, names.iter().map(delete)).await
}
