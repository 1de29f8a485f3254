//! The client that calls webhooks: one POST, no redirects, no proxy, only to addresses that [`super::target`] lets through.
//!
//! The answer is read up to [`ANSWER_BYTES_MAX`] and only asked one thing: whether it says `{"done": true}`. Certificates are
//! checked against the system's store of authorities. Connections are kept for a short while, for receivers that are called often.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::redirect::Policy;
use serde::Deserialize;

use super::target::{self, TargetError};

/// How long a receiver may take, all in all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the connection may take of that.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection waits for the next call.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct WebhookClient {
    client: reqwest::Client,
    allow_loopback: bool,
}

/// What a receiver said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// 2xx, and the work is done.
    Done,
    /// 2xx; the work goes on.
    Accepted,
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebhookError {
    /// The URL is refused.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No answer, or none that could be read.
    #[error("{}", causes(.0))]
    Request(#[from] reqwest::Error),
    /// An answer that says no.
    #[error("the receiver answered {0}")]
    Status(reqwest::StatusCode),
}

/// An error with what caused it: the outermost text alone says only that sending failed.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    done: bool,
}

impl WebhookClient {
    /// A client. Loads the system's certificates: takes a moment.
    pub(super) fn new(allow_loopback: bool) -> Result<Self, reqwest::Error> {
        // For the whole process, if nobody was first; whoever was knows better.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(2)
            .user_agent(concat!("streamkeeper/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(PublicResolver { allow_loopback }))
            .build()?;
        Ok(Self {
            client,
            allow_loopback,
        })
    }

    /// Calls `url`. Cancel safe: then the receiver may or may not have been reached.
    pub(super) async fn call(
        &self,
        url: &str,
        signature: String,
        body: Vec<u8>,
    ) -> Result<Reply, WebhookError> {
        // Again: what was allowed when it was stored may not be now. Addresses in a URL do not pass the resolver.
        let url = target::check_url(url, self.allow_loopback)?;
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE, signature)
            .body(body);
        let mut response = request.send().await?;
        if !response.status().is_success() {
            return Err(WebhookError::Status(response.status()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Ok(Reply::Accepted);
            }
            answer.extend_from_slice(&chunk);
        }
        let done = serde_json::from_slice(&answer).is_ok_and(|said: Said| said.done);
        Ok(if done { Reply::Done } else { Reply::Accepted })
    }
}

/// The system's resolver, without the addresses that may not be called.
#[derive(Debug)]
struct PublicResolver {
    allow_loopback: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("{name} resolves to no address that a webhook may go to")]
struct NoPublicAddress {
    name: String,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_loopback = self.allow_loopback;
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found
                .filter(|address| target::may_connect(&name, address.ip(), allow_loopback))
                .collect();
            if allowed.is_empty() {
                return Err(NoPublicAddress { name }.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_without_a_public_address_is_not_called() {
        let name = || "localhost".parse::<Name>().unwrap();
        let public = PublicResolver {
            allow_loopback: false,
        };
        let refused = public.resolve(name()).await.err().expect("a refusal");
        assert!(refused.to_string().contains("no address"), "{refused}");
        let development = PublicResolver {
            allow_loopback: true,
        };
        let mut found = development.resolve(name()).await.expect("loopback");
        assert!(found.all(|address| address.ip().is_loopback()));
    }
}
