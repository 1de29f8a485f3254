//! Which broker a client command talks to, and how.

use clap::Args;
use streamkeeper_client::{Client, Reconnect};

use super::Failure;

/// The broker and the form of the output; every client command has these.
#[derive(Debug, Args)]
#[command(next_help_heading = "Broker and output")]
pub(super) struct Target {
    /// Address of the broker: HOST:PORT or unix:PATH
    #[arg(
        long,
        value_name = "ADDR",
        env = "STREAMKEEPER_SERVER",
        default_value = "127.0.0.1:4438"
    )]
    pub(super) server: String,

    /// Token to show to the broker
    #[arg(
        long,
        value_name = "TOKEN",
        env = "STREAMKEEPER_TOKEN",
        hide_env_values = true
    )]
    pub(super) token: Option<String>,

    /// Print JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,
}

impl Target {
    /// Connects, for a command that is to end: a broker that goes away and stays away ends it too.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        self.connect_with(Reconnect::default().attempts(RECONNECTS_MAX))
            .await
    }

    /// Connects, for a command that outlives the broker: it is looked for until it is there again.
    pub(super) async fn connect_for_good(&self) -> Result<Client, Failure> {
        self.connect_with(Reconnect::default()).await
    }

    async fn connect_with(&self, reconnect: Reconnect) -> Result<Client, Failure> {
        let name = concat!("streamkeeper/", env!("CARGO_PKG_VERSION"));
        let mut client = Client::builder().name(name).reconnect(reconnect);
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            client = client.token(token.clone());
        }
        client
            .connect(&self.server)
            .await
            .map_err(Failure::during("connecting"))
    }
}

/// About 20 seconds of trying, by the pauses of the default policy: longer than a restart takes.
const RECONNECTS_MAX: u32 = 10;
