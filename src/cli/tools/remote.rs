//! Asking a running broker: the body of its answer, piece by piece.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use clap::Args;
use reqwest::redirect::Policy;
use tokio::sync::mpsc;

use crate::cli::failure::{Code, Failure};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long nothing may come. A check of a large store says something now and then.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// Pieces that wait to be written.
const PIECES_MAX: usize = 8;

/// Which running broker to ask, if any.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// Ask the running broker that has this HTTP port, instead of opening a directory
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,

    /// Token to show to it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "STREAMKEEPER_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
}

impl Remote {
    /// Posts to `tool` of the broker at `url`, and has `work` read what comes, on a thread of its own.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        url: &str,
        tool: &str,
        work: impl FnOnce(&mut dyn Read) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::io("starting the runtime", error))?;
        let outcome = runtime.block_on(self.exchange(url, tool, work));
        runtime.shutdown_background();
        outcome
    }

    async fn exchange<T: Send + 'static>(
        &self,
        url: &str,
        tool: &str,
        work: impl FnOnce(&mut dyn Read) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let mut response = self.send(url, tool).await?;
        let (pieces, taken) = mpsc::channel(PIECES_MAX);
        let working = tokio::task::spawn_blocking(move || {
            work(&mut Pieces {
                taken,
                current: Bytes::new(),
            })
        });
        loop {
            let piece = response.chunk().await.map_err(io::Error::other);
            let last = !matches!(piece, Ok(Some(_)));
            let Some(piece) = piece.transpose() else {
                break;
            };
            // Whoever takes nothing any more has come to its end.
            if pieces.send(piece).await.is_err() || last {
                break;
            }
        }
        drop(pieces);
        working.await.map_err(|error| Failure::io(tool, error))
    }

    async fn send(&self, url: &str, tool: &str) -> Result<reqwest::Response, Failure> {
        // For the whole process, and nobody was first.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build()
            .map_err(|error| Failure::io("starting the HTTP client", error))?;
        let mut request = client.post(format!("{}/tools/{tool}", url.trim_end_matches('/')));
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            request = request.bearer_auth(token);
        }
        let response = request
            .send()
            .await
            .map_err(|error| not_asked(url, &error.to_string()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let said = response.text().await.unwrap_or_default();
        Err(not_asked(url, &format!("{status}: {}", said.trim())))
    }
}

fn not_asked(url: &str, why: &str) -> Failure {
    Failure::Other {
        message: format!(
            "the broker at {url} does not do it: {why}\n  --url names its HTTP port, such as http://127.0.0.1:4437; --token shows a token"
        ),
        code: Code::Usage,
    }
}

/// The body of an answer, for who reads it.
struct Pieces {
    taken: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.taken.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let now = out.len().min(self.current.len());
        if let Some(out) = out.get_mut(..now) {
            self.current.copy_to_slice(out);
        }
        Ok(now)
    }
}
