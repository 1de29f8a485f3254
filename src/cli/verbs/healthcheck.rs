//! `streamkeeper healthcheck`: for probes in images that have no shell and no curl.
//!
//! Exit code 0 means healthy and 1 anything else, whatever went wrong: that is all a prober looks at.

use clap::Args;
use streamkeeper_client::{Client, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::failure::{Code, Failure};
use crate::cli::output::Output;
use crate::cli::target::Target;

/// Exit 0 if the broker serves, else 1
#[derive(Debug, Args)]
pub(in crate::cli) struct Healthcheck {
    /// Ask the HTTP port instead (/readyz), which also knows of a failed store
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:4437")]
    http: Option<String>,

    /// Give up after this long
    #[arg(long, value_name = "TIME", default_value = "2s")]
    timeout: humantime::Duration,

    #[command(flatten)]
    target: Target,
}

/// An answer of /readyz is a few lines; whatever sends more is something else.
const RESPONSE_BYTES_MAX: u64 = 64 << 10;

impl Healthcheck {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let check = async {
            match &self.http {
                Some(address) => readyz(address).await,
                None => self.handshake().await,
            }
        };
        let verdict = match tokio::time::timeout(*self.timeout, check).await {
            Ok(verdict) => verdict,
            Err(_elapsed) => Err(format!("no answer within {}", self.timeout)),
        };
        let (healthy, text) = match verdict {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        if healthy {
            let object = serde_json::json!({ "healthy": true, "status": text });
            return Output::new(self.target.json).answer(&object, text);
        }
        Err(Failure::Other {
            message: format!("not healthy: {text}"),
            code: Code::Refused,
        })
    }

    /// Connects and shakes hands, which takes an answer of the broker.
    async fn handshake(&self) -> Result<String, String> {
        let mut client = Client::builder().connect_timeout(*self.timeout);
        if let Some(token) = &self.target.token {
            client = client.token(token.clone());
        }
        match client.connect(&self.target.server).await {
            Ok(client) => {
                client.close().await;
                Ok(String::from("serving"))
            }
            // A prober need not hold the token: a broker that asks for one is there and serves.
            Err(Error::TokenMissing) => Ok(String::from("serving, and asks for a token")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The body of /readyz, as an error unless it comes with status 200.
async fn readyz(address: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut socket = TcpStream::connect(address).await.map_err(failed)?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut response = String::new();
    socket
        .take(RESPONSE_BYTES_MAX)
        .read_to_string(&mut response)
        .await
        .map_err(failed)?;
    let body = response
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body)
        .trim()
        .to_owned();
    match response.split(' ').nth(1) {
        Some("200") => Ok(body),
        Some(status) => Err(format!("HTTP {status}: {body}")),
        None => Err(format!("{address} does not speak HTTP")),
    }
}
